"""Starts that are asked for now and happen later: each is an entity of three facts at most.

``start.scheduled`` arms a timer; what comes first of the timer and ``start.cancelled`` decides.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from dagnats.core.commands import ArmTimer
from dagnats.core.entities import StartCancelled, StartScheduled
from dagnats.core.events import Event, TimerFired

SCHEDULED: Final = "scheduled"
CANCELLED: Final = "cancelled"
FIRED: Final = "fired"
_PREFIX: Final = "start="


def start_of(run: str) -> str:
    """Under which id a scheduled start's facts are in the log: ``start=<run>``. No run has such an id."""
    return _PREFIX + run


def is_start(entity: str) -> bool:
    """Whether facts under this id are a scheduled start's, and not a run's."""
    return entity.startswith(_PREFIX)


class ScheduledStart(Struct, frozen=True):
    """A scheduled start as its log has it: ``status`` is empty before, and fired after its time."""

    entity: str
    status: str = ""
    asked: StartScheduled | None = None

    @property
    def run(self) -> str:
        """The id of the run."""
        return self.entity.removeprefix(_PREFIX)


class StartNow(Struct, frozen=True):
    """Start the run: its time has come."""

    run: str
    asked: StartScheduled


class TellCancelled(Struct, frozen=True):
    """Tell whoever waits for the run that it will never be."""

    run: str
    workflow: str
    reason: str


StartCommand = ArmTimer | StartNow | TellCancelled


def fold_start(state: ScheduledStart, event: Event) -> tuple[ScheduledStart, list[StartCommand]]:
    """The start after a fact, and what that causes."""
    fact = event.fact
    if isinstance(fact, StartScheduled) and not state.status:
        arm = ArmTimer(state.entity, fact.run_at_ms)
        return ScheduledStart(state.entity, SCHEDULED, fact), [arm]
    if state.status != SCHEDULED or state.asked is None:
        return state, []
    if isinstance(fact, StartCancelled):
        gone = TellCancelled(state.run, state.asked.workflow, fact.reason)
        return replace(state, status=CANCELLED), [gone]
    if isinstance(fact, TimerFired):
        return replace(state, status=FIRED), [StartNow(state.run, state.asked)]
    return state, []
