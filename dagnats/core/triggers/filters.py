"""Filters on what a trigger receives: ``amount > 100 and (country == "DE" or not customer.blocked)``.

A path alone holds when there is something at it that is neither null nor false. Comparisons are those of conditions:
a missing field, or another type, makes them false. Literals are JSON.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw

from dagnats.core.conditions import holds
from dagnats.core.model import Condition
from dagnats.core.templates import PathMissing, path_of, select
from dagnats.limits import FILTER_LENGTH_MAX

Filter = Callable[[Raw], bool]
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<op>==|!=|<=|>=|<|>|\(|\))|(?P<text>\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])|(?P<word>[A-Za-z_$][\w$-]*(?:\.[\w$-]+)*))"
)
_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_COMPARISONS: Final = ("==", "!=", "<", ">", "<=", ">=")
_KEYWORDS: Final = ("and", "or", "not", *_CONSTANTS)
_DEPTH_MAX: Final = 32


@functools.lru_cache(maxsize=1_000)
def parse(text: str) -> Filter:
    """A filter as a function of the data.

    Raises:
        ValueError: it is none; the message says where, and what would be expected there.
    """
    if len(text) > FILTER_LENGTH_MAX:
        raise ValueError(f"the filter has more than {FILTER_LENGTH_MAX} letters")
    parser = _Parser(text)
    found = parser.any_of(0)
    parser.end()
    return found


class _Parser:
    """Recursive descent: any_of → all_of → one → comparison."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def any_of(self, depth: int) -> Filter:
        parts = [self._all_of(depth)]
        while self._take_word("or"):
            parts.append(self._all_of(depth))
        return parts[0] if len(parts) == 1 else lambda data: any(part(data) for part in parts)

    def end(self) -> None:
        if self._text[self._at :].strip():
            raise self._wrong('"and", "or" or the end')

    def _all_of(self, depth: int) -> Filter:
        parts = [self._one(depth)]
        while self._take_word("and"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else lambda data: all(part(data) for part in parts)

    def _one(self, depth: int) -> Filter:
        if depth > _DEPTH_MAX:
            raise ValueError(f"the filter is nested more than {_DEPTH_MAX} deep")
        if self._take_word("not"):
            inner = self._one(depth + 1)
            return lambda data: not inner(data)
        if self._take("op", "("):
            inner = self.any_of(depth + 1)
            if not self._take("op", ")"):
                raise self._wrong('")"')
            return inner
        return self._comparison()

    def _comparison(self) -> Filter:
        path = self._take("word")
        if path is None or path in _KEYWORDS:
            raise self._wrong("a field of the data")
        for op in _COMPARISONS:
            if self._take("op", op):
                condition = Condition("", path, op, self._literal())  # type: ignore[arg-type]
                return lambda data: holds(condition, lambda _: data)
        return lambda data: _there(data, path)

    def _literal(self) -> object:
        for kind in ("text", "number"):
            found = self._take(kind)
            if found is not None:
                try:
                    return msgspec.json.decode(found)
                except msgspec.DecodeError:
                    raise self._wrong("JSON") from None
        for word, value in _CONSTANTS.items():
            if self._take_word(word):
                return value
        raise self._wrong('a value in JSON, such as 10, true or "text"')

    def _take_word(self, word: str) -> bool:
        return self._take("word", word) is not None

    def _take(self, kind: str, wanted: str = "") -> str | None:
        """The next token if it is of a kind, and what was wanted; it is left where it is otherwise."""
        found = _TOKEN.match(self._text, self._at)
        if found is None or found[kind] is None or (wanted and found[kind] != wanted):
            return None
        self._at = found.end()
        return found[kind]

    def _wrong(self, expected: str) -> ValueError:
        rest = self._text[self._at :].strip()
        place = f'at "{rest[:20]}"' if rest else "at its end"
        return ValueError(f"the filter cannot be read {place}: expected {expected}")


def _there(data: Raw, path: str) -> bool:
    try:
        found = msgspec.json.decode(select(data, path_of(path)))
    except (PathMissing, ValueError, RecursionError):
        return False
    return found is not None and found is not False
