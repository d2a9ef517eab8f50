"""A whole deployment in memory, in the running virtual loop: the engine and the worker's own code, no processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec

from dagnats.app import App, connected
from dagnats.client import Client
from dagnats.core.durations import Duration, to_ms
from dagnats.errors import DagNatsError
from dagnats.limits import CONCURRENCY_DEFAULT, DURATION_MAX_MS, FACTS_BATCH_MAX
from dagnats.memory.outside import Memory
from dagnats.memory.world import World
from dagnats.ports import Delivery, FactFeed
from dagnats.registry import Registry
from dagnats.scheduler.listening import hear
from dagnats.scheduler.partition import Partition
from dagnats.testing.loop import VirtualLoop, run
from dagnats.wire import subjects
from dagnats.wire.messages import CancelledNotice
from dagnats.worker.call import Call
from dagnats.worker.handover import Sender
from dagnats.worker.lease import LeaseKeeper
from dagnats.worker.room import Room
from dagnats.worker.tickets import Tickets

_notice = msgspec.json.Decoder(CancelledNotice)
_PARTITIONS = 1
_SECRET = b"the secret of a sandbox"
_NEVER_S = 10.0**9


class _NoLink:
    """Leases in a sandbox never lapse."""

    def start(self) -> None:
        """Nothing to connect."""

    def stop(self) -> None:
        """Nothing to end."""

    def extend(self, replies: list[str]) -> None:
        """Nothing to extend."""

    def answer(self, message: Any) -> Any:
        """Nobody is overdue."""


class Sandbox:
    """What ``in_memory`` gives. The app's own ``start``, handles and clients work in it as they are."""

    def __init__(self, app: App, loop: VirtualLoop, concurrency: int) -> None:
        self.app = app
        self._loop = loop
        self.world = World(loop.clock, _PARTITIONS)
        self._outside = Memory(self.world, "sandbox")
        self.client = Client(self._outside, loop.clock)
        self.client.recheck_s = _NEVER_S
        registry = Registry(self._outside.documents(subjects.DEFINITIONS))
        self._partition = Partition(0, self._outside, registry, _SECRET, loop.clock, lambda: True)
        keeper = LeaseKeeper(cast("Any", _NoLink()), DURATION_MAX_MS, loop.clock)
        room = Room(concurrency, "sandbox", self._outside.queue, keeper)
        sender = Sender("sandbox", self._outside, loop.clock, DURATION_MAX_MS)
        self._tickets = Tickets(
            "sandbox", self._outside, app.tasks, keeper, loop.clock, sender=sender, room=room
        )
        self._tickets.callers.look_again_s = (_NEVER_S,)
        self._feed: FactFeed | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._pumping: asyncio.Task[None] | None = None
        self._heard = {subjects.INBOX: 0, subjects.HOOKS: 0}
        self.failures: list[BaseException] = []

    # -- for tests ---------------------------------------------------------------------------------

    async def advance(self, duration: Duration) -> None:
        """Let virtual time pass; what is due on the way happens."""
        await asyncio.sleep(to_ms(duration) / 1000)

    @property
    def now_ms(self) -> int:
        """The virtual time, Unix milliseconds."""
        return self._loop.clock.wall_ms()

    # -- living ------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Begin: facts are folded, tickets are run, the app's workflows are registered."""
        self._feed = await self._outside.feed(0)
        await self._partition.forget()
        notices = self._outside.notices
        await notices.listen(subjects.CANCELLED, self._on_cancelled)
        await notices.listen(
            subjects.settled("sandbox"), lambda _s, told, _r: self._tickets.callers.heard(told)
        )
        for task in self.app.tasks.values():
            source = await self._outside.queue.open(
                task.name, task.options.group, DURATION_MAX_MS, self._deliver, lambda _n: None
            )
            await source.request(
                1_000_000, 10 * DURATION_MAX_MS
            )  # tests may go to the end of the longest wait
        for workflow in self.app.workflows().values():
            await self.client.register(workflow)
        triggers = list(self.app.triggers.values())
        await self.client.keep_triggers(f"app:{self.app.name}", [*self.app.workflows()], triggers)

    async def close(self) -> None:
        """End everything that is under way."""
        self._tickets.stop_all()
        for task in [*self._tasks, *([self._pumping] if self._pumping else [])]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)  # noqa: TID251  (they are ours)
        self._tickets.close()
        await self._outside.close()
        if self.failures:
            raise self.failures[0]

    def _on_cancelled(self, _subject: str, payload: bytes, _reply: str) -> None:
        notice = _notice.decode(payload)
        self._tickets.cancel_run(notice.run, notice.epoch)

    def _deliver(self, delivery: Delivery) -> None:
        self._spawn(self._tickets.run(delivery))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failures.append(cast("BaseException", task.exception()))

    # -- for the loop ------------------------------------------------------------------------------

    def threads_at_work(self) -> bool:
        """Whether a plain handler runs, and does not wait for anything of the run's."""
        calls = [running.call for running in self._tickets.running.values()]
        return any(isinstance(c, Call) and c.in_thread and not c.context.waits for c in calls)

    def found_work(self) -> bool:
        """Whether there are facts to fold or events to hear; they are being seen to then."""
        if self._pumping is not None and not self._pumping.done():
            return False
        self.world.fire_due()
        cursor = self.world.cursors["0"]
        events = any(self.world.streams[name].last_seq > seq for name, seq in self._heard.items())
        if not cursor.waiting and not events:
            return False
        self._pumping = self._spawn(self._pump())
        return True

    async def _pump(self) -> None:
        for name, stream in ((name, self.world.streams[name]) for name in self._heard):
            while (entry := stream.next_after(subjects.EVERYTHING, self._heard[name])) is not None:
                self._heard[name] = entry.seq
                await hear(self._partition, name, entry)
        if self._feed is None:
            return
        while deliveries := await self._feed.next(FACTS_BATCH_MAX):
            batch = await self._partition.fold(deliveries)
            await self._partition.store(batch)
            await self._partition.acknowledge(batch, self._feed)

    def until_due_s(self) -> float | None:
        """How long until the server has something to do."""
        due = self.world.until_due_ms()
        return None if due is None else due / 1000

    def time_passed(self) -> None:
        """What has become due, happens."""
        self.world.fire_due()


@asynccontextmanager
async def in_memory(app: App, *, concurrency: int = CONCURRENCY_DEFAULT) -> AsyncIterator[Sandbox]:
    """Run an app in memory and in virtual time: no server, no waiting. Its workflows are registered.

    Raises:
        DagNatsError: the test does not run in virtual time (``@virtual_time``, ``run``).
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise DagNatsError(
            "in_memory() needs virtual time: decorate the test with @virtual_time "
            "(in place of @pytest.mark.asyncio), or call dagnats.testing.run(main)"
        )
    sandbox = Sandbox(app, loop, concurrency)
    loop.sandboxes.append(sandbox)
    await sandbox.open()
    try:
        with connected(app, sandbox.client):
            yield sandbox
    finally:
        loop.sandboxes.remove(sandbox)
        await sandbox.close()


def run_workflow(flow: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a workflow or task of an app in memory, and return its result.

    Raises:
        RunFailed, RunCancelled.
    """

    async def main() -> Any:
        async with in_memory(flow.home):
            return await (await flow.start(*args, **kwargs)).result()

    return run(main)
