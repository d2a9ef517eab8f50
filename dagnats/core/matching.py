"""Which external event a step or a run waits for: a field of the event against a value of the run.

Values are compared by the text they make: a string as it is, anything else as its JSON. So an id that one
side writes as a number and the other as a string is the same id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import msgspec
from msgspec import Raw

from dagnats.core.model import EventMatch, Problem
from dagnats.core.reader import Reader
from dagnats.core.templates import Lookup, PathMissing, hole, holes, path_of, render, select

MATCH_KEYS: Final = ("left", "op", "right")
_RIGHT: Final = re.compile(
    r"input(?:\.(?P<input>.+))?\Z|step\.(?P<step>.+?)\.output(?:\.(?P<path>.+))?\Z"
)


# -- in files --------------------------------------------------------------------------------------


def read_match(reader: Reader, where: str, settings: Mapping[str, Any]) -> EventMatch | None:
    """``{"left": "order.id", "op": "eq", "right": "input.order_id"}``."""
    data = reader.get(where, settings, "match", dict, None)
    if data is None:
        return None
    where = f"{where}.match"
    reader.keys(where, data, MATCH_KEYS)
    if data.get("op", "eq") not in ("eq", "=="):
        reader.problem(
            f"{where}.op", f"unknown operator {data['op']!r}", 'events are matched by "eq"'
        )
    left = reader.get(where, data, "left", str, "")
    if not left:
        reader.problem(
            f"{where}.left", "the event's field is missing", 'write for example "order.id"'
        )
    return EventMatch(left, _read_right(reader, f"{where}.right", data.get("right")))


def _read_right(reader: Reader, where: str, written: object) -> Any:
    if isinstance(written, dict):
        return cast("dict[str, Any]", written)
    found = _RIGHT.match(written) if isinstance(written, str) else None
    if found is None:
        cure = 'write "input.<path>", "step.<id>.output.<path>" or {"$literal": …}'
        reader.problem(where, f"{written!r} says not whose value it is", cure)
        return {"$input": ""}
    if found["step"]:
        return {"$step": found["step"], **({"path": found["path"]} if found["path"] else {})}
    return {"$input": found["input"] or ""}


def write_match(match: EventMatch) -> dict[str, Any]:
    """The canonical form."""
    return {"left": match.left, "op": "eq", "right": _write_right(match.right)}


def _write_right(right: Any) -> Any:
    found = hole(right)
    if found is None or any("." in key for key in found[1]):
        return right
    source, path = found
    start = f"step.{source}.output" if source else "input"
    return ".".join((start, *path))


def match_problems(
    where: str, match: EventMatch | None, depends_on: tuple[str, ...] | None
) -> Iterator[Problem]:
    """What is wrong with a match; ``depends_on`` None: there are only inputs to compare with."""
    if match is None:
        return
    try:
        found = list(holes(match.right))
        path_of(match.left)
    except ValueError as error:
        yield Problem(where, str(error), "correct the path")
        return
    for source, _ in found:
        if source and source not in (depends_on or ()):
            cure = (
                "add it to depends_on" if depends_on is not None else 'compare with "input.<path>"'
            )
            yield Problem(f"{where}.right", f'looks at "{source}", which is not done by then', cure)


# -- in runs ---------------------------------------------------------------------------------------


def wanted(match: EventMatch | None, lookup: Lookup) -> str:
    """The text that an event's field must be.

    Raises:
        PathMissing: the run has no such value.
    """
    return text_of(render(match.right, lookup)) if match else ""


def found_in(payload: Raw, left: str) -> str | None:
    """The text of an event's field; None when it has none."""
    try:
        return text_of(select(payload, path_of(left)))
    except (PathMissing, ValueError):
        return None


def text_of(value: Raw) -> str:
    """A value as the text it is compared by."""
    try:
        decoded = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return bytes(value).decode(errors="replace")
    if isinstance(decoded, str):
        return decoded
    return msgspec.json.encode(decoded, order="deterministic").decode()
