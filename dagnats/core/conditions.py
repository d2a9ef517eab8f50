"""``skip_if`` and ``when``: comparing a field of a parent's output.

Numbers compare as numbers, strings by code point, booleans and null only with == and !=. A missing
field and mismatched types make every comparison false.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

import msgspec

from dagnats.core.model import Condition
from dagnats.core.templates import Lookup, PathMissing, path_of, select

_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt,
    "<=": operator.le, ">=": operator.ge,
}  # fmt: skip


def holds(condition: Condition, lookup: Lookup) -> bool:
    """Whether a condition is true of the outputs so far."""
    try:
        raw = select(lookup(condition.step), path_of(condition.field))
        found = msgspec.json.decode(raw)
    except (PathMissing, ValueError, RecursionError):
        return False
    return _comparable(found, condition.value, condition.op) and _COMPARE[condition.op](
        found, condition.value
    )


def _comparable(left: object, right: object, op: str) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return type(left) is type(right) and op in ("==", "!=")
    if isinstance(left, int | float) and isinstance(right, int | float):
        return True
    if isinstance(left, str) and isinstance(right, str):
        return True
    return type(left) is type(right) and op in ("==", "!=")
