"""Timers as messages: what the server is to put into an entity's log when it is due."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from dagnats.core.events import TimerFired
from dagnats.ports import Append
from dagnats.wire import subjects
from dagnats.wire.codec import encode

_FIRED_COPY_TTL: Final = "5m"


def armed(subject: str, partition: int, entity: str, due_ms: int) -> Append:
    """A timer on a subject, in place of whatever was armed there; it becomes a fact of the entity."""
    due = datetime.fromtimestamp(due_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return Append(
        subject,
        encode(TimerFired(due_ms=due_ms)),
        headers=(
            (subjects.SCHEDULE, f"@at {due.replace('+00:00', 'Z')}"),
            (subjects.SCHEDULE_TARGET, subjects.due(partition, entity)),
            (subjects.SCHEDULE_TTL, _FIRED_COPY_TTL),
        ),
    )
