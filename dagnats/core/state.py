"""What a step is at one moment, and the words for what steps and runs can be."""

from __future__ import annotations

from typing import Final

from msgspec import Raw, Struct

from dagnats.core.model import ABSENT

# -- steps -----------------------------------------------------------------------------------------
PENDING: Final = "pending"  # waits for its parents
QUEUED: Final = "queued"  # its ticket is in force: queued or running
WAITING: Final = "waiting"  # for a timer: back-off or loop delay
COMPLETED: Final = "completed"
SKIPPED: Final = "skipped"
RECOVERED: Final = "recovered"  # failed, and its on_failure step made up for it
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"

SATISFIED: Final = frozenset({COMPLETED, SKIPPED, RECOVERED})
OPEN: Final = frozenset({PENDING, QUEUED, WAITING})

# -- runs ------------------------------------------------------------------------------------------
UNSTARTED: Final = "unstarted"
RUNNING: Final = "running"  # runs end as completed, failed or cancelled
CLOSED: Final = frozenset({COMPLETED, FAILED, CANCELLED})


class StepError(Struct, frozen=True, omit_defaults=True):
    """Why an attempt failed. ``failure`` is one of ``events.FailureKind`` or the engine's own reason."""

    message: str
    failure: str = "retriable"
    type: str = ""
    traceback: str = ""


class StepState(Struct, frozen=True, omit_defaults=True):
    """A step at one moment.

    ``blockers`` counts parents that are not satisfied yet. ``attempt`` counts executions from 1
    within an iteration, ``iteration`` from 0. ``due_ms`` is when a waiting step goes on, ``bound_ms``
    when a loop's time is over, ``since_ms`` when the ticket in force was dispatched. ``bypassed``
    marks a step that was skipped because a failure above it was recovered.
    """

    status: str = PENDING
    blockers: int = 0
    attempt: int = 0
    iteration: int = 0
    due_ms: int = 0
    bound_ms: int = 0
    since_ms: int = 0
    began_ms: int = 0
    ended_ms: int = 0
    output: Raw = ABSENT
    error: StepError | None = None
    checkpoint: Raw = ABSENT
    bypassed: bool = False

    @property
    def deadline_ms(self) -> int:
        """The earliest moment at which this step needs the engine; 0 for never."""
        if self.status == WAITING:
            return min(self.due_ms, self.bound_ms) if self.bound_ms else self.due_ms
        return self.bound_ms if self.status == QUEUED else 0


def ticket_text(step: str, state: StepState) -> str:
    """The ticket of a step's current attempt: ``<step>/<attempt>/<iteration>``."""
    return f"{step}/{state.attempt}/{state.iteration}"


def step_of_ticket(ticket: str) -> str:
    """The step that a ticket is for."""
    return ticket.partition("/")[0]
