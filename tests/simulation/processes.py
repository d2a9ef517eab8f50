"""Schedulers that are driven step by step.

The scheduler is the real one; only its pump and its listener are written anew, because the real ones need an event
loop: here whoever drives decides what goes on next of folding, storing, acknowledging and hearing.
"""

from __future__ import annotations

import random
from asyncio import CancelledError
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, cast

from dagnats.core.graph import Graph
from dagnats.errors import DagNatsError, LeaseLost
from dagnats.limits import FACTS_BATCH_MAX, LEASE_RENEW_MS
from dagnats.ports import Entry, FactFeed
from dagnats.scheduler.listening import hear
from dagnats.scheduler.ownership import Ownership
from dagnats.scheduler.partition import Batch, Partition
from dagnats.scheduler.service import Scheduler
from dagnats.wire import subjects
from tests.simulation.hands import Slow, breathe

SECRET = b"the secret of the simulated deployment"
HEARD = {subjects.INBOX: subjects.EVENTS_INBOX}
_BATCHES_MAX = 8
GRAPHS: OrderedDict[str, Graph] = OrderedDict()  # what every registry has read, for all worlds


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that does not suspend."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it suspended")


class Task:
    """A coroutine that is driven by hand; the scheduler takes it for an asyncio.Task."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._over = False
        self.begun = False

    def step(self) -> None:
        """Go on to the next place where it may be interrupted; raises what it raises."""
        self.begun = True
        try:
            self._coroutine.send(None)
        except StopIteration:
            self._over = True
        except BaseException:
            self._over = True
            raise

    def done(self) -> bool:
        """Whether it has ended."""
        return self._over

    def cancel(self) -> None:
        """End it where it stands."""
        if not self._over:
            self._over = True
            try:
                self._coroutine.throw(CancelledError())
            except (CancelledError, StopIteration):
                return
            self._coroutine.close()

    def kill(self) -> None:
        """As if it had never been."""
        self._over = True
        self._coroutine.close()

    def __await__(self) -> Generator[None]:
        while not self._over:
            yield


class Pump:
    """One partition's folding, storing and acknowledging, side by side as in the real service."""

    def __init__(
        self,
        partition: Partition,
        feed: FactFeed,
        fence: Callable[[], bool],
        rng: random.Random,
        parking: float,
    ) -> None:
        self._partition = partition
        self._feed = feed
        self._fence = fence
        self._rng = rng
        self._parking = parking
        self._batches: deque[tuple[Batch, Task]] = deque()
        self._folding = Task(self._fold())
        self._settling = Task(self._settle())
        self._acknowledging = False
        self.idle = False

    async def _fold(self) -> None:
        while self._fence():
            deliveries = await self._feed.next(FACTS_BATCH_MAX)
            self.idle = not deliveries
            if deliveries:
                batch = await self._partition.fold(deliveries)
                while len(self._batches) >= _BATCHES_MAX:
                    await breathe()
                self._batches.append((batch, Task(self._partition.store(batch))))
            if self._rng.random() < self._parking:
                await self._partition.park(self._rng.choice((0, 0, 1, 3)), idle_ms=0)
            await breathe()
        raise LeaseLost("the lease ran out, or the partition went to another scheduler")

    async def _settle(self) -> None:
        while True:
            if self._batches and self._batches[0][1].done():
                self._acknowledging = True
                await self._partition.acknowledge(self._batches.popleft()[0], self._feed)
                self._acknowledging = False
            await breathe()

    @property
    def busy(self) -> bool:
        """Whether there is more to do than to wait for facts."""
        return bool(self._batches) or self._acknowledging or not self.idle

    def step(self) -> None:
        """Let one of them go on; batches begin to be stored in their order."""
        choices = [self._folding, self._settling]
        for _, store in self._batches:
            if not store.done():
                choices.append(store)
            if not store.begun:
                break
        self._rng.choice(choices).step()

    def end(self) -> None:
        """Cancel everything."""
        for task in (self._folding, self._settling, *(store for _, store in self._batches)):
            task.cancel()


class Ears:
    """What a scheduler hears of a stream from its own beginning on; partitions read back what is older."""

    def __init__(self, scheduler: SimScheduler, stream: str, subject: str) -> None:
        self._scheduler = scheduler
        self._stream = stream
        self._subject = subject
        self._inbox = scheduler.slow.inbox
        self._seq = drive(scheduler.slow.memory.inbox.last_seq(stream))
        self.hearing = Task(self._hear())

    @property
    def busy(self) -> bool:
        """Whether there is something to hear."""
        return drive(self._scheduler.slow.memory.inbox.last_seq(self._stream)) > self._seq

    async def _hear(self) -> None:
        while True:
            try:
                found = await self._inbox.messages(self._stream, self._subject, self._seq, 0)
            except DagNatsError:
                found = []
            for entry in found:
                for partition in list(self._scheduler.partitions.values()):
                    await self._tell(partition, entry)
                self._seq = entry.seq
            await breathe()

    async def _tell(self, partition: Partition, entry: Entry) -> None:
        while partition.fence():
            try:
                await hear(partition, self._stream, entry)
            except DagNatsError:
                await breathe()
            else:
                return


class SimScheduler(Scheduler):
    """A scheduler process that can be stopped, cut off and killed anywhere."""

    def __init__(self, name: str, slow: Slow, parking: float) -> None:
        super().__init__(slow, clock=slow.clock, name=name)
        self._registry._graphs = GRAPHS
        self.slow = slow
        self.parking = parking
        self.stopped_until_ms = 0.0
        self.bugs: list[str] = []
        self.pumps: dict[int, Pump] = {}
        self.leases = Ownership(
            name, slow.documents(subjects.LEASES), slow.log.partitions, slow.clock
        )
        self.renew_at_ms = 0.0
        self._keeping = Task(self._keep())
        self._ears = [Ears(self, *heard) for heard in HEARD.items()]

    async def _keep(self) -> None:
        while True:
            await self._keep_lease(self, self.leases, SECRET)  # type: ignore[arg-type]
            self.renew_at_ms = self._clock.monotonic_ms() + LEASE_RENEW_MS
            while self._clock.monotonic_ms() < self.renew_at_ms:
                await breathe()

    def create_task(self, coroutine: Coroutine[Any, Any, Any]) -> Task:
        """The part of a task group that ``_keep_lease`` uses."""
        return Task(coroutine)

    async def _pause(self, failures: int) -> None:
        for _ in range(self.slow.rng.randint(0, 3)):
            await breathe()

    async def _pump(  # type: ignore[override]
        self, partition: Partition, feed: FactFeed, fence: Callable[[], bool], _archiver: object
    ) -> None:
        pump = Pump(partition, feed, fence, self.slow.rng, self.parking)
        self.pumps[partition.number] = pump
        try:
            while True:
                pump.step()
                await breathe()
        except DagNatsError:
            raise
        except Exception as error:  # the service would begin again, and hide it in its log
            self.bugs.append(f"{type(error).__name__}: {error}")
            raise
        finally:
            pump.end()
            self.pumps.pop(partition.number, None)

    def stopped(self) -> bool:
        """Whether it is stopped now."""
        return self._clock.monotonic_ms() < self.stopped_until_ms

    @property
    def busy(self) -> bool:
        """Whether it has more to do than to wait."""
        if self._clock.monotonic_ms() >= self.renew_at_ms or any(e.busy for e in self._ears):
            return True
        return any(
            number not in self.pumps or self.pumps[number].busy for number, task in self._tasks()
        )

    def _tasks(self) -> list[tuple[int, Task]]:
        loops = [(number, cast("Task", loop.task)) for number, loop in self._loops.items()]
        return [(number, task) for number, task in loops if not task.done()]

    def step(self) -> None:
        """Let something of it go on."""
        tasks = [task for _, task in self._tasks()]
        tasks += [ears.hearing for ears in self._ears if ears.busy]
        due = self._clock.monotonic_ms() >= self.renew_at_ms
        if due and (not tasks or self.slow.rng.random() < 0.3):
            self._keeping.step()
        elif tasks:
            self.slow.rng.choice(tasks).step()

    def leave(self) -> None:
        """Stop as one that was asked to."""
        ending = Task(self._leaving())
        while not ending.done():
            ending.step()

    async def _leaving(self) -> None:
        self._deafen()
        for partition in list(self._loops):
            await self._end_loop(partition)
        await self.leases.leave()
        self._keeping.kill()
        self.slow.memory.crash()

    def kill(self) -> None:
        """Stop as one that was killed: nothing more leaves it."""
        self.slow.memory.crash()
        self._deafen()
        self._keeping.kill()
        for pump in list(self.pumps.values()):
            pump.end()
        for _, task in self._tasks():
            task.kill()

    def _deafen(self) -> None:
        for ears in self._ears:
            ears.hearing.kill()
