"""What a run that a trigger starts is given: the envelope, or what the trigger's template makes of it."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw

from dagnats.core.inputs import NULL
from dagnats.core.templates import render
from dagnats.core.triggers.filters import parse
from dagnats.core.triggers.model import Fire, Trigger
from dagnats.core.views import text_of_time


def envelope(trigger: Trigger, fire: Fire) -> Raw:
    """``{trigger, source, workflow_id, timestamp, data}``."""
    return Raw(
        msgspec.json.encode(
            {
                "trigger": fire.kind,
                "source": trigger.id,
                "workflow_id": trigger.workflow,
                "timestamp": text_of_time(fire.at_ms),
                "data": fire.data or NULL,
            }
        )
    )


def run_input(trigger: Trigger, fire: Fire) -> Raw:
    """The run's input.

    Raises:
        PathMissing: the template looks for what is not there.
    """
    wrapped = envelope(trigger, fire)
    return wrapped if trigger.input is UNSET else render(trigger.input, lambda _: wrapped)


def lets_through(trigger: Trigger, data: Raw) -> bool:
    """Whether a trigger's filter holds of the data."""
    return not trigger.filter or parse(trigger.filter)(data or NULL)
