"""One partition: facts in, messages out. The owner's memory of its runs, and nothing it cannot lose.

``fold`` turns deliveries into a batch of messages; ``commit`` stores them, and only then acknowledges. The
one answer to any failure is ``forget``: drop what is in memory, have what was not acknowledged delivered
again, load what it concerns from the log and do what is outstanding.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec
from msgspec import Struct

from dagnats import kept
from dagnats.beginnings import cut
from dagnats.clock import Clock
from dagnats.core.commands import CloseRun, Command, LeaveGate
from dagnats.core.events import (
    BudgetRaised,
    CancelRequested,
    ChildReported,
    Event,
    GateChecked,
    GateGranted,
    RetryRequested,
    RunStarted,
    StepCalled,
    UsageReported,
)
from dagnats.core.machine import advance, new_run
from dagnats.core.run import Run
from dagnats.core.state import QUEUED
from dagnats.errors import CodecError, OutsideError, PayloadTooLarge
from dagnats.limits import (
    CLOSED_REMEMBERED_MAX,
    FACTS_IN_A_ROW,
    RUN_IDLE_MS,
    RUNS_IN_MEMORY_MAX,
    SNAPSHOT_EVERY_FACTS,
)
from dagnats.ports import Append, Delivery, FactFeed, Outside
from dagnats.registry import Registry
from dagnats.scheduler.effects import (
    Before,
    Cut,
    Drop,
    Effect,
    Kept,
    LookAway,
    LookOut,
    TakeBack,
    Tell,
)
from dagnats.scheduler.entities import Entities, is_entity
from dagnats.scheduler.gates import left
from dagnats.scheduler.letters import poison_letter, refused_letters, unsendable_letter
from dagnats.scheduler.loading import Loader, no_room
from dagnats.scheduler.lookout import Lookout
from dagnats.scheduler.perform import Performer
from dagnats.scheduler.reconciler import Reconciler
from dagnats.wire import subjects
from dagnats.wire.codec import encode, event_of, run_of
from dagnats.wire.messages import CancelledNotice

log = logging.getLogger("dagnats.scheduler")

# A gate may not have heard of the end yet.
_HEARD_AFTER_THE_END = (
    RetryRequested, BudgetRaised, UsageReported, ChildReported, GateGranted, GateChecked,
)  # fmt: skip
_BUSY = 5  # a run that never rests is saved less often: writing a snapshot costs what it holds


class Slot(Struct):
    """A run in memory. ``uncommitted`` counts batches that hold messages of it."""

    run: Run
    used_ms: float
    saved_facts: int = 0
    uncommitted: int = 0


def _goes_on(slot: Slot | None) -> bool:
    """Whether a run that had ended was opened again meanwhile, and may have armed its timer anew."""
    return slot is not None and not slot.run.closed


class Batch(Struct):
    """What some deliveries caused: effects, then ``first``, then the rest; at last the acknowledgement.

    Batches are stored side by side, and acknowledged in order. ``in_turn`` are messages that must not overtake those
    of the batches before: the closing marks of runs that were opened again, of which the last one counts.
    """

    last: Delivery
    appends: list[Append] = []
    effects: list[Effect] = []
    dropped: list[str] = []
    first: list[Append] = []
    closed: list[Run] = []
    armed: list[str] = []
    slots: list[Slot] = []
    kept: list[Kept] = []
    in_turn: list[Append] = []

    def put(self, deeds: Iterable[Append | Effect]) -> None:
        """What is to be done, each in its place."""
        for deed in deeds:
            match deed:
                case Drop():
                    self.dropped.append(deed.name)
                case Before():
                    self.first.append(deed.append)
                case Append():
                    self.appends.append(deed)
                case _:
                    self.effects.append(deed)


class Partition:
    """The runs of one partition, folded by its owner."""

    def __init__(
        self,
        number: int,
        outside: Outside,
        registry: Registry,
        secret: bytes,
        clock: Clock,
        fence: Callable[[], bool],
    ) -> None:
        self.number = number
        self._outside = outside
        self._registry = registry
        self._clock = clock
        self.fence = fence
        self._loader = Loader(outside, registry, secret)
        self.reconciler = Reconciler(number, outside, self._loader, fence)
        self.lookout = Lookout(number, outside, fence)
        self.entities = Entities(number, outside, registry, clock, fence)
        self._performer = Performer(number, outside, secret, registry)
        self._runs: OrderedDict[str, Slot] = OrderedDict()
        self.ended: OrderedDict[str, None] = OrderedDict()  # facts of these are not looked at
        self._horizon = 0
        self.folded = 0

    @property
    def runs_in_memory(self) -> int:
        """How many runs are held."""
        return len(self._runs)

    async def forget(self) -> None:
        """Start from nothing: at take-over, and after any failure."""
        for run_id in self._runs:
            self.reconciler.note(run_id)
        self._runs.clear()
        self.ended.clear()
        # A start beyond this point is a new run; one before it may have a history to be read.
        self._horizon = await self._outside.log.last_seq()
        await self.lookout.load()
        await self.entities.load()

    # -- folding -----------------------------------------------------------------------------------

    async def fold(self, deliveries: list[Delivery]) -> Batch:
        """Fold facts in order and collect what they cause. Deliveries must not be empty."""
        batch = Batch(last=deliveries[-1])
        now = self._clock.monotonic_ms()
        for number, delivery in enumerate(deliveries, 1):
            if number % FACTS_IN_A_ROW == 0:  # leases are renewed on this loop, too
                await asyncio.sleep(0)
            try:
                await self._fold_one(delivery, batch, now)
            except (OutsideError, TimeoutError):
                raise
            except Exception as error:  # a bug of ours must not hold up the other runs
                run_id = run_of(delivery.subject)
                log.exception("run %s cannot go on at sequence %d", run_id, delivery.seq)
                self._runs.pop(run_id, None)
                reason = f"an error in DagNats: {type(error).__name__}: {error}"
                self._poison(delivery, run_id, reason, batch)
        self.folded += len(deliveries)
        return batch

    async def _fold_one(self, delivery: Delivery, batch: Batch, now: float) -> None:
        run_id = run_of(delivery.subject)
        try:
            event = event_of(delivery)
        except CodecError as error:
            self._poison(delivery, run_id, str(error), batch)
            return
        if is_entity(run_id):
            messages, kept = await self.entities.fold(run_id, event)
            batch.put(messages)
            batch.kept.extend(kept)
            return
        if run_id in self.ended:
            if not isinstance(event.fact, _HEARD_AFTER_THE_END):
                return
            del self.ended[run_id]
        slot = self._runs.get(run_id) or await self._slot(run_id, event, delivery, batch, now)
        if slot is None:
            return
        slot.used_ms = now
        self._runs.move_to_end(run_id)
        if event.seq <= slot.run.seq:
            return
        if not self._loader.authentic(run_id, event):
            self._poison(
                delivery, run_id, "the answer does not return the nonce of its ticket", batch
            )
            if isinstance(event.fact, StepCalled):
                forged = self._performer.control.forged(slot.run, event.fact, event.seq)
                batch.first.extend(forged)
            return
        before = slot.run
        event = await self._loader.prepared(before, event)
        refused = [delivery] if no_room(before, delivery.subject) else []
        batch.first.extend(refused_letters(run_id, refused))
        slot.run, commands = advance(before, event)
        if slot.run.closed and (before.armed_ms or slot.run.opened):
            batch.armed.append(run_id)
        await self._collect(slot, commands, batch)

    async def _slot(
        self, run_id: str, event: Event, delivery: Delivery, batch: Batch, now: float
    ) -> Slot | None:
        """The run's slot: a new run, or one loaded from the log with what it still owes; None for no run."""
        fact = event.fact
        if (
            isinstance(fact, RunStarted)
            and delivery.delivered == 1
            and delivery.seq > self._horizon
        ):
            self._horizon = delivery.seq
            graph = self._registry.cached(fact.definition) or await self._registry.graph(
                fact.definition
            )
            slot = self._runs[run_id] = Slot(new_run(run_id, graph), now)
            return slot
        loaded = await self._loader.load(run_id, delivery.seq)
        if loaded is None:
            if isinstance(fact, GateGranted | GateChecked):  # a gate is told that there is none
                gone = LeaveGate(run_id, fact.ticket, fact.gate)
                batch.appends.append(left(self._outside.log.partitions, gone))
            elif not isinstance(fact, CancelRequested):  # that of a child which was never started
                self._poison(delivery, run_id, f"run {run_id} was never started", batch)
            return None
        slot = self._runs[run_id] = Slot(loaded.run, now, loaded.saved_facts)
        await self._collect(slot, loaded.missing, batch)
        batch.first.extend(refused_letters(run_id, loaded.refused))
        if loaded.late_seq:
            batch.appends.append(await self._performer.closed_again(loaded.run, loaded.late_seq))
        if loaded.run.closed:  # whoever closed it may not have come to cleaning up
            batch.armed.append(run_id)
            if not any(isinstance(each, CloseRun) for each in loaded.missing):
                batch.closed.append(loaded.run)
        return slot

    async def _collect(self, slot: Slot, commands: list[Command], batch: Batch) -> None:
        if not commands:
            return
        slot.uncommitted += 1
        batch.slots.append(slot)
        for command in commands:
            deeds = await self._performer.deeds(slot.run, command)
            if isinstance(command, CloseRun):
                batch.closed.append(slot.run)
            if isinstance(command, CloseRun) and slot.run.opened:
                batch.in_turn.extend(deed for deed in deeds if isinstance(deed, Append))
            else:
                batch.put(deeds)

    def _poison(self, delivery: Delivery, run_id: str, reason: str, batch: Batch) -> None:
        log.error(
            "fact %d on %s went to the dead letters: %s", delivery.seq, delivery.subject, reason
        )
        batch.first.append(
            poison_letter(delivery.subject, run_id, delivery.payload, delivery.seq, reason)
        )

    # -- committing --------------------------------------------------------------------------------

    async def store(self, batch: Batch) -> None:
        """Store a batch's messages; batches may overlap, in order.

        Raises:
            LeaseLost, PublishFailed: something was not stored; ``forget`` and begin again.
        """
        if batch.effects:
            await self._effect(batch.effects)
        for messages in (batch.first, batch.appends):
            if messages:
                await self._append(messages)

    async def _effect(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Tell():
                    await self._outside.notices.tell(effect.subject, effect.payload)
                case TakeBack():
                    await self._take_back(effect.run, effect.epoch, effect.reason)
                case LookOut():
                    await self.lookout.watch(effect.watch)
                case LookAway():
                    await self.lookout.forget(effect.run, effect.ticket)

    async def _append(self, messages: list[Append]) -> None:
        """Store all that the server can take: trying again would never help, and must not hold up the partition."""
        with suppress(PayloadTooLarge):
            await self._outside.log.append(messages, self.fence)
            return
        for message in messages:
            try:
                await self._outside.log.append([message], self.fence)
            except PayloadTooLarge as error:
                log.error("%s; its beginning is in the dead letters", error)  # noqa: TRY400 (it says it all)
                letter = unsendable_letter(message, run_of(message.subject), str(error))
                await self._outside.log.append([letter], self.fence)

    async def acknowledge(self, batch: Batch, feed: FactFeed) -> None:
        """Let go of a stored batch, in its turn: tell who must know, acknowledge, and retire what has ended."""
        if batch.in_turn:
            await self._append(batch.in_turn)
        for slot in batch.slots:
            slot.uncommitted -= 1
            grown = slot.run.facts - slot.saved_facts >= SNAPSHOT_EVERY_FACTS * _BUSY
            if grown and not slot.uncommitted and not slot.run.closed:
                await self._loader.save(slot.run)
                slot.saved_facts = slot.run.facts
        for run in batch.closed:
            if not _goes_on(self._runs.get(run.id)):
                await self._retire(run)
        for run_id in batch.armed:
            if not _goes_on(self._runs.get(run_id)):
                await self._outside.log.disarm(run_id)
        for each in batch.kept:
            await keep(self._outside, each)
        for name in batch.dropped:
            await self._outside.blobs.delete(name)
        await feed.acknowledge(batch.last, self.fence)

    async def _take_back(self, run: str, epoch: int, reason: str) -> None:
        """Tickets that are worth nothing any more: out of the queue, and out of workers' hands."""
        notice = CancelledNotice(run=run, reason=reason, epoch=epoch)
        await self._outside.notices.tell(subjects.CANCELLED, encode(notice))
        await self._outside.queue.purge_run(run)

    async def _retire(self, run: Run) -> None:
        """Let go of a run that has ended. It may be opened again: so it is marked before anything is awaited."""
        slot = self._runs.pop(run.id, None)
        self.ended[run.id] = None
        if len(self.ended) > CLOSED_REMEMBERED_MAX:
            self.ended.popitem(last=False)
        if run.abandoned:
            reason = run.error.message if run.error else run.status
            await self._take_back(run.id, run.epoch, reason)
        if slot is not None and slot.saved_facts:
            await self._loader.drop(run.id)

    # -- keeping memory bounded --------------------------------------------------------------------

    async def park(self, limit: int = RUNS_IN_MEMORY_MAX, idle_ms: float = RUN_IDLE_MS) -> int:
        """Let runs leave memory that have been quiet, or are too many; return how many left."""
        now = self._clock.monotonic_ms()
        self.entities.park(idle_ms)
        parked = 0
        for run_id, slot in list(self._runs.items()):  # least recently used first
            if len(self._runs) <= limit and now - slot.used_ms < idle_ms:
                break
            if slot.uncommitted:
                continue
            if slot.run.facts - slot.saved_facts >= SNAPSHOT_EVERY_FACTS and not slot.run.closed:
                await self._loader.save(slot.run)
            if self._runs.pop(run_id, None) is not None:
                parked += 1
                if any(step.status == QUEUED for step in slot.run.steps):
                    self.reconciler.note(run_id)
        return parked


def decode_secret(value: bytes) -> bytes:
    """The deployment secret as it is stored: a JSON string."""
    return msgspec.json.decode(value, type=str).encode()


async def keep(outside: Outside, document: Kept) -> None:
    """Write or remove a document, or cut a log."""
    if isinstance(document, Cut):
        await cut(outside, document.entity, document.state, document.seq)
    elif document.value is None:
        await outside.documents(document.bucket).delete(document.key)
    else:
        await kept.keep(outside, document.bucket, document.key, document.value)
