"""The scheduler process: keep the lease, run a loop for each partition held, begin again after any failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import msgspec

from dagnats.clock import Clock, SystemClock
from dagnats.core.control import NO_POLICY, Policy
from dagnats.errors import DagNatsError, LeaseLost
from dagnats.ids import new_process_id, new_secret
from dagnats.limits import FACTS_BATCH_MAX, LEASE_RENEW_MS, RECONCILE_EVERY_MS, RUNS_IN_MEMORY_MAX
from dagnats.policies import Policies
from dagnats.ports import FactFeed, Outside
from dagnats.registry import Registry
from dagnats.scheduler.archiver import NO_RETENTION, Archiver, Retention
from dagnats.scheduler.desk import Desk
from dagnats.scheduler.listening import EventListener
from dagnats.scheduler.ownership import Ownership
from dagnats.scheduler.partition import Batch, Partition, decode_secret
from dagnats.scheduler.reaper import reap
from dagnats.wire import subjects

log = logging.getLogger("dagnats.scheduler")

_BATCHES_IN_FLIGHT = 8
_PARK_EVERY_S = 5.0
_REAP_EVERY_S = 60.0
_PAUSE_AFTER_FAILURE_S = (0.1, 0.25, 0.5, 1.0, 2.0)


async def deployment_secret(outside: Outside) -> bytes:
    """The secret that nonces are made with; the first scheduler of a deployment makes it."""
    documents = outside.documents(subjects.SECRETS)
    found = await documents.get("nonce")
    if found is None:
        await documents.swap("nonce", msgspec.json.encode(new_secret()), 0)
        found = await documents.get("nonce")
    if found is None:
        raise DagNatsError(
            "the deployment's secret could not be stored; look at the bucket dagnats_secrets"
        )
    return decode_secret(found[0])


class Loop(NamedTuple):
    """The task that serves a partition, and whether its claim still holds."""

    task: asyncio.Task[None]
    fence: Callable[[], bool]


class Scheduler:
    """Owns a fair share of the partitions and advances their runs until it is stopped.

    ``policy`` is what a new deployment begins with. ``grace_ms``: so long after their root run the
    definitions that handlers made are removed (0: never). ``retention``: when finished runs leave the log.
    ``reconcile_ms``: how often silent runs are compared with the queue.
    """

    def __init__(
        self, outside: Outside, *, clock: Clock | None = None, partitions_max: int = 0, name: str = "",
        runs_max: int = RUNS_IN_MEMORY_MAX, policy: Policy = NO_POLICY, grace_ms: int = 0,
        retention: Retention = NO_RETENTION, reconcile_ms: int = RECONCILE_EVERY_MS,
    ) -> None:  # fmt: skip
        self.name = name or new_process_id("scheduler")
        self._outside = outside
        self._clock = clock or SystemClock()
        self._partitions_max = partitions_max
        self._runs_max = runs_max
        self._policy = policy
        self._grace_ms = grace_ms
        self._retention = retention
        self._reconcile_ms = reconcile_ms
        self._registry = Registry(outside.documents(subjects.DEFINITIONS))
        self._stopping = asyncio.Event()
        self._loops: dict[int, Loop] = {}
        self.partitions: dict[int, Partition] = {}
        self.ownership: Ownership | None = None
        self.ready = asyncio.Event()

    def stop(self) -> None:
        """Give the partitions up and return from ``run``; what is in hand the next owner does. Twice is fine."""
        self._stopping.set()

    async def run(self) -> None:
        """Schedule until ``stop``. Outages of the server are waited out."""
        secret = await deployment_secret(self._outside)
        await Policies(self._outside.documents(subjects.CONTROL)).begin_with(self._policy)
        leases = self._outside.documents(subjects.LEASES)
        total = self._outside.log.partitions
        self.ownership = Ownership(self.name, leases, total, self._clock, most=self._partitions_max)
        heard = (
            (subjects.INBOX, subjects.EVENTS_INBOX),
            (subjects.HOOKS, subjects.EVERYTHING),
        )
        listeners = [EventListener(self._outside, self.partitions, *each) for each in heard]
        for listener in listeners:
            await listener.begin()
        if self._retention.keep_ms:
            await self._outside.archive.keep(self._retention.keep_ms)
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(listener.run()) for listener in listeners]
            beside.append(group.create_task(Desk(self._outside, self._registry, secret).run()))
            if self._grace_ms:
                beside.append(group.create_task(self._reap()))
            while not self._stopping.is_set():
                await self._keep_lease(group, self.ownership, secret)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), LEASE_RENEW_MS / 1000)
            for task in beside:
                task.cancel()
            for partition in list(self._loops):
                await self._end_loop(partition)
            with suppress(DagNatsError, TimeoutError):
                await asyncio.wait_for(self.ownership.leave(), 2)

    async def _reap(self) -> None:
        """Remove definitions of trees that have ended, now and then; of several schedulers each may."""
        while True:
            await asyncio.sleep(min(self._grace_ms / 1000, _REAP_EVERY_S))
            try:
                await reap(self._outside, self._registry, self._grace_ms, self._clock.wall_ms())
            except (DagNatsError, TimeoutError) as error:
                log.warning("definitions of ended runs were not removed: %s", error)

    async def _keep_lease(
        self, group: asyncio.TaskGroup, ownership: Ownership, secret: bytes
    ) -> None:
        try:
            leaving = await ownership.renew()
        except (DagNatsError, TimeoutError) as error:
            log.warning("the lease could not be renewed: %s", error)
            leaving = []
        for partition, loop in list(self._loops.items()):
            over = loop.task.done() or not loop.fence()
            if over and ownership.valid():  # its claim is over; there may be a new one
                await self._end_loop(partition)
        for partition in leaving:
            await self._end_loop(partition)
            try:
                await ownership.release(partition)
            except (DagNatsError, TimeoutError) as error:  # the next renewal gives it up
                log.warning("partition %d could not be given up yet: %s", partition, error)
        for partition in sorted(ownership.held):
            if partition not in self._loops:
                fence = ownership.fence(partition)
                serving = group.create_task(self._serve(partition, fence, secret))
                self._loops[partition] = Loop(serving, fence)
        self.ready.set()

    async def _end_loop(self, partition: int) -> None:
        loop = self._loops.pop(partition, None)
        self.partitions.pop(partition, None)
        if loop is not None:
            loop.task.cancel()
            with suppress(asyncio.CancelledError):
                await loop.task

    # -- one partition -----------------------------------------------------------------------------

    async def _serve(self, number: int, fence: Callable[[], bool], secret: bytes) -> None:
        partition = Partition(number, self._outside, self._registry, secret, self._clock, fence)
        self.partitions[number] = partition
        archiver = Archiver(
            number, self._outside, self._clock, fence, self._retention, partition.ended
        )
        failures = 0
        while fence():
            try:
                async with self._feed(number) as feed:
                    await partition.forget()
                    await feed.rewind()
                    await self._pump(partition, feed, fence, archiver)
            except* (DagNatsError, TimeoutError) as group:
                log.warning("partition %d begins again: %s", number, group.exceptions[0])
            except* Exception:
                log.exception("partition %d begins again after an error in DagNats", number)
            await self._pause(failures)
            failures += 1

    async def _pause(self, failures: int) -> None:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # a failure in the same moment hid it
            raise asyncio.CancelledError
        await asyncio.sleep(_PAUSE_AFTER_FAILURE_S[min(failures, len(_PAUSE_AFTER_FAILURE_S) - 1)])

    @asynccontextmanager
    async def _feed(self, number: int) -> AsyncIterator[FactFeed]:
        feed = await self._outside.feed(number)
        try:
            yield feed
        finally:
            with suppress(DagNatsError, TimeoutError):
                await feed.close()

    async def _pump(
        self, partition: Partition, feed: FactFeed, fence: Callable[[], bool], archiver: Archiver
    ) -> None:
        """Fold one batch while the ones before are being stored."""
        batches: asyncio.Queue[tuple[Batch, asyncio.Task[None]]] = asyncio.Queue(_BATCHES_IN_FLIGHT)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settle(partition, feed, batches))
            group.create_task(archiver.run())
            group.create_task(partition.reconciler.patrol(self._reconcile_ms))
            clock = asyncio.get_running_loop()
            park_at = clock.time() + _PARK_EVERY_S
            while fence():
                deliveries = await feed.next(FACTS_BATCH_MAX)
                if deliveries:
                    batch = await partition.fold(deliveries)
                    await batches.put((batch, group.create_task(partition.store(batch))))
                if clock.time() >= park_at:
                    await partition.park(max(1, self._runs_max // max(1, len(self._loops))))
                    park_at = clock.time() + _PARK_EVERY_S
            raise LeaseLost("the lease ran out, or the partition went to another scheduler")

    async def _settle(
        self,
        partition: Partition,
        feed: FactFeed,
        batches: asyncio.Queue[tuple[Batch, asyncio.Task[None]]],
    ) -> None:
        while True:
            batch, stored = await batches.get()
            await stored
            await partition.acknowledge(batch, feed)
