"""What a step is at one moment, and the words for what steps and runs can be."""

from __future__ import annotations

from typing import Final

from msgspec import Raw, Struct

from dagnats.core.model import ABSENT, NOTHING_USED, Usage

# -- steps -----------------------------------------------------------------------------------------
PENDING: Final = "pending"  # a step waits for its parents, a run for the gate of its workflow
HELD: Final = "held"  # its ticket waits for a gate, or for room in its run
QUEUED: Final = "queued"  # its ticket is in force: queued or running
WAITING: Final = "waiting"  # for a timer, a person, an event, a child, or the steps it owns
COMPLETED: Final = "completed"
SKIPPED: Final = "skipped"
RECOVERED: Final = "recovered"  # failed, and its on_failure step made up for it
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"

SATISFIED: Final = frozenset({COMPLETED, SKIPPED, RECOVERED})
OPEN: Final = frozenset({PENDING, HELD, QUEUED, WAITING})

# -- runs ------------------------------------------------------------------------------------------
UNSTARTED: Final = "unstarted"
RUNNING: Final = "running"
COMPENSATED: Final = "compensated"  # failed, and everything that was done was undone
COMPENSATE_FAILED: Final = "compensate_failed"
CONTINUED: Final = "continued"  # as a new run, its successor
BUDGET_EXCEEDED: Final = "budget_exceeded"  # it goes on when somebody raises its budget
CLOSED: Final = frozenset(
    {COMPLETED, FAILED, CANCELLED, COMPENSATED, COMPENSATE_FAILED, CONTINUED, BUDGET_EXCEEDED}
)

NOBODY: Final = -1  # no position


class StepError(Struct, frozen=True, omit_defaults=True):
    """Why an attempt failed. ``failure`` is one of ``events.FailureKind`` or the engine's own reason."""

    message: str
    failure: str = "retriable"
    type: str = ""
    traceback: str = ""


class Owned(Struct, frozen=True, omit_defaults=True):
    """The items of a map, or the steps of a plan: ``count`` positions from ``first`` on.

    The first ``started`` of them may run; ``done`` are satisfied, ``lost`` failed and tolerated.
    """

    first: int
    count: int
    started: int = 0
    done: int = 0
    lost: int = 0


class StepState(Struct, frozen=True, omit_defaults=True):
    """A step at one moment.

    ``blockers`` counts parents that are not satisfied yet. ``attempt`` counts executions from 1
    within an iteration, ``spent`` those before the run was re-opened, ``iteration`` from 0, ``resume`` how
    often a parked step was entered again. ``due_ms`` is when a waiting step goes on, ``bound_ms``
    when a loop's or a question's time is over, ``since_ms`` when the ticket in force was dispatched, or asked
    its gate (0: it waits for room in its run).
    ``bypassed`` marks a step that was skipped because a failure above it was recovered.

    ``input`` is given to steps that were added to a running graph. ``calls`` are the positions of the
    durable calls of the current iteration, ``parked`` the one a parked step waits for. ``match`` is the
    value that an event must have, ``votes`` who has approved, ``cause`` the owned step whose failure
    failed this one, ``caller`` in which attempt of its caller a durable call was made, ``called_by``
    the worker that waits for it.

    ``usage`` is what the step has used, with all that it owns and its children; ``told`` what each child had used when
    it last told, by its ticket; ``reports`` how many were counted under the ticket in force, ``wall_due_ms`` when the
    time of a loop's budget is over.
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
    input: Raw = ABSENT
    spent: int = 0
    resume: int = 0
    owned: Owned | None = None
    calls: tuple[int, ...] = ()
    parked: int = NOBODY
    match: str = ""
    votes: tuple[str, ...] = ()
    cause: int = NOBODY
    caller: int = 0
    called_by: str = ""
    usage: Usage = NOTHING_USED
    told: dict[str, Usage] = {}
    reports: int = 0
    wall_due_ms: int = 0

    @property
    def deadline_ms(self) -> int:
        """The earliest moment at which this step needs the engine; 0 for never."""
        if not (self.wall_due_ms or self.bound_ms or self.due_ms):
            return 0
        if not self.wall_due_ms or self.status not in (HELD, QUEUED, WAITING):
            return self.own_due_ms
        return min(self.own_due_ms or self.wall_due_ms, self.wall_due_ms)

    @property
    def own_due_ms(self) -> int:
        """The same, without the budget."""
        if self.status == WAITING and self.due_ms:
            return min(self.due_ms, self.bound_ms) if self.bound_ms else self.due_ms
        return self.bound_ms if self.status in (HELD, QUEUED, WAITING) else 0

    @property
    def in_line(self) -> bool:
        """Whether its ticket waits for room in its run."""
        return self.status == HELD and not self.since_ms

    @property
    def under_way(self) -> bool:
        """Whether its ticket is in force, or waits for a gate."""
        return self.status == QUEUED or (self.status == HELD and self.since_ms > 0)


def ticket_text(step: str, state: StepState) -> str:
    """The ticket of a step's current attempt: ``<step>/<attempt>/<iteration>``, resumed ones ``…/<resume>``."""
    if state.resume:
        return f"{step}/{state.attempt}/{state.iteration}/{state.resume}"
    return f"{step}/{state.attempt}/{state.iteration}"


def step_of_ticket(ticket: str) -> str:
    """The step that a ticket is for."""
    return ticket.partition("/")[0]
