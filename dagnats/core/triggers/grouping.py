"""What a fact brings for a trigger that holds events back: who writes the fact still has the data at hand."""

from __future__ import annotations

from msgspec import UNSET, Raw
from msgspec.structs import replace

from dagnats.core.events import TriggerFired
from dagnats.core.inputs import NULL
from dagnats.core.keys import key_of
from dagnats.core.templates import PathMissing
from dagnats.core.triggers.model import Trigger


def grouped(fact: TriggerFired, trigger: Trigger, data: Raw) -> TriggerFired:
    """The fact with the size of its data, and the value there at the trigger's key; or why there is none."""
    if trigger.hold is UNSET or fact.problem:
        return fact
    fact = replace(fact, size=len(bytes(data)))
    path = trigger.hold.key
    if not path:
        return fact
    try:
        return replace(fact, path=path, group=key_of(path, data or NULL, "data"))
    except PathMissing as error:
        return replace(fact, ungrouped=str(error))
