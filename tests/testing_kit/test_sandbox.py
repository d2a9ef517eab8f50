"""Workflows in memory and in virtual time: days pass at once, threads are waited for, nothing leaks."""

import asyncio
import threading
import time

import pytest
from freezegun import freeze_time

from dagnats import (
    App,
    Context,
    DagNatsError,
    Fail,
    Retry,
    RunCancelled,
    RunFailed,
    approval,
    sleep,
    wait_for_event,
    wait_for_signal,
)
from dagnats.testing import in_memory, run_workflow, virtual_time

DAY_MS = 86_400_000


def shop() -> App:
    """Things that take long."""
    app = App("shop")

    @app.task(retry=Retry(3, backoff="fixed", delay="1h", jitter=False))
    async def flaky(ctx: Context) -> int:
        if ctx.attempt < 3:
            raise ConnectionError("down")
        return ctx.attempt

    @app.task
    def plain(n: int) -> int:
        time.sleep(0.05)
        return n + 1

    @app.task
    async def double(n: int) -> int:
        await asyncio.sleep(3_600)
        return 2 * n

    @app.task
    def calling(ctx: Context, n: int) -> int:
        return ctx.call(double, n).wait()

    @app.task
    async def bad() -> None:
        raise Fail("no")

    @app.workflow
    def asking():
        plain(approval("Really?", timeout="24h", form=int))

    @app.workflow
    def sleeping(n: int):
        return plain(n, after=sleep("30d"))

    @app.workflow
    def waiting(n: int):
        first = wait_for_signal("go", timeout="2d")
        return wait_for_event("paid", match={"id": n}, timeout="300d", after=first)

    return app


@virtual_time
async def test_a_day_of_silence():
    """An approval expires a day later, which takes no time."""
    began, app = time.monotonic(), shop()
    async with in_memory(app) as sandbox:
        start_ms = sandbox.now_ms
        handle = await app.flows["asking"].start()
        with pytest.raises(RunFailed, match="approval timed out"):
            await handle.result()

        assert DAY_MS <= sandbox.now_ms - start_ms < DAY_MS + 60_000
    assert time.monotonic() - began < 2


@virtual_time
async def test_back_off_sleep_and_threads():
    """Hours of back-off, a month of sleep, and plain handlers, which time waits for."""
    app = shop()
    async with in_memory(app) as sandbox:
        start_ms = sandbox.now_ms
        assert await (await app.tasks["flaky"].start()).result() == 3
        assert 2 <= (sandbox.now_ms - start_ms) / 3_600_000 < 2.1
        assert await (await app.flows["sleeping"].start(4)).result() == 5
        assert await (await app.tasks["calling"].start(4)).result() == 8


@virtual_time
async def test_people_and_events():
    """Signals, events, approvals and cancelling work as against a server."""
    app = shop()
    async with in_memory(app) as sandbox:
        handle = await app.flows["waiting"].start(7)
        await sandbox.advance("1d")
        assert (await handle.status()).status == "running"
        await handle.signal("go")
        await sandbox.advance("100d")
        await sandbox.client.publish_event("paid", {"id": 7})
        assert await handle.result() == {"id": 7}

        asked = await app.flows["asking"].start()
        await sandbox.advance("1s")
        [question] = await sandbox.client.approvals()
        await asked.approve(question.step, answer=1)
        await asked.result()

        cancelled = await app.flows["waiting"].start(8)
        await sandbox.advance("1s")
        await cancelled.cancel("enough")
        with pytest.raises(RunCancelled, match="enough"):
            await cancelled.result()


def test_one_line():
    """Start, run, result."""
    app = shop()

    assert run_workflow(app.flows["sleeping"], 1) == 2
    with pytest.raises(RunFailed, match="no"):
        run_workflow(app.tasks["bad"])


def test_frozen_time():
    """Freezegun may hold the clock: virtual time begins there, and passes all the same."""
    app = shop()
    with freeze_time("2030-01-01"):

        @virtual_time
        async def frozen():
            async with in_memory(app) as sandbox:
                assert await (await app.flows["sleeping"].start(1)).result() == 2
                return sandbox.now_ms

        now_ms = frozen()

    assert 1_893_456_000_000 + 30 * DAY_MS <= now_ms < 1_893_456_000_000 + 31 * DAY_MS


def test_nothing_is_left():
    """Neither threads nor tasks."""
    before = threading.active_count()
    run_workflow(shop().tasks["plain"], 1)

    assert threading.active_count() <= before + 1  # a pool's thread ends a moment later


async def test_it_needs_virtual_time():
    """The error says how to get it."""
    with pytest.raises(DagNatsError, match="@virtual_time"):
        async with in_memory(shop()):
            pass
