"""Checking JSON against a workflow's JSON Schema: by the caller before anything is sent, and by the engine.

The engine checks again because anybody may write a start into the log.
"""

from __future__ import annotations

import functools
from typing import Any

import jsonschema_rs
import msgspec
from msgspec import Raw


@functools.lru_cache(maxsize=1_000)
def _validator(schema: bytes) -> Any:
    return jsonschema_rs.validator_for(msgspec.json.decode(schema), retriever=_refuse)


def _refuse(uri: str) -> Any:
    """A schema that lies elsewhere is never fetched: the engine reaches nowhere."""
    raise ValueError(f"it refers to {uri}; only references within the schema are followed")


def schema_problem(schema: Any) -> str:
    """Why something is no usable schema; empty when it is one, or there is none."""
    if schema is None:
        return ""
    try:
        _validator(msgspec.json.encode(schema, order="deterministic"))
    except (jsonschema_rs.ValidationError, ValueError, RecursionError) as problem:
        return f"it cannot be used: {str(problem).splitlines()[0]}"
    return ""


def schema_violation(schema: Any, raw: Raw) -> str:
    """Where and how a payload breaks a schema; empty when it fits. No schema fits everything."""
    if schema is None:
        return ""
    try:
        validator = _validator(msgspec.json.encode(schema, order="deterministic"))
        error = next(iter(validator.iter_errors(msgspec.json.decode(raw))), None)
    except (
        jsonschema_rs.ValidationError,
        msgspec.DecodeError,
        ValueError,
        RecursionError,
    ) as problem:
        return f"it cannot be checked against its schema: {problem}"
    if error is None:
        return ""
    place = ".".join(str(part) for part in error.instance_path)
    return f"at {place}: {error.message}" if place else str(error.message)
