"""Scheduled starts of one partition. They have three facts at most, so nothing of them is kept in memory."""

from __future__ import annotations

from dagnats import archive
from dagnats.core.commands import ArmTimer
from dagnats.core.events import Event, RunStarted
from dagnats.core.scheduled import (
    CANCELLED,
    FIRED,
    SCHEDULED,
    ScheduledStart,
    StartCommand,
    StartNow,
    TellCancelled,
    fold_start,
)
from dagnats.core.state import StepError
from dagnats.errors import CodecError
from dagnats.ports import Append, Outside
from dagnats.registry import Registry
from dagnats.scheduled import record_of
from dagnats.scheduler.effects import Keep
from dagnats.scheduler.endings import ended
from dagnats.scheduler.timers import armed
from dagnats.wire import subjects
from dagnats.wire.codec import encode, event_of, is_fact
from dagnats.wire.messages import ClosedMark


class Starts:
    """Arms and starts, for the owner of a partition."""

    def __init__(self, number: int, outside: Outside, registry: Registry) -> None:
        self._number = number
        self._outside = outside
        self._registry = registry

    async def fold(self, entity: str, event: Event) -> tuple[list[Append], list[Keep]]:
        """Fold one fact of a scheduled start: what it causes, and what is to be kept once that is stored."""
        state = ScheduledStart(entity)
        for entry in await self._outside.log.history(entity):
            if is_fact(entry) and entry.seq < event.seq:
                try:
                    state, _ = fold_start(state, event_of(entry))
                except CodecError:
                    continue  # it was dead-lettered when it was delivered
        state, commands = fold_start(state, event)
        appends = [found for each in commands if (found := await self._append(each))]
        if not commands:
            return [], []
        if state.status != SCHEDULED:
            appends.append(ended(self._number, entity, event.seq))
        record = None if state.status == FIRED else encode(record_of(state, event.at_ms))
        return appends, [Keep(subjects.SCHEDULED, state.run, record)]

    async def _append(self, command: StartCommand) -> Append | None:
        match command:
            case ArmTimer():
                subject = subjects.timer(self._number, command.run)
                return armed(subject, self._number, command.run, command.due_ms)
            case StartNow():
                return await self._start(command)
            case TellCancelled():
                return self._closed(command)

    def _closed(self, command: TellCancelled) -> Append:
        """The closing mark of a run that never began."""
        reason = command.reason or "cancelled before it was started"
        mark = ClosedMark(
            status=CANCELLED, workflow=command.workflow, error=StepError(reason, CANCELLED)
        )
        place = subjects.partition_of(command.run, self._outside.log.partitions)
        subject = subjects.mark(place, command.run, "closed")
        return Append(subject, encode(mark), f"{command.run}:closed")

    async def _start(self, command: StartNow) -> Append | None:
        """The run's first fact; None when it has one already."""
        asked, log = command.asked, self._outside.log
        subject = subjects.fact(
            subjects.partition_of(command.run, log.partitions), command.run, "client"
        )
        if await archive.exists(self._outside, command.run):
            return None
        current = await self._registry.current(asked.workflow)
        fact = RunStarted(
            workflow=asked.workflow, definition=current.definition if current else asked.definition,
            input=asked.input, metadata=asked.metadata, tags=asked.tags, key=asked.key, start=asked.start,
            priority=asked.priority, budget=asked.budget,
        )  # fmt: skip
        return Append(subject, encode(fact), f"{command.run}:start")
