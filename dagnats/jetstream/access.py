"""What is shown to a server: a credential, certificates, and the inboxes that go with them."""

from __future__ import annotations

import importlib
import ssl
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from dagnats.errors import BrokerUnsuitable, DefinitionError
from dagnats.ids import new_key
from dagnats.jetstream.rights import inbox_of
from dagnats.settings import Access

NOBODY: Final = Access()
_SEED: Final = "SU"  # how the seed of a user's nkey begins
_JWT: Final = "-----BEGIN NATS USER JWT-----"


class Presented(Struct, frozen=True):
    """``options``: what nats-py wants. ``who``: the credential's name. ``secure``: without TLS nothing is sent."""

    options: dict[str, Any]
    who: str = ""
    secure: bool = False


def presented(access: Access) -> Presented:
    """Read the files.

    Raises:
        DefinitionError: one is not there, or not what it should be.
        BrokerUnsuitable: the package that signs with nkeys is not installed.
    """
    options: dict[str, Any] = {}
    if access.creds:
        options |= _credential(access.creds)
    secure = bool(access.tls_ca or access.tls_cert or access.tls_key)
    if secure:
        options["tls"] = _certificates(access)
    return Presented(options, Path(access.creds).name, secure)


def _credential(path: str) -> dict[str, Any]:
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(f"creds: {path} cannot be read: {_why(error)}") from None
    if _JWT in text:
        _nkeys()
        return {"user_credentials": path}
    lines = [line.strip() for line in text.splitlines()]
    seed = next((line for line in lines if line and not line.startswith("#")), "")
    if not seed.startswith(_SEED):
        raise DefinitionError(
            f"creds: {path} holds neither the seed of a user's nkey nor a .creds file; `dagnats auth init` "
            "makes credentials"
        )
    return {"nkeys_seed_str": seed, "inbox_prefix": inbox_of(public_of(seed, path))}


def public_of(seed: str, path: str = "") -> str:
    """The public key of a seed.

    Raises:
        DefinitionError: it is none.
    """
    nkeys = _nkeys()
    try:
        public: bytes = nkeys.from_seed(bytearray(seed.encode())).public_key
    except Exception as error:  # noqa: BLE001 - binascii.Error, its own, ValueError
        raise DefinitionError(f"creds: {path} holds a damaged seed ({error})") from None
    return public.decode()


def new_seed() -> str:
    """The seed of a new user."""
    nkeys = _nkeys()
    seed: bytes = nkeys.encode_seed(new_key(), nkeys.PREFIX_BYTE_USER)
    return seed.decode()


def _nkeys() -> Any:
    """The package, loaded when it is needed: most processes show no credential."""
    try:
        return importlib.import_module("nkeys")
    except ImportError:
        raise BrokerUnsuitable(
            "credentials need the package nkeys: pip install 'dagnats[auth]'"
        ) from None


def _certificates(access: Access) -> ssl.SSLContext:
    if bool(access.tls_cert) is not bool(access.tls_key):
        raise DefinitionError("tls_cert and tls_key belong together; set both, or neither")
    try:
        context = ssl.create_default_context(cafile=access.tls_ca or None)
        if access.tls_cert:
            context.load_cert_chain(access.tls_cert, access.tls_key)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(filter(None, (access.tls_ca, access.tls_cert, access.tls_key)))
        raise DefinitionError(
            f"tls_ca, tls_cert, tls_key: {files} cannot be used: {_why(error)}"
        ) from None
    return context


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
