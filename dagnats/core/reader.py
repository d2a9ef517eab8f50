"""Walking a parsed file: every problem with its place, never stopping at the first."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from dagnats.core import durations
from dagnats.core.model import Problem


class Reader:
    """Walks a parsed file, collects problems, and never stops at the first."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def problem(self, where: str, what: str, cure: str) -> None:
        """Note one problem."""
        self.problems.append(Problem(where, what, cure))

    def members(self, where: str, data: object, what: str, cure: str) -> dict[str, Any] | None:
        """An object's members; anything else is a problem."""
        if isinstance(data, dict):
            return cast("dict[str, Any]", data)
        self.problem(where, what, cure)
        return None

    def keys(self, where: str, data: Mapping[str, Any], known: Iterable[str]) -> None:
        """Refuse keys that are not known, guessing what was meant."""
        names = list(known)
        for key in data:
            if key in names:
                continue
            close = difflib.get_close_matches(key.lower(), names, n=1)
            cure = f'did you mean "{close[0]}"?' if close else f"known keys: {', '.join(names)}"
            self.problem(where, f'unknown key "{key}"', cure)

    def get(
        self,
        where: str,
        data: Mapping[str, Any],
        key: str,
        kind: type | tuple[type, ...],
        default: Any,
    ) -> Any:
        """The value of a key when it has the right type; otherwise a problem and the default."""
        value = data.get(key)
        if value is None:
            return default
        right = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
        if right:
            return value
        self.problem(f"{where}.{key}", f"{value!r} is not {_TYPE_NAMES[kind]}", "correct its type")
        return default

    def strings(self, where: str, data: Mapping[str, Any], key: str) -> tuple[str, ...]:
        """The strings of an array's key; anything else in it is a problem."""
        items = self.get(where, data, key, list, [])
        for item in items:
            if not isinstance(item, str):
                self.problem(f"{where}.{key}", f"{item!r} is not a string", "put it in quotes")
        return tuple(item for item in items if isinstance(item, str))

    def texts(self, where: str, data: Mapping[str, Any], key: str) -> dict[str, str]:
        """The strings by name of an object's key, as metadata are."""
        members = self.get(where, data, key, dict, {})
        for name, value in members.items():
            if not isinstance(value, str):
                self.problem(f"{where}.{key}.{name}", f"{key} are strings", "put it in quotes")
        return {str(name): str(value) for name, value in members.items()}

    def number(self, where: str, data: Mapping[str, Any], key: str, default: float) -> float:
        """The value of a number's key; a number too large to be one is a problem."""
        try:
            return float(self.get(where, data, key, (int, float), default))
        except OverflowError:
            self.problem(f"{where}.{key}", "the number is too large", "write a smaller one")
            return default

    def duration(self, where: str, data: Mapping[str, Any], key: str) -> int:
        """Milliseconds of a duration key; 0 when absent."""
        if data.get(key) is None:
            return 0
        try:
            return durations.from_file_ms(data[key])
        except ValueError as error:
            self.problem(f"{where}.{key}", str(error), 'write for example "30s"')
            return 0


_TYPE_NAMES: Final[dict[type | tuple[type, ...], str]] = {
    str: "a string", int: "a whole number", list: "an array", dict: "an object",
    (int, float): "a number", bool: "true or false",
}  # fmt: skip
