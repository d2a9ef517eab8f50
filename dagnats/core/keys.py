"""Keys: the value at a path that tells one tenant, order or user from another."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from dagnats.core.templates import PathMissing, path_of, select
from dagnats.limits import GATE_KEY_LENGTH_MAX

_members = msgspec.json.Decoder(dict[str, Raw])


def key_of(path: str, given: Raw, where: str = "input") -> str:
    """The value at a path, as text: strings as they are, anything else as JSON.

    Raises:
        PathMissing: it is not there, or too long.
    """
    value = found_at("key", path, given, where)
    decoded = msgspec.json.decode(value)
    text = decoded if isinstance(decoded, str) else bytes(value).decode()
    if len(text) > GATE_KEY_LENGTH_MAX:
        raise PathMissing(f'the value of key "{path}" is longer than {GATE_KEY_LENGTH_MAX} letters')
    return text


def found_at(what: str, path: str, given: Raw, where: str = "input") -> Raw:
    """The value at a path; ``where`` says what is looked into, and may begin the path.

    Raises:
        PathMissing: it is not there; the message says what is.
    """
    try:
        return select(given, path_of(path.removeprefix(f"{where}.")))
    except PathMissing:
        try:
            there = ", ".join(_members.decode(given)) or "no keys"
        except msgspec.DecodeError:
            there = "no object"
        raise PathMissing(f'{what} "{path}" is not in the {where}, which has: {there}') from None
