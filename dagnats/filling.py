"""Defaults of decoded dataclasses: msgspec leaves those that stand at the class out of the instance.

Such an instance equals one that Python made, but is encoded without these fields. So they are put into it after
decoding, wherever it is in the value. Types without such dataclasses cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec.inspect
from msgspec import NODEFAULT, Struct

_Defaults = dict[type, dict[str, Any]]


def filler(parts: Iterable[msgspec.inspect.Type]) -> Callable[[Any], None] | None:
    """What puts the defaults into decoded values of a type with these parts; None when there is nothing to do."""
    defaults: _Defaults = {}
    for part in parts:
        if isinstance(part, msgspec.inspect.DataclassType) and hasattr(
            part.cls, "__dataclass_fields__"
        ):
            at_class = {f.name: f.default for f in part.fields if f.default is not NODEFAULT}
            if at_class:
                defaults[part.cls] = at_class
    return (lambda value: _fill(value, defaults)) if defaults else None


def _fill(value: Any, defaults: _Defaults) -> None:
    pending = [value]
    while pending:
        each = pending.pop()
        pending.extend(_inside(each))
        held = getattr(each, "__dict__", None)  # with slots, nothing is left out
        if held is not None:
            for name, default in defaults.get(type(each), {}).items():
                held.setdefault(name, default)


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        return iter(list(value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return iter(value)
    if isinstance(value, Struct):
        return (getattr(value, name) for name in value.__struct_fields__)
    names = getattr(type(value), "__dataclass_fields__", None) or [
        field.name for field in getattr(type(value), "__attrs_attrs__", ())
    ]
    return iter([getattr(value, name) for name in names if hasattr(value, name)])
