"""The only source of new ids, and of ids derived from what they mean."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket

from dagnats.errors import InvalidInput
from dagnats.limits import NAME_LENGTH_MAX

_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{1,{NAME_LENGTH_MAX}}}\Z")


def new_run_id() -> str:
    """128 random bits as 32 lowercase hexadecimal digits."""
    return secrets.token_hex(16)


def new_process_id(role: str) -> str:
    """A name for one process of a role, unique and readable: ``worker-host-4711-9f3a``."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:40]
    return f"{role}-{host}-{os.getpid()}-{secrets.token_hex(2)}"


def new_secret() -> str:
    """A deployment secret: 256 random bits as hexadecimal digits."""
    return secrets.token_hex(32)


def new_key() -> bytes:
    """A private key: 256 random bits."""
    return secrets.token_bytes(32)


def new_trigger_id() -> str:
    """``trig-`` and 64 random bits as hexadecimal digits."""
    return f"trig-{secrets.token_hex(8)}"


def run_id_for_key(workflow: str, key: str) -> str:
    """The run id that an idempotency key stands for: the same key, the same run."""
    text = f"{workflow}\x00{key}".encode()
    return "key-" + hashlib.sha256(text).hexdigest()[:32]


def checked_run_id(run_id: str) -> str:
    """The id itself, when it can be a run id.

    Raises:
        InvalidInput: it holds anything but letters, digits, ``_`` and ``-``, or is too long.
    """
    return _checked_token("a run id", run_id)


def checked_worker_name(name: str) -> str:
    """The name itself, when a worker can have it.

    Raises:
        InvalidInput: as for run ids.
    """
    return _checked_token("a worker's name", name)


def _checked_token(what: str, text: str) -> str:
    if not isinstance(text, str) or not _TOKEN.match(text):
        raise InvalidInput(
            f"{text!r} cannot be {what}: use 1 to {NAME_LENGTH_MAX} letters, digits, '_' or '-'"
        )
    return text
