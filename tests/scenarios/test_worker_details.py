"""What a worker promises beyond the scenarios: threads, slots, being told to stop, blocked loops, draining."""

import asyncio
import logging
import threading
import time

import pytest

from dagnats import (
    App,
    Cancelled,
    RunCancelled,
    RunFailed,
)
from dagnats.wire import subjects
from tests.support.deployment import deployment, eventually, holds_for

# -- threads and slots -----------------------------------------------------------------------------


class Gauge:
    """How many are inside, and the most there ever were."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


async def test_plain_functions_run_in_parallel_up_to_the_concurrency():
    """With concurrency 4 four plain handlers run at once, each in a thread of its own, and never a fifth."""
    app, gauge, together = App("threads"), Gauge(), threading.Barrier(4)
    loop_thread = threading.get_ident()

    @app.task
    def work(n: int) -> bool:
        with gauge:
            if n < 4:
                together.wait(10)  # only four at once get past
            time.sleep(0.02)
        return threading.get_ident() != loop_thread

    async with deployment(app, concurrency=4):
        first = [await work.start(number) for number in range(4)]
        assert [await handle.result(20) for handle in first] == [True] * 4
        more = [await work.start(number) for number in range(4, 24)]
        assert [await handle.result(20) for handle in more] == [True] * 20
    assert gauge.most == 4


async def test_async_handlers_keep_within_the_concurrency():
    """Concurrency bounds async handlers of all tasks together, and is reached."""
    app, gauge = App("bounded"), Gauge()

    @app.task
    async def one() -> None:
        with gauge:
            await asyncio.sleep(0.05)

    @app.task
    async def two() -> None:
        with gauge:
            await asyncio.sleep(0.05)

    async with deployment(app, concurrency=5):
        handles = [await task.start() for _ in range(15) for task in (one, two)]
        for handle in handles:
            await handle.result(20)
    assert gauge.most == 5


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_worker_never_hoards(kind):
    """Two workers of concurrency 1: while one is busy for long, the second takes the next ticket at once."""
    app, apps, ran, release = App("hoard"), [App("h1"), App("h2")], [], threading.Event()

    def serve(one: App) -> None:
        @one.task(name="async")
        async def on_loop(n: int) -> int:
            ran.append((one.name, n))
            while not release.is_set():
                await asyncio.sleep(0.01)
            return n

        @one.task(name="thread")
        def in_thread(n: int) -> int:
            ran.append((one.name, n))
            release.wait(20)
            return n

    for one in (app, *apps):
        serve(one)
    try:
        async with deployment(app, workers=0) as d:
            for one in apps:
                await d.add_worker(one, tasks={kind: one.tasks[kind]}, concurrency=1)
            handles = [await app.tasks[kind].start(number) for number in range(3)]
            await eventually(lambda: len(ran) == 2, 3)
            assert len({name for name, _ in ran}) == 2
            await holds_for(0.3, lambda: len(ran) == 2)
            release.set()
            assert [await handle.result(20) for handle in handles] == [0, 1, 2]
    finally:
        release.set()


async def test_a_worker_of_concurrency_one_serves_every_task():
    """One slot and five tasks: each has its turn, one at a time."""
    app, gauge = App("turns"), Gauge()

    def define(name: str) -> None:
        @app.task(name=name)
        async def work() -> str:
            with gauge:
                await asyncio.sleep(0.01)
            return name

    for number in range(5):
        define(f"t{number}")
    async with deployment(app, concurrency=1):
        handles = [await task.start() for task in app.tasks.values()]
        assert [await handle.result(30) for handle in handles] == list(app.tasks)
    assert gauge.most == 1


# -- being told to stop ----------------------------------------------------------------------------


async def test_a_sleeping_thread_that_is_cancelled_is_not_waited_for():
    """A plain handler deep in a C call cannot be interrupted: the run is over at once, and its slot is free."""
    app, began, release = App("deep"), threading.Event(), threading.Event()

    @app.task
    def deep() -> None:
        began.set()
        release.wait(30)

    @app.task
    def quick() -> str:
        return "quick"

    try:
        async with deployment(app, concurrency=2) as d:
            handle = await deep.start()
            await eventually(began.is_set)
            await handle.cancel()
            with pytest.raises(RunCancelled):
                await handle.result(5)
            assert await (await quick.start()).result(10) == "quick"
            await eventually(lambda: not d.workers[0].service.tickets.running)
            for _ in range(3):  # the lost thread's place in the pool was replaced
                assert await (await quick.start()).result(10) == "quick"
    finally:
        release.set()


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_handler_that_ignores_its_time_out_is_abandoned(kind, caplog):
    """A handler that swallows being told to stop fails with timeout all the same, and is named in the log."""
    app, release = App("stubborn"), threading.Event()

    @app.task(name="async", timeout="200ms")
    async def on_loop() -> str:
        while not release.is_set():
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                continue
        return "late"

    @app.task(name="thread", timeout="200ms")
    def in_thread() -> str:
        while not release.is_set():
            try:
                time.sleep(0.02)
            except Cancelled:
                continue
        return "late"

    @app.task
    async def after() -> str:
        return "after"

    try:
        with caplog.at_level(logging.WARNING, "dagnats.worker"):
            async with deployment(app, concurrency=2):
                handle = await app.tasks[kind].start()
                with pytest.raises(RunFailed, match="timeout"):
                    await handle.result(10)
                assert await (await after.start()).result(10) == "after"
                release.set()
        assert any(
            kind in r.getMessage() and handle.run_id in r.getMessage() for r in caplog.records
        )
    finally:
        release.set()


async def test_a_late_interrupt_does_not_hit_the_next_handler_of_the_thread():
    """Cancelled is for the handler it was sent to: whatever runs in the same thread next is spared."""
    app = App("spared")

    @app.task(timeout="30ms")
    def edge() -> str:
        time.sleep(0.03)
        return "edge"

    @app.task
    def calm() -> int:
        return sum(range(20_000))

    async with deployment(app, concurrency=1, workers=1) as d:
        for _ in range(15):
            handle = await edge.start()
            mark = await d.client.wait_closed(handle.run_id, 10)
            assert mark.error is None or "timeout" in mark.error.message
            assert await (await calm.start()).result(10) == 199_990_000


async def test_a_blocked_loop_keeps_its_lease_and_is_named(caplog):
    """time.sleep in an async handler, longer than the lease: run once, and the log names the place."""
    app, calls = App("blocked"), []

    @app.task
    async def blocker() -> str:
        calls.append(1)
        time.sleep(3)
        return "once"

    with caplog.at_level(logging.WARNING, "dagnats.worker"):
        async with deployment(app, workers=1, lease_ms=2_000) as d:
            handle = await blocker.start()
            assert await handle.result(20) == "once"
            await holds_for(0.5, lambda: calls == [1])
            consumer = next(
                c
                for c in await d.consumers(subjects.TASKS)
                if c["name"].startswith("worker+blocker")
            )
            assert consumer["delivered"]["consumer_seq"] == 1
    named = [r.getMessage() for r in caplog.records if "blocked" in r.getMessage()]
    assert len(named) == 1
    assert "blocker" in named[0]
    assert "test_worker_details.py" in named[0]


async def test_a_blocked_loop_does_not_hide_a_time_out():
    """A handler that blocks the loop beyond its time-out is reported as timed out while it still blocks."""
    app, times = App("overdue"), {}

    @app.task(timeout="300ms")
    async def blocker() -> str:
        time.sleep(4)
        times["unblocked"] = time.monotonic()
        return "late"

    async with deployment(app) as d:
        handle = await blocker.start()
        with pytest.raises(RunFailed, match="timeout"):
            await handle.result(20)
        failed = [e for e in await handle.history() if e.type == "step.failed"]
        assert len(failed) == 1
        del d
    assert "unblocked" in times


# -- stopping --------------------------------------------------------------------------------------


async def test_a_stopping_worker_gives_back_what_it_has_not_begun():
    """Tickets that arrive while a worker drains go to another at once, long before a lease is over."""
    app, ran = App("drain"), []
    apps = [App("first"), App("second")]

    def serve(one: App) -> None:
        @one.task
        async def work(n: int) -> int:
            ran.append((one.name, n))
            await asyncio.sleep(0.3)
            return n

    for one in (app, *apps):
        serve(one)
    async with deployment(app, workers=0) as d:
        first = await d.add_worker(apps[0], concurrency=3, lease_ms=60_000)
        handles = [await app.tasks["work"].start(number) for number in range(20)]
        await eventually(lambda: ran)
        await d.add_worker(apps[1], concurrency=20, lease_ms=60_000)
        await first.stop()
        taken = len([name for name, _ in ran if name == "first"])
        assert [await handle.result(10) for handle in handles] == list(range(20))
        assert len(ran) == 20
        assert len([name for name, _ in ran if name == "first"]) == taken
