"""Checking JSON against a workflow's JSON Schemas: inputs by the caller and the engine, outputs by the engine.

The engine checks inputs again because anybody may write a start into the log.
"""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import msgspec
from msgspec import Raw

_VALIDATORS_MAX = 1_000
_MESSAGE_MAX = 500  # it quotes the value, which may be large
_compiled: dict[int, tuple[Any, Any]] = {}  # by identity: definitions are frozen and kept in memory


def _validator(schema: Any) -> Any:
    """The validator of a schema; one that was seen before, the same object, costs a look."""
    known = _compiled.get(id(schema))
    if known is not None and known[0] is schema:
        return known[1]
    made = jsonschema_rs.validator_for(schema, retriever=_refuse)
    if len(_compiled) >= _VALIDATORS_MAX:
        _compiled.clear()
    _compiled[id(schema)] = (schema, made)
    return made


def _refuse(uri: str) -> Any:
    """A schema that lies elsewhere is never fetched: the engine reaches nowhere."""
    raise ValueError(f"it refers to {uri}; only references within the schema are followed")


def schema_problem(schema: Any) -> str:
    """Why something is no usable schema; empty when it is one, or there is none."""
    if schema is None:
        return ""
    try:
        _validator(schema)
    except (jsonschema_rs.ValidationError, ValueError, RecursionError) as problem:
        return f"it cannot be used: {str(problem).splitlines()[0]}"
    return ""


def schema_violation(schema: Any, raw: Raw) -> str:
    """Where and how a payload breaks a schema; empty when it fits. No schema fits everything."""
    if schema is None:
        return ""
    try:
        validator, value = _validator(schema), msgspec.json.decode(raw)
        if validator.is_valid(value):
            return ""
        error = next(iter(validator.iter_errors(value)), None)
    except (
        jsonschema_rs.ValidationError,
        msgspec.DecodeError,
        ValueError,
        RecursionError,
    ) as problem:
        return f"it cannot be checked against its schema: {problem}"
    return _told(_deepest(error)) if error is not None else ""


def _deepest(error: Any) -> Any:
    """Of a value that fits none of several schemas: what is wrong in the one that fits it best."""
    place = len(error.instance_path)
    for branch in getattr(error.kind, "context", None) or ():
        for part in branch:
            found = _deepest(part)
            if len(found.instance_path) > place:
                return found
    return error


def _told(error: Any) -> str:
    place = ".".join(str(part) for part in error.instance_path)
    text = str(error.message)
    text = text if len(text) <= _MESSAGE_MAX else text[:_MESSAGE_MAX] + "…"
    return f"at {place}: {text}" if place else text
