"""The worker process: pull within the free slots, run tickets, drain when told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from dagnats import __version__
from dagnats.clock import Clock, SystemClock
from dagnats.core.views import AtWork
from dagnats.errors import DagNatsError, RequestError
from dagnats.ids import new_process_id
from dagnats.limits import (
    DRAIN_TIMEOUT_MS,
    MESSAGE_SIZE_MAX_BYTES,
    STARTED_NOTICE_MS,
    WORKER_BEAT_MS,
    WORKER_LEASE_MS,
)
from dagnats.ports import Delivery, Outside
from dagnats.task import Task
from dagnats.wire import subjects
from dagnats.wire.messages import CancelledNotice, Offer, OfferAnswer, WorkerRecord
from dagnats.worker.handover import BUSY, NO, YES, Receiver, Sender, name_taken
from dagnats.worker.isolation import Isolates
from dagnats.worker.lease import LeaseKeeper, LeaseLink
from dagnats.worker.pulling import Channel, Pulling
from dagnats.worker.room import Room
from dagnats.worker.thread_watch import ThreadWatch
from dagnats.worker.tickets import Tickets

log = logging.getLogger("dagnats.worker")

_notice = msgspec.json.Decoder(CancelledNotice)


class Worker:
    """Runs the tasks of an app until it is stopped."""

    def __init__(
        self, outside: Outside, tasks: dict[str, Task[Any, Any]], keeper_link: LeaseLink, *, concurrency: int,
        group: str | None = "", lease_ms: int = WORKER_LEASE_MS, drain_ms: int = DRAIN_TIMEOUT_MS, name: str = "",
        clock: Clock | None = None, isolates: Isolates | None = None,
    ) -> None:  # fmt: skip
        self.name = name or new_process_id("worker")
        self._named = bool(name)
        self._outside = outside
        self._clock = clock or SystemClock()
        self._concurrency = concurrency
        self._group = group
        self._lease_ms = lease_ms
        self._drain_ms = drain_ms
        self.keeper = LeaseKeeper(keeper_link, lease_ms, self._clock)
        self.sender = Sender(self.name, outside, self._clock, lease_ms)
        self._room = Room(concurrency, self.name, outside.queue, self.keeper)
        self.tickets = Tickets(
            self.name, outside, tasks, self.keeper, self._clock,
            sender=self.sender, room=self._room,
            freed=lambda: self._pulling.slot_freed(),  # noqa: PLW0108  (made below)
            isolates=isolates,
        )  # fmt: skip
        self._tasks = frozenset(tasks)
        self._receiver = Receiver(self.name, outside, self._clock, self._judge, self._take)
        self._pulling = Pulling(
            _channels(tasks, group),
            concurrency,
            lambda: self.tickets.callers.slots_taken(len(self._work)),
            self._take,
        )
        self._threads = ThreadWatch()
        self._stopping = asyncio.Event()
        self._work: set[asyncio.Task[None]] = set()
        self._endings: list[Callable[[], object]] = []
        self.ready = asyncio.Event()

    def stop(self) -> None:
        """Take no more tickets, finish what runs within the drain time, return from ``run``; twice ends it now."""
        if self._stopping.is_set():
            self.tickets.stop_all()
        self._stopping.set()

    async def run(self) -> None:
        """Work until ``stop``.

        Raises:
            BrokerUnsuitable: a queue is already used in another way.
            RequestError: a worker of this name is at work.
        """
        if self._named and await name_taken(self._outside.notices, self.name):
            raise RequestError(
                f"a worker named {self.name} is at work already; each needs a name of its own, "
                "or none: then it is given one"
            )
        self.keeper.start()
        try:
            await self._listen()
            # What was queued before may have been answered, or cancelled, before this worker listened.
            self.suspect(await self._outside.queue.last_seq())
            await self._receiver.open(self._spawn)
            await self._pulling.open(self._outside.queue, self._lease_ms)
            self.ready.set()
            announcing = asyncio.get_running_loop().create_task(self._announce())
            self._endings.append(announcing.cancel)
            await self._beat_until_stopped()
            await self._drain()
        finally:
            self._receiver.close()
            for end in self._endings:
                end()
            self.keeper.stop()
            self.tickets.close()
            with suppress(DagNatsError, TimeoutError):
                await asyncio.wait_for(
                    self._outside.documents(subjects.WORKERS).delete(self.name), 2
                )

    async def _listen(self) -> None:
        notices = self._outside.notices
        self._endings.append(await notices.listen(subjects.CANCELLED, self._on_cancelled))
        self._endings.append(await notices.listen(subjects.ASK, self._on_asked))
        settled = subjects.settled(self.name)
        self._endings.append(
            await notices.listen(settled, lambda _s, told, _r: self.tickets.callers.heard(told))
        )

    def _on_cancelled(self, _subject: str, payload: bytes, _reply: str) -> None:
        with suppress(msgspec.DecodeError):
            notice = _notice.decode(payload)
            self.tickets.cancel_run(notice.run, notice.epoch)

    def _on_asked(self, subject: str, _payload: bytes, reply: str) -> None:
        running = self.tickets.of_run(subject.rsplit(".", 1)[-1])
        if not running or not reply:
            return
        answer = msgspec.json.encode(running)
        if len(answer) > MESSAGE_SIZE_MAX_BYTES:
            answer = msgspec.json.encode({ticket: AtWork(self.name) for ticket in running})
        self._spawn(self._outside.notices.tell(reply, answer))

    def suspect_all(self) -> None:
        """The server went away: until it is asked, any ticket may have been answered before."""
        self.tickets.suspect_until_seq = sys.maxsize

    def suspect(self, until_seq: int) -> None:
        """The server is back: tickets up to this queue sequence may have been answered before."""
        self.tickets.suspect_until_seq = until_seq

    # -- working -----------------------------------------------------------------------------------

    def _take(self, delivery: Delivery) -> None:
        if self._stopping.is_set():
            self._spawn(self._outside.queue.give_back(delivery.reply))
            return
        self._spawn(self.tickets.run(delivery))

    def _judge(self, offer: Offer, promised: int) -> OfferAnswer:
        """Whether to take a ticket that another worker was given, when so many were promised a slot."""
        if self._stopping.is_set() or not offer.ticket:
            return OfferAnswer(says=NO)
        if offer.task not in self._tasks:
            return OfferAnswer(says=NO, reason=f"does not serve task {offer.task}")
        key = f"{offer.run}/{offer.ticket}"
        here = key in self.tickets.running or key in self._room.waiting
        return OfferAnswer(says=YES if here or self._room.free > promised else BUSY)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error(
                "a ticket could not be taken to its end; it will be delivered again",
                exc_info=task.exception(),
            )
        self._pulling.slot_freed()

    # -- living and stopping -----------------------------------------------------------------------

    async def _beat_until_stopped(self) -> None:
        directory = self._outside.documents(subjects.WORKERS)
        started = self._clock.wall_ms()
        while not self._stopping.is_set():
            self._threads.look()
            record = WorkerRecord(
                worker=self.name,
                tasks=tuple(channel.task for channel in self._pulling.channels),
                group=self._group or "",
                concurrency=self._concurrency,
                running=len(self.tickets.running),
                pid=os.getpid(),
                host=socket.gethostname(),
                version=__version__,
                started_ms=started,
                seen_ms=self._clock.wall_ms(),
                threads=self._threads.left,
                threads_in=self._threads.place,
            )
            try:
                await directory.put(self.name, msgspec.json.encode(record))
            except (DagNatsError, TimeoutError) as error:
                log.warning("the worker directory was not updated: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), WORKER_BEAT_MS / 1000)

    async def _announce(self) -> None:
        while True:
            await asyncio.sleep(STARTED_NOTICE_MS / 1000)
            with suppress(DagNatsError):
                await self.tickets.tell_started()

    async def _drain(self) -> None:
        """Give back what has not begun, wait for what runs, then tell it to stop."""
        self._receiver.refuse()
        await self._pulling.close()
        self._room.close()
        if self.tickets.running:
            log.info(
                "stopping: waiting up to %g s for %d handlers",
                self._drain_ms / 1000,
                len(self.tickets.running),
            )
        if self._work:
            await asyncio.wait(list(self._work), timeout=self._drain_ms / 1000)
        if self._work:
            self.tickets.stop_all()
            await asyncio.wait(list(self._work), timeout=5)


def _channels(tasks: dict[str, Task[Any, Any]], group: str | None) -> list[Channel]:
    """The queues of a worker of a group; without one (None), of each task's own."""
    return [
        Channel(t.name, t.options.group if group is None else group, singleton=t.options.singleton)
        for t in tasks.values()
    ]
