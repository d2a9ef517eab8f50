"""Templates: JSON with holes.

``{"$input": "a.b"}`` is a part of the run's input, ``{"$step": "draft",
"path": "title"}`` a part of a step's output; ``{"$literal": …}`` is taken as it is.

A path is a dotted string, or an array of keys where a key holds a dot; numbers index arrays; an empty
path is the whole value. Values are passed on as the bytes they arrived in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import Raw

from dagnats.limits import TEMPLATE_DEPTH_MAX

Path = tuple[str, ...]
Lookup = Callable[[str], Raw]  # step id → its output; "" → the run's input

_INDEX: Final = re.compile(r"-?[0-9]{1,9}\Z")
_HOLES: Final = ("$input", "$step", "$literal")
_objects = msgspec.json.Decoder(dict[str, Raw])
_arrays = msgspec.json.Decoder(list[Raw])


class PathMissing(Exception):
    """A path leads nowhere. The message says where it ended."""


def path_of(written: object) -> Path:
    """The keys of a path as it is written in a template or a condition."""
    if isinstance(written, str):
        return tuple(written.split(".")) if written else ()
    keys = _array(written)
    if keys is None:
        raise ValueError(f"{written!r} is not a path: write 'a.b' or ['a', 'b']")
    return tuple(str(key) for key in keys)


def _object(item: object) -> dict[str, Any] | None:
    return cast("dict[str, Any]", item) if isinstance(item, dict) else None


def _array(item: object) -> Sequence[Any] | None:
    return cast("Sequence[Any]", item) if isinstance(item, list | tuple) else None


def select(value: Raw, path: Path, source: str = "value") -> Raw:
    """The part of a JSON value that a path names.

    Raises:
        PathMissing: there is no such part.
    """
    for depth, key in enumerate(path):
        try:
            found = _child(value, key)
        except (ValueError, RecursionError):  # it is not JSON, or nested beyond what can be read
            found = None
        if found is None:
            raise PathMissing(f"{source} has no {'.'.join(path[: depth + 1])!r}")
        value = found
    return value


def _child(value: Raw, key: str) -> Raw | None:
    first = bytes(value).lstrip()[:1]
    if first == b"{":
        return _objects.decode(value).get(key)
    if first == b"[" and _INDEX.match(key):
        items = _arrays.decode(value)
        position = int(key)
        return items[position] if -len(items) <= position < len(items) else None
    return None


def hole(item: object) -> tuple[str, Path] | None:
    """``(step or "", path)`` when a part of a template is a hole; None when it is plain JSON.

    Raises:
        ValueError: it looks like a hole but is not one.
    """
    members = _object(item)
    if members is None:
        return None
    if "$input" in members:
        _only(members, "$input")
        return "", path_of(members["$input"])
    if "$step" in members:
        _only(members, "$step", "path")
        step = members["$step"]
        if not isinstance(step, str) or not step:
            raise ValueError('"$step" names a step')
        return step, path_of(members.get("path", ""))
    return None


def _only(item: dict[str, Any], *keys: str) -> None:
    extra = [key for key in item if key not in keys]
    if extra:
        raise ValueError(f"{keys[0]!r} stands alone, not with {', '.join(map(repr, extra))}")


def holes(template: object, depth: int = 0) -> Iterator[tuple[str, Path]]:
    """Every hole of a template.

    Raises:
        ValueError: something looks like a hole but is not one, or it is nested too deeply.
    """
    if depth > TEMPLATE_DEPTH_MAX:
        raise ValueError(f"it is nested more than {TEMPLATE_DEPTH_MAX} deep")
    found = hole(template)
    members = _object(template)
    if found is not None:
        yield found
    elif members is not None and "$literal" in members:
        _only(members, "$literal")
        _measure(members["$literal"], depth)
    else:
        for part in members.values() if members is not None else _array(template) or ():
            yield from holes(part, depth + 1)


def _measure(item: object, depth: int) -> None:
    if depth > TEMPLATE_DEPTH_MAX:
        raise ValueError(f"it is nested more than {TEMPLATE_DEPTH_MAX} deep")
    members = _object(item)
    for part in members.values() if members is not None else _array(item) or ():
        _measure(part, depth + 1)


def render(template: object, lookup: Lookup) -> Raw:
    """The JSON of a template with its holes filled.

    Raises:
        PathMissing: a hole's path leads nowhere.
    """
    found = hole(template)
    if found is not None:
        return _fill(found, lookup)
    return Raw(msgspec.json.encode(_tree(template, lookup)))


def _tree(template: object, lookup: Lookup) -> object:
    found = hole(template)
    if found is not None:
        return _fill(found, lookup)
    members, items = _object(template), _array(template)
    if members is not None:
        if "$literal" in members:
            return members["$literal"]
        return {key: _tree(part, lookup) for key, part in members.items()}
    return template if items is None else [_tree(part, lookup) for part in items]


def _fill(found: tuple[str, Path], lookup: Lookup) -> Raw:
    step, path = found
    source = f'output of step "{step}"' if step else "run input"
    return select(lookup(step), path, source)


def renamed(template: object, name: Callable[[str], str]) -> Any:
    """The template with every step it looks at under another name."""
    members, items = _object(template), _array(template)
    if members is not None:
        if "$step" in members:
            return {**members, "$step": name(members["$step"])}
        if "$input" in members or "$literal" in members:
            return members
        return {key: renamed(part, name) for key, part in members.items()}
    return template if items is None else [renamed(part, name) for part in items]


def literal(value: object) -> object:
    """Plain JSON as a template: guarded where it would be taken for a hole."""
    members, items = _object(value), _array(value)
    if members is not None:
        if any(key in members for key in _HOLES):
            return {"$literal": members}
        return {key: literal(part) for key, part in members.items()}
    return value if items is None else [literal(part) for part in items]
