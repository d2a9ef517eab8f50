"""Triggers of one partition: their facts in, runs out. Who owns that partition owns them, as with runs.

What facts that were not acknowledged had caused is done again, with the same ids: a fire starts one run, whoever
comes to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from dagnats import archive, payloads
from dagnats.clock import Clock
from dagnats.core.entities import TriggerSet
from dagnats.core.events import CancelRequested, ChildClosed, Event, RunStarted
from dagnats.core.schemas import schema_violation
from dagnats.core.state import COMPLETED, FAILED
from dagnats.core.templates import PathMissing
from dagnats.core.triggers import stored
from dagnats.core.triggers.envelope import run_input
from dagnats.core.triggers.fold import (
    ArmCron,
    ArmHeld,
    CancelFired,
    SkipFire,
    StartFired,
    TriggerCommand,
    TriggerState,
    fold,
    outstanding,
)
from dagnats.core.triggers.model import Fire, Trigger
from dagnats.errors import CodecError, InvalidInput, PayloadGone, PayloadTooLarge
from dagnats.ids import run_id_for_key
from dagnats.limits import TRIGGER_SAVED_FACTS
from dagnats.ports import Append, Entry, Outside
from dagnats.registry import Registry
from dagnats.scheduler.effects import Before, Cut, Keep, Kept
from dagnats.scheduler.endings import ended
from dagnats.scheduler.timers import armed
from dagnats.scheduler.watching import Watching
from dagnats.starting import start_key
from dagnats.triggers import read_trigger_state
from dagnats.wire import subjects
from dagnats.wire.codec import encode, event_of, is_fact
from dagnats.wire.messages import FiredMark

log = logging.getLogger("dagnats.scheduler")

Messages = list[Append | Before]
Caused = tuple[int, TriggerCommand]  # with the sequence of the fact that did


class Slot(Struct):
    """A trigger in memory."""

    state: TriggerState
    used_ms: float
    saved_facts: int = 0


class Triggers:
    """The triggers of one partition, folded by its owner. ``fence``: whether this process still writes for it."""

    def __init__(
        self, number: int, outside: Outside, registry: Registry, clock: Clock, fence: Callable[[], bool]
    ) -> None:  # fmt: skip
        self._number = number
        self._outside = outside
        self._registry = registry
        self._clock = clock
        self._fence = fence
        self.watching = Watching(number, outside, fence)
        self._slots: dict[str, Slot] = {}

    # -- taking over -------------------------------------------------------------------------------

    async def load(self) -> None:
        """Start from nothing: arm again what is to be armed, and read what was published while nobody looked."""
        self._slots.clear()
        self.watching.clear()
        for entity in await self._outside.documents(subjects.TRIGGERS).all():
            if subjects.partition_of(entity, self._outside.log.partitions) != self._number:
                continue
            try:
                state = await read_trigger_state(self._outside, entity)
            except CodecError as error:
                log.error("%s; it rests meanwhile", error.message)  # noqa: TRY400 (it says it all)
                continue
            for command in outstanding(state):
                timers = [
                    m for m in await self._messages(entity, command, 0) if isinstance(m, Append)
                ]
                await self._outside.log.append(timers, self._fence)
            await self.watching.watch(state)

    # -- folding -----------------------------------------------------------------------------------

    async def fold(self, entity: str, event: Event) -> tuple[Messages, list[Kept]]:
        """Fold one fact of a trigger: what it causes, and the trigger when it is time to save it."""
        slot = self._slots.get(entity)
        commands: list[Caused] = []
        now = self._clock.monotonic_ms()
        if slot is None:
            before = await self._load(entity, event.seq, commands)
            slot = self._slots[entity] = Slot(before, now, before.facts)
        old = slot.state
        slot.state, caused = fold(old, event)
        slot.used_ms = now
        appends: Messages = []
        for seq, command in [*commands, *((event.seq, each) for each in caused)]:
            appends += await self._messages(entity, command, seq)
        saved: list[Kept] = []
        if isinstance(event.fact, TriggerSet):
            await self.watching.watch(slot.state)
            body = bytes(event.fact.definition) if slot.state.trigger else None
            saved.append(Keep(subjects.TRIGGERS, entity, body))  # the list follows the log
            if body is None:
                appends.append(ended(self._number, entity, event.seq))
        held = slot.state.held.kept if slot.state.held else 0
        # Half of it: what only grows is saved each time it has doubled.
        if slot.state.facts - slot.saved_facts >= max(TRIGGER_SAVED_FACTS, held // 2):
            slot.saved_facts = slot.state.facts
            state = stored.save(slot.state)
            saved += [Keep(subjects.SNAPSHOTS, entity, state), Cut(entity, state, event.seq)]
        return appends, saved

    async def _load(self, entity: str, since_seq: int, commands: list[Caused]) -> TriggerState:
        """The trigger as its log has it; what facts from ``since_seq`` on caused is done again."""

        def seen(event: Event, caused: list[TriggerCommand]) -> None:
            if event.seq >= since_seq:
                again = (each for each in caused if not isinstance(each, ArmCron | ArmHeld))
                commands.extend((event.seq, each) for each in again)

        state = await read_trigger_state(self._outside, entity, seen)
        commands.extend((since_seq, each) for each in outstanding(state))
        return state

    def park(self, idle_ms: float) -> None:
        """Let triggers leave memory that have been quiet."""
        now = self._clock.monotonic_ms()
        for entity, slot in list(self._slots.items()):
            if now - slot.used_ms >= idle_ms:
                del self._slots[entity]

    # -- what follows ------------------------------------------------------------------------------

    async def _messages(self, entity: str, command: TriggerCommand, seq: int) -> Messages:
        """What carries out a command that the fact with this sequence caused."""
        match command:
            case ArmCron():
                subject = subjects.cron(command.trigger)
                return [armed(subject, self._number, entity, command.due_ms)]
            case ArmHeld():
                return [
                    armed(
                        subjects.timer(self._number, entity), self._number, entity, command.due_ms
                    )
                ]
            case StartFired():
                return await self._start(entity, command, seq)
            case SkipFire():
                return [self._mark(entity, command.trigger, command.fire, "", command.reason)]
            case CancelFired():
                place = subjects.partition_of(command.run, self._outside.log.partitions)
                subject = subjects.fact(place, command.run, "client")
                cancel = CancelRequested(reason=command.reason)
                return [Append(subject, encode(cancel), f"{command.run}:cancel")]

    async def _start(self, entity: str, command: StartFired, seq: int) -> Messages:
        """The run's first fact and then the note of it; a fire that cannot start a run says why.

        That fact is stored before anything else: a cancellation must not come before what it is to end.
        """
        trigger, fire = command.trigger, command.fire
        try:
            run_id, fact = await self._first_fact(entity, command)
        except (InvalidInput, PathMissing, PayloadGone, PayloadTooLarge) as error:
            reason = error.message if isinstance(error, InvalidInput) else str(error)
            skipped = self._mark(entity, trigger, fire, "", reason)
            ended = ChildClosed(ticket=fire.key, status=FAILED, error=reason)
            return [skipped, *self._ended(entity, command, ended, seq)]
        place = subjects.partition_of(run_id, self._outside.log.partitions)
        subject = subjects.fact(place, run_id, "client")
        mark = self._mark(entity, trigger, fire, run_id, "")
        known = await archive.history(self._outside, run_id)
        first = next(filter(_starts, known), None)
        if first is not None:
            if first.seq > seq:
                return [mark]  # whoever folded this before has started it
            again = ChildClosed(ticket=fire.key, child=run_id, status=COMPLETED)
            # Its key came before, and that run has ended.
            return [mark, *self._ended(entity, command, again, seq)]
        return [Before(Append(subject, encode(fact), f"{run_id}:start")), mark]

    def _ended(self, entity: str, command: StartFired, fact: ChildClosed, seq: int) -> list[Append]:
        """Nothing runs for this fire, if the trigger waits for that."""
        if not command.tracked:
            return []
        msg_id = f"{entity}/{command.fire.key}:ended:{seq}"
        return [Append(self._subject(entity, "scheduler"), encode(fact), msg_id)]

    async def _first_fact(self, entity: str, command: StartFired) -> tuple[str, RunStarted]:
        """The run's id and its first fact.

        Raises:
            InvalidInput: no such workflow, or an input that it does not take.
            PathMissing: the template looks for what is not there.
        """
        trigger, fire = command.trigger, command.fire
        current = await self._registry.current(trigger.workflow)
        graph = await self._registry.graph(current.definition) if current else None
        if current is None or graph is None:
            raise InvalidInput(f'no workflow "{trigger.workflow}" is registered')
        blobs = self._outside.blobs
        data = await payloads.restore(blobs, fire.data) if fire.data else fire.data
        given = run_input(trigger, replace(fire, data=data))
        violation = schema_violation(graph.workflow.input_schema, given)
        if violation:
            raise InvalidInput(f"input of workflow {trigger.workflow}: {violation}")
        key = "" if command.tracked else start_key(graph.workflow, given, None)
        run_id = run_id_for_key(trigger.workflow, key) if key else command.run
        return run_id, RunStarted(
            workflow=trigger.workflow,
            definition=current.definition,
            input=await payloads.offload(blobs, given, f"input of run {run_id}"),
            metadata={"dagnats.trigger": trigger.id},
            key=key,
            parent=entity if command.tracked else "",
            parent_ticket=fire.key if command.tracked else "",
        )

    def _mark(self, entity: str, trigger: Trigger, fire: Fire, run_id: str, reason: str) -> Append:
        mark = FiredMark(
            key=fire.key, kind=fire.kind, workflow=trigger.workflow, at_ms=fire.at_ms,
            run_id=run_id, reason=reason, events=fire.events, group=fire.group, note=fire.note,
        )  # fmt: skip
        subject = subjects.fires(self._number, entity)
        return Append(subject, encode(mark), f"{entity}/{fire.key}:fired")

    def _subject(self, entity: str, author: str) -> str:
        return subjects.fact(self._number, entity, author)


def _starts(entry: Entry) -> bool:
    """Whether an entry is the first fact of a run."""
    try:
        return is_fact(entry) and isinstance(event_of(entry).fact, RunStarted)
    except CodecError:
        return False
