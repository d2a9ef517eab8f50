"""Kinds of triggers that workers own: registering them, and checking what triggers of them are configured with."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from dagnats import convert
from dagnats.core.problems import name_problems
from dagnats.core.schemas import schema_problem, schema_violation
from dagnats.core.triggers.model import External
from dagnats.core.views import text_of_time
from dagnats.errors import InvalidInput, RequestError
from dagnats.ports import Documents
from dagnats.wire import subjects

_PREFIX = "type."


class TriggerType(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A kind of trigger. ``owner`` is the app whose workers notice what it waits for; schemas are JSON Schema."""

    name: str
    owner: str
    version: int = 1
    description: str = ""
    config_schema: dict[str, Any] | None = None
    payload_schema: dict[str, Any] | None = None
    registered_at: str = ""


_type = msgspec.json.Decoder(TriggerType)


async def register_type(documents: Documents, kind: TriggerType, now_ms: int) -> bool:
    """Store a kind of trigger; False when it is so already.

    Raises:
        InvalidInput: its name or a schema is none.
        RequestError: another app owns it, or it differs without a higher version.
    """
    for problem in name_problems("trigger type", kind.name):
        raise InvalidInput(str(problem))
    for which in ("config_schema", "payload_schema"):
        if why := schema_problem(getattr(kind, which)):
            raise InvalidInput(f"{which} of trigger type {kind.name}: {why}")
    key = _PREFIX + subjects.token(kind.name)
    stored = msgspec.structs.replace(kind, registered_at=text_of_time(now_ms))
    while True:  # several workers register it in one moment
        found = await documents.get(key)
        before = _type.decode(found[0]) if found else None
        if before is not None:
            if msgspec.structs.replace(before, registered_at="") == kind:
                return False
            _refuse_drift(before, kind)
        if await documents.swap(key, msgspec.json.encode(stored), found[1] if found else 0):
            return True


def _refuse_drift(before: TriggerType, kind: TriggerType) -> None:
    if before.owner != kind.owner:
        text = f"trigger type {kind.name} is owned by app {before.owner}; choose another name"
        raise RequestError(text)
    if kind.version <= before.version:
        raise RequestError(
            f"trigger type {kind.name} differs from version {before.version}, which is registered; "
            "raise version="
        )


async def types(documents: Documents) -> list[TriggerType]:
    """Every kind that is registered, by name."""
    entries = await documents.all(_PREFIX)
    return sorted((_type.decode(value) for value, _ in entries.values()), key=lambda t: t.name)


async def type_of(documents: Documents, name: str) -> TriggerType:
    """One kind.

    Raises:
        RequestError: it is not registered.
    """
    found = await documents.get(_PREFIX + subjects.token(name))
    if found is None:
        raise RequestError(
            f'no trigger type "{name}" is registered; start a worker that has it '
            "(`dagnats trigger-type list` shows those there are)"
        )
    return _type.decode(found[0])


async def check_config(documents: Documents, on: External) -> None:
    """Whether a trigger's config is what its kind takes.

    Raises:
        RequestError: there is no such kind.
        InvalidInput: the config does not fit its schema.
    """
    kind = await type_of(documents, on.kind)
    violation = schema_violation(kind.config_schema, convert.encode(on.config))
    if violation:
        raise InvalidInput(f"config of a trigger of type {on.kind}: {violation}")


def check_payload(kind: TriggerType, data: Raw) -> None:
    """Whether data are what a kind brings.

    Raises:
        InvalidInput: they do not fit its schema.
    """
    violation = schema_violation(kind.payload_schema, data)
    if violation:
        raise InvalidInput(f"data of a trigger of type {kind.name}: {violation}")
