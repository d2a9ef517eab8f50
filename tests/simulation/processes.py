"""Schedulers and workers that are driven step by step.

The scheduler is the real one; only its pump is written anew, because the real one needs an event loop:
here whoever drives decides what goes on next of folding, storing and acknowledging.
"""

from __future__ import annotations

import random
from asyncio import CancelledError
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, cast

import msgspec

from dagnats.core.graph import Graph
from dagnats.errors import DagNatsError, LeaseLost, PublishFailed
from dagnats.limits import FACTS_BATCH_MAX, LEASE_RENEW_MS
from dagnats.memory.outside import Memory
from dagnats.ports import Append, Delivery, FactFeed
from dagnats.scheduler.ownership import Ownership
from dagnats.scheduler.partition import Batch, Partition
from dagnats.scheduler.service import Scheduler
from dagnats.wire import subjects
from dagnats.wire.codec import encode, is_fact
from dagnats.wire.messages import TaskMessage
from tests.simulation.flows import TASKS, Script
from tests.simulation.hands import Slow, breathe

SECRET = b"the secret of the simulated deployment"
WORKER_LEASE_MS = 5_000
_BATCHES_MAX = 8
_message = msgspec.json.Decoder(TaskMessage)
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

    async def _pump(self, partition: Partition, feed: FactFeed, fence: Callable[[], bool]) -> None:
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
        if self._clock.monotonic_ms() >= self.renew_at_ms:
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
        for partition in list(self._loops):
            await self._end_loop(partition)
        await self.leases.leave()
        self._keeping.kill()
        self.slow.memory.crash()

    def kill(self) -> None:
        """Stop as one that was killed: nothing more leaves it."""
        self.slow.memory.crash()
        self._keeping.kill()
        for pump in list(self.pumps.values()):
            pump.end()
        for _, task in self._tasks():
            task.kill()


class SimWorker:
    """A worker process: pulls tickets, notes each execution in a ledger of its own, answers somehow."""

    def __init__(
        self,
        memory: Memory,
        rng: random.Random,
        scripts: dict[str, Script],
        ledger: list[tuple[str, str]],
        planted: set[str],
    ) -> None:
        self.memory = memory
        self._rng = rng
        self._scripts = scripts
        self._ledger = ledger
        self._planted = planted
        self._inbox: deque[Delivery] = deque()
        self._late: list[tuple[Append, str]] = []
        self._asked = [0, 0]
        self._sources = [
            drive(memory.queue.open(task, "", WORKER_LEASE_MS, self._inbox.append, self._ended(at)))
            for at, task in enumerate(TASKS)
        ]

    def _ended(self, at: int) -> Callable[[int], None]:
        def ended(missing: int) -> None:
            self._asked[at] -= missing

        return ended

    @property
    def busy(self) -> bool:
        """Whether it holds something."""
        return bool(self._inbox or self._late)

    def step(self, calm: bool) -> bool:
        """Ask for tickets, then handle one; False: this killed the worker."""
        for at, source in enumerate(self._sources):
            if self._asked[at] < 1:
                count = self._rng.randint(1, 4)
                self._asked[at] += count
                drive(source.request(count, 3_600_000))
        if self._late and (calm or self._rng.random() < 0.1):
            self._publish(*self._late.pop(self._rng.randrange(len(self._late))))
        if not self._inbox:
            return True
        delivery = self._inbox.popleft()
        self._asked[TASKS.index(delivery.subject.split(".")[2])] -= 1
        return self._handle(delivery, calm)

    def _handle(self, delivery: Delivery, calm: bool) -> bool:
        message = _message.decode(delivery.payload)
        fate = 1.0 if calm else self._rng.random()
        if fate < 0.03:
            return False  # killed before anything happened
        if delivery.delivered > 1 and fate > 0.5 and self._settled(delivery, message):
            drive(self.memory.queue.done(delivery.reply))
            return True
        if fate < 0.06:
            drive(self.memory.queue.give_back(delivery.reply, self._rng.choice((0, 700))))
            return True
        self._ledger.append((message.run, message.ticket))
        answer = self._answer(message)
        if fate < 0.09:
            return False  # killed before it answered
        if fate < 0.16:
            self._late.append((answer, delivery.reply))
            return True
        if fate < 0.19:
            self._publish(answer, "")
            return False  # killed before it acknowledged
        if fate < 0.26:
            self._forge(message, answer)
        self._publish(answer, delivery.reply)
        if fate < 0.34:  # once more, as another execution of the same ticket would
            again = self._answer(message)
            stale = Append(again.subject, again.payload, f"{again.msg_id}:{len(self._ledger)}")
            self._late.append((stale, ""))
        return True

    def _answer(self, message: TaskMessage) -> Append:
        outcome = self._scripts[message.run].answer(message, len(self._ledger))
        return Append(message.answer_to, encode(outcome), f"{message.run}/{message.ticket}:answer")

    def _forge(self, message: TaskMessage, answer: Append) -> None:
        """Answer without the nonce, as somebody who was not given the ticket."""
        forged = {"type": "step.succeeded", "ticket": message.ticket, "output": "forged"}
        body = encode({**forged, "nonce": "0" * 16})
        self._planted.add(bytes(body).decode())
        self._publish(Append(answer.subject, body), "")

    def _settled(self, delivery: Delivery, message: TaskMessage) -> bool:
        for entry in drive(self.memory.log.history(message.run, delivery.origin_seq)):
            if entry.subject.endswith(".closed"):
                return True
            if is_fact(entry) and b'"ticket":"%b"' % message.ticket.encode() in entry.payload:
                return True
        return False

    def _publish(self, answer: Append, reply: str) -> None:
        """Store an outcome, again and again until it is, then acknowledge."""
        while True:
            try:
                drive(self.memory.log.append([answer]))
            except PublishFailed:
                continue
            break
        if reply:
            drive(self.memory.queue.done(reply))
