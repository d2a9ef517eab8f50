"""Checking JSON against the JSON Schema of a workflow, before anything is sent."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import msgspec
from msgspec import Raw

from dagnats.errors import InvalidInput


def check_schema(schema: Any, raw: Raw, what: str) -> None:
    """Whether a payload fits a schema; no schema fits everything.

    Raises:
        InvalidInput: it does not; the message says where.
    """
    if schema is None:
        return
    try:
        error = next(
            iter(jsonschema_rs.validator_for(schema).iter_errors(msgspec.json.decode(raw))), None
        )
    except (jsonschema_rs.ValidationError, ValueError) as problem:
        raise InvalidInput(f"{what}: its schema cannot be used: {problem}") from problem
    if error is not None:
        place = ".".join(str(part) for part in error.instance_path)
        raise InvalidInput(f"{what}: {f'at {place}: ' if place else ''}{error.message}")
