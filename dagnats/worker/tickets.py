"""One ticket, from delivery to settlement: a pipeline of named stages.

decode → look whether it is still wanted → hand it over if it is another worker's → call → answer → report →
acknowledge. The outcome is stored before
the ticket is acknowledged, so a crash between the two repeats, and never loses.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from dagnats import payloads
from dagnats.clock import Clock
from dagnats.context import AgentContext
from dagnats.convert import decoder
from dagnats.core.events import Answer as Outcome
from dagnats.core.views import AtWork
from dagnats.enquiries import Enquiries
from dagnats.errors import InvalidInput, OutsideError, PayloadGone
from dagnats.limits import (
    CLOSED_REMEMBERED_MAX,
    DELIVERIES_MAX,
    STARTED_NOTICE_MS,
    STICKY_SOFT_TRIES,
    WAITING_PER_SLOT_MAX,
)
from dagnats.ports import Append, Blobs, Delivery, Outside
from dagnats.registry import Registry
from dagnats.task import Task
from dagnats.wire import subjects
from dagnats.wire.codec import answers_for, encode
from dagnats.wire.messages import Enquiry, StartedNotice, TaskMessage
from dagnats.worker.answers import Answering
from dagnats.worker.call import Abandoned, Call, Raised, Reason, Threads
from dagnats.worker.calls import Callers
from dagnats.worker.doors import WorkerDoors
from dagnats.worker.emitter import Emitter
from dagnats.worker.handover import Sender
from dagnats.worker.isolation import IsolatedCall, Isolates
from dagnats.worker.lease import Held, LeaseKeeper
from dagnats.worker.reporting import answer_message, report
from dagnats.worker.room import Room

log = logging.getLogger("dagnats.worker")

_messages = msgspec.json.Decoder(TaskMessage)


_PAUSE_MS = 1_000


class Running(Struct):
    """A ticket whose handler is running."""

    message: TaskMessage
    call: Call | IsolatedCall
    began_ms: float
    told: bool = False


class TakenBack:
    """The tickets that were taken back: of runs up to an epoch. The newest runs are remembered."""

    def __init__(self) -> None:
        self._epochs: OrderedDict[str, int] = OrderedDict()

    def add(self, run: str, epoch: int) -> None:
        """A run's tickets up to an epoch."""
        self._epochs[run] = max(epoch, self._epochs.get(run, 0))
        if len(self._epochs) > CLOSED_REMEMBERED_MAX:
            self._epochs.popitem(last=False)

    def holds(self, message: TaskMessage) -> bool:
        """Whether this ticket was; those of a run that was opened again since are not."""
        return message.epoch <= self._epochs.get(message.run, -1)


class Tickets:
    """Runs tickets for one worker process."""

    def __init__(
        self, worker: str, outside: Outside, tasks: dict[str, Task[Any, Any]], keeper: LeaseKeeper, clock: Clock,
        *, sender: Sender, room: Room, freed: Callable[[], None] = lambda: None,
        isolates: Isolates | None = None,
    ) -> None:  # fmt: skip
        self.running: dict[str, Running] = {}
        self.skipped = 0
        self.finished = 0
        self.suspect_until_seq = 0
        self._worker = worker
        self._outside = outside
        self._tasks = tasks
        self._sender = sender
        self._room = room
        self._isolates = isolates
        self._keeper = keeper
        self._clock = clock
        # Handlers that wait for a durable call keep their thread, and give up their slot.
        self._threads = Threads(room.slots * (1 + WAITING_PER_SLOT_MAX))
        self.callers = Callers(outside, worker, room, freed)
        self._enquiries = Enquiries(outside, Registry(outside.documents(subjects.DEFINITIONS)))
        self._doors = WorkerDoors(outside, worker, self.callers)
        self._answering = Answering(worker, outside.blobs)
        self._taken_back = TakenBack()
        self._readers = {name: decoder(task.signature.checkpoint) for name, task in tasks.items()}

    async def run(self, delivery: Delivery) -> None:
        """Take one ticket through all its stages. Never raises for what user code does."""
        since_ms = self._clock.monotonic_ms()
        message = await self._decoded(delivery)
        if message is None or self._is_running(delivery, message):
            return
        if not await self._wanted(delivery, message):
            return
        if await self._sender.elsewhere(delivery, message, since_ms):
            return
        if not self._room.take() and not await self._room.wait(delivery, message):
            return
        try:
            outcome = await self._outcome(delivery, message)
        finally:
            self._room.leave()
        if outcome is None:
            return
        settled = functools.partial(_settled, self._enquiries, delivery, message)
        await report(self._outside.log, message, outcome, settled)
        await self._outside.queue.done(delivery.reply)
        self.finished += 1

    async def _decoded(self, delivery: Delivery) -> TaskMessage | None:
        """Stage 1: the ticket, or its removal when it is none."""
        try:
            message = _messages.decode(delivery.payload)
        except msgspec.DecodeError as error:
            reason = str(error)
        else:
            if answers_for(message.answer_to) == message.run:
                return message
            reason = f"it asks for the answer of run {message.run!r} at {message.answer_to!r}"
        text = "a message in the work queue is no ticket and was removed (sequence %d): %s"
        log.error(text, delivery.seq, reason)
        await self._outside.queue.done(delivery.reply)
        return None

    def _is_running(self, delivery: Delivery, message: TaskMessage) -> bool:
        """Whether this is a ticket that is running here: its lease lapsed all the same, and goes on."""
        key = f"{message.run}/{message.ticket}"
        if key not in self.running and key not in self._room.waiting:
            return False
        self._keeper.moved(key, delivery.reply)
        return True

    async def _wanted(self, delivery: Delivery, message: TaskMessage) -> bool:
        """Stage 2: whether the ticket is still to be run. Only tickets that may be old cost a read."""
        over = self._taken_back.holds(message)
        if not over and (delivery.delivered > 1 or delivery.seq <= self.suspect_until_seq):
            over = await _settled(self._enquiries, delivery, message)
        if over:
            self.skipped += 1
            await self._outside.queue.done(delivery.reply)
        return not over

    async def _outcome(self, delivery: Delivery, message: TaskMessage) -> Outcome | None:
        """Stages 4 to 6: call the handler under a lease, and say how it ended."""
        if self._taken_back.holds(message):  # while the ticket waited for a slot
            self.skipped += 1
            await self._outside.queue.done(delivery.reply)
            return None
        task = self._tasks.get(message.task)
        if task is None:
            await self._outside.queue.give_back(delivery.reply, _PAUSE_MS)
            return None
        if delivery.delivered > deliveries_max(message):
            text = f"{delivery.delivered - 1} workers were lost while they ran this ticket"
            return self._answering.failed(message, text, "worker_lost")
        try:
            message = await restored(self._outside.blobs, message)
            elsewhere = self._isolates is not None and task.options.isolate
            arguments = {} if elsewhere else task.signature.arguments(message.input)
        except InvalidInput as error:
            return self._answering.failed(
                message, f"input of task {task.name}: {error.message}", "non_retriable"
            )
        except PayloadGone as error:
            return self._answering.failed(message, str(error), "non_retriable")
        except OutsideError as error:  # not the handler's fault: no attempt of its is used up
            log.warning("ticket %s waits: %s", message.ticket, error)
            await self._outside.queue.give_back(delivery.reply, _PAUSE_MS)
            return None
        return await self._called(delivery, message, task, arguments)

    async def _called(
        self,
        delivery: Delivery,
        message: TaskMessage,
        task: Task[Any, Any],
        arguments: dict[str, Any],
    ) -> Outcome | None:
        loop = asyncio.get_running_loop()
        stream = Emitter(self._outside, message, delivery).open()
        now_ms = _log_clock(self._clock, delivery)
        key = f"{message.run}/{message.ticket}"
        if not message.timeout_ms and task.options.timeout_ms:  # the file said none
            message = replace(message, timeout_ms=task.options.timeout_ms)
        timeout_ms = message.timeout_ms
        if self._isolates is not None and task.options.isolate:
            call = IsolatedCall(
                loop,
                self._isolates,
                message,
                self._worker,
                doors=self._doors,
                stream=stream,
                now_ms=now_ms,
            )
        else:
            context: AgentContext[Any] = AgentContext(
                message, self._doors, loop, self._readers[task.name], stream, now_ms
            )
            if task.signature.context is not None:
                arguments[task.signature.context] = context
            call = Call(loop, context)
        began = self._clock.monotonic_ms()
        self.running[key] = Running(message, call, began)
        self._keeper.hold(
            key,
            Held(
                delivery.reply,
                began + timeout_ms if timeout_ms else 0,
                lambda: self._overdue(message),
            ),
        )
        try:
            if isinstance(call, Call):
                pool = None if task.is_async else self._threads.pool
                call.begin(task.function, arguments, pool)
            ended = await call.ended(timeout_ms)
        finally:
            self.running.pop(key, None)
            mine = self._keeper.release(key)
        if isinstance(ended, Abandoned) and isinstance(call, Call):
            self._abandoned(message, task, call.reason)
        if call.reason == "drain" and isinstance(ended, Abandoned | Raised):
            await self._outside.queue.give_back(delivery.reply)
            return None
        ran = round(self._clock.monotonic_ms() - began)
        outcome = await self._answer(message, task, ended, call.reason, ran) if mine else None
        if outcome is None:
            await self._outside.queue.done(delivery.reply)
        return outcome

    async def _answer(
        self,
        message: TaskMessage,
        task: Task[Any, Any],
        ended: object,
        reason: Reason | None,
        ran_ms: int,
    ) -> Outcome | None:
        """The outcome, with its large payloads stored; the work is done, so an outage is waited out."""
        while True:
            try:
                return await self._answering.of(message, task, ended, reason, ran_ms)
            except OutsideError as error:
                log.warning("the answer to %s is not stored yet: %s", message.ticket, error)
                await asyncio.sleep(_PAUSE_MS / 1000)

    def _abandoned(self, message: TaskMessage, task: Task[Any, Any], reason: Reason | None) -> None:
        log.warning(
            "%s of run %s was told to stop (%s) and did not; nobody waits for it any more. Let Cancelled pass, "
            "or check ctx.cancelled", task.name, message.run, reason,
        )  # fmt: skip
        if not task.is_async:  # its thread is lost until the function ends; others get a fresh pool
            self._threads.renew()

    def _overdue(self, message: TaskMessage) -> Append:
        return answer_message(message, self._answering.timed_out(message, message.timeout_ms))

    # -- from outside ------------------------------------------------------------------------------

    def cancel_run(self, run: str, epoch: int = 0) -> None:
        """A run's tickets up to an epoch are taken back: stop their handlers, and skip them from now on."""
        self._taken_back.add(run, epoch)
        for running in list(self.running.values()):
            if running.message.run == run and running.message.epoch <= epoch:
                running.call.stop("cancelled")

    def stop_all(self) -> None:
        """Tell every running handler to end; their tickets are given back."""
        for running in list(self.running.values()):
            running.call.stop("drain")

    async def tell_started(self) -> None:
        """Tell watchers what has begun, once it has run for a moment: most tickets are done by then."""
        before = self._clock.monotonic_ms() - STARTED_NOTICE_MS
        for running in list(self.running.values()):
            if not running.told and running.began_ms <= before:
                running.told = True
                message = running.message
                notice = StartedNotice(
                    type="step.started", ticket=message.ticket, worker=self._worker
                )
                await self._outside.notices.tell(subjects.live(message.run), encode(notice))

    def of_run(self, run: str) -> dict[str, AtWork]:
        """The tickets of a run that are running here."""
        return {
            r.message.ticket: AtWork(self._worker, r.call.detail)
            for r in self.running.values()
            if r.message.run == run
        }

    def close(self) -> None:
        """Let threads go, and end processes."""
        self._threads.close()
        if self._isolates is not None:
            self._isolates.close()


def _log_clock(clock: Clock, delivery: Delivery) -> Callable[[], float]:
    """The log's time, whatever this machine's clock says: that of the delivery, and what has passed since."""
    ahead_ms = delivery.at_ms - clock.monotonic_ms()
    return lambda: clock.monotonic_ms() + ahead_ms


def deliveries_max(message: TaskMessage) -> float:
    """How often a ticket may come before its handler is taken for one that kills workers.

    One that waits for its worker is delivered again and again; if for long, its run's time-out ends it.
    """
    waits = STICKY_SOFT_TRIES if message.sticky == "soft" else math.inf
    return DELIVERIES_MAX + (waits if message.worker else 0)


async def _settled(enquiries: Enquiries, delivery: Delivery, message: TaskMessage) -> bool:
    """Whether the log has an answer to a ticket that counts, or the end of its run."""
    enquiry = Enquiry(
        run=message.run,
        ticket=message.ticket,
        nonce=message.nonce,
        epoch=message.epoch,
        after_seq=delivery.origin_seq,
    )
    return (await enquiries.ask(enquiry)).settled


async def restored(blobs: Blobs, message: TaskMessage) -> TaskMessage:
    """The ticket with payloads in place of references."""
    if payloads.MARK not in bytes(message.input) and not message.checkpoint:
        return message
    state = message.checkpoint
    if payloads.reference(state) is not None:
        state = await payloads.restore(blobs, state)
    return replace(message, input=await payloads.restore(blobs, message.input), checkpoint=state)
