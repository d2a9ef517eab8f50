"""What a partition owns besides runs: gates, triggers and scheduled starts, each with facts of its own in the log."""

from __future__ import annotations

from collections.abc import Callable

from dagnats.clock import Clock
from dagnats.core.events import Event
from dagnats.core.limiting import is_gate
from dagnats.core.scheduled import is_start
from dagnats.core.triggers.model import is_trigger
from dagnats.ports import Append, Outside
from dagnats.registry import Registry
from dagnats.scheduler.effects import Before, Kept
from dagnats.scheduler.gates import Gates
from dagnats.scheduler.starts import Starts
from dagnats.scheduler.triggers import Triggers


def is_entity(owner: str) -> bool:
    """Whether facts under this id are not a run's."""
    return is_gate(owner) or is_trigger(owner) or is_start(owner)


class Entities:
    """The entities of one partition. ``fence``: whether this process still writes for it."""

    def __init__(
        self, number: int, outside: Outside, registry: Registry, clock: Clock, fence: Callable[[], bool]
    ) -> None:  # fmt: skip
        self.gates = Gates(number, outside, clock)
        self.triggers = Triggers(number, outside, registry, clock, fence)
        self.starts = Starts(number, outside, registry)

    async def load(self) -> None:
        """Start from nothing: at take-over, and after any failure."""
        self.gates.forget()
        await self.triggers.load()

    async def fold(self, entity: str, event: Event) -> tuple[list[Append | Before], list[Kept]]:
        """Fold one fact: what it causes, and what is to be kept once that is stored."""
        if is_trigger(entity):
            return await self.triggers.fold(entity, event)
        if is_gate(entity):
            messages, kept = await self.gates.fold(entity, event)
            return [*messages], kept
        messages, records = await self.starts.fold(entity, event)
        return [*messages], [*records]

    def park(self, idle_ms: float) -> None:
        """Let entities leave memory that have been quiet."""
        self.gates.park(idle_ms)
        self.triggers.park(idle_ms)
