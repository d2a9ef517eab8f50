"""JSON Schemas as people read types: ``{url: string, words?: integer = 3}``. Names stand for definitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

_DEPTH_MAX: Final = 4
_LINE_MAX: Final = 300  # `--json` has all of it
_NAMES_MAX: Final = 20


def shape_lines(schemas: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A line for each schema, by its label; then one for each definition they name."""
    named: dict[str, Any] = {}
    for label, schema in schemas.items():
        if schema is not None:
            yield label, _clipped(shape(schema))
            named |= schema.get("$defs", {})
    for name, schema in list(named.items())[:_NAMES_MAX]:
        yield "", _clipped(f"{name} = {shape(schema)}")
    if len(named) > _NAMES_MAX:
        yield "", f"… and {len(named) - _NAMES_MAX} more types"


def _clipped(text: str) -> str:
    return text if len(text) <= _LINE_MAX else text[: _LINE_MAX - 1] + "…"


def shape(schema: Any, depth: int = 0) -> str:
    """A schema as a type; what it says beyond that is left out."""
    if not isinstance(schema, dict):
        return "nothing" if schema is False else "anything"
    if depth > _DEPTH_MAX:
        return "…"
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return reference.rpartition("/")[2]
    for key in ("enum", "const"):
        if key in schema:
            values = (
                schema[key] if key == "enum" and isinstance(schema[key], list) else [schema[key]]
            )
            return " | ".join(_json(value) for value in values)
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            return " | ".join(dict.fromkeys(shape(part, depth + 1) for part in schema[key]))
    return _typed(schema, depth)


def _typed(schema: Mapping[str, Any], depth: int) -> str:
    kind = schema.get("type")
    if kind == "object" or (kind is None and "properties" in schema):
        return _object(schema, depth)
    if kind == "array":
        return _array(schema, depth)
    if isinstance(kind, list):
        return " | ".join(map(str, kind))
    form = schema.get("format") or schema.get("contentEncoding")
    return f"{kind} ({form})" if kind and form else str(kind or "anything")


def _object(schema: Mapping[str, Any], depth: int) -> str:
    properties, required = schema.get("properties"), schema.get("required", ())
    if isinstance(properties, dict) and properties:
        members = [_member(n, part, n in required, depth) for n, part in properties.items()]
        return "{" + ", ".join(members) + "}"
    values = schema.get("additionalProperties")
    return "{…: " + shape(values, depth + 1) + "}" if isinstance(values, dict) else "object"


def _member(name: str, schema: Any, required: bool, depth: int) -> str:
    mark = "" if required else "?"
    default = (
        f" = {_json(schema['default'])}" if isinstance(schema, dict) and "default" in schema else ""
    )
    return f"{name}{mark}: {shape(schema, depth + 1)}{default}"


def _array(schema: Mapping[str, Any], depth: int) -> str:
    row = schema.get("prefixItems")
    if isinstance(row, list):
        return "[" + ", ".join(shape(item, depth + 1) for item in row) + "]"
    return f"[{shape(schema['items'], depth + 1)}, …]" if "items" in schema else "array"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
