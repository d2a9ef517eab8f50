"""Subject wildcards and transforms, as the server understands them."""

from __future__ import annotations

import functools
import re

_PLACEHOLDER = re.compile(r"\{\{wildcard\((\d+)\)\}\}")


@functools.lru_cache(maxsize=1024)
def _tokens(pattern: str) -> tuple[str, ...]:
    return tuple(pattern.split("."))


def matches(pattern: str, subject: str) -> bool:
    """Whether a filter takes a subject: ``*`` is one token, a last ``>`` is one or more."""
    wanted, given = _tokens(pattern), subject.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        if len(given) <= len(wanted):
            return False
    elif len(given) != len(wanted):
        return False
    return all(token in ("*", there) for token, there in zip(wanted, given, strict=False))


def transformed(source: tuple[str, str], subject: str) -> str | None:
    """Where a subject transform ``(filter, destination)`` puts a subject; None: not taken."""
    pattern, destination = source
    if not matches(pattern, subject):
        return None
    pairs = zip(_tokens(pattern), subject.split("."), strict=False)
    wild = [there for wanted, there in pairs if wanted == "*"]
    return _PLACEHOLDER.sub(lambda found: wild[int(found[1]) - 1], destination)
