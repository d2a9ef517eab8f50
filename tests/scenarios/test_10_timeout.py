"""Scenarios, section 10: time-outs.

Left out, with the feature it belongs to: S197 as it is written (a sleep step); a back-off of an hour
stands in for it.
"""

from __future__ import annotations

import asyncio
import time

import pytest

from dagnats import App, Context, Retry, RunFailed, WorkflowBuilder
from tests.support.deployment import deployment, eventually, holds_for


async def test_s191_a_hanging_handler_fails_with_timeout():
    """A step of 200 ms whose handler hangs fails soon, and says timeout."""
    app = App("s191")

    @app.task(timeout="200ms")
    async def hang() -> None:
        await asyncio.sleep(60)

    async with deployment(app):
        began = time.monotonic()
        handle = await hang.start()
        with pytest.raises(RunFailed, match="timeout") as failure:
            await handle.result(10)
        assert time.monotonic() - began >= 0.2
        assert failure.value.failure == "timeout"
        assert (await handle.status()).steps[0].status == "failed"


async def test_s193_a_handler_in_time_is_left_alone():
    """A handler that returns in time completes, and stays completed when its time-out has passed."""
    app = App("s193")

    @app.task(timeout="700ms")
    async def quick() -> str:
        await asyncio.sleep(0.05)
        return "in time"

    async with deployment(app):
        handle = await quick.start()
        assert await handle.result(10) == "in time"
        history = await handle.history()

        async def unchanged():
            return await handle.history() == history

        await holds_for(1.2, unchanged)
        assert (await handle.status()).status == "completed"


async def test_s195_a_run_ends_when_its_time_is_over():
    """A run whose step hangs is over at its time-out, without any other event arriving."""
    app, cancelled = App("s195"), asyncio.Event()

    @app.task
    async def hang() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    flow = WorkflowBuilder("limited", timeout="1s").task("hang", task=hang).build()
    async with deployment(app) as d:
        began = time.monotonic()
        handle = await d.client.start(flow)
        with pytest.raises(RunFailed, match="timeout: the run took longer than 1s"):
            await handle.result(10)
        assert time.monotonic() - began >= 1
        view = await handle.status()
        assert (view.status, view.steps[0].status) == ("failed", "cancelled")
        assert view.completed_at
        await eventually(cancelled.is_set)


async def test_s197_a_run_ends_in_time_though_a_far_timer_was_armed_before():
    """A workflow time-out fires while a back-off of an hour is pending: the earliest deadline counts."""
    app = App("s197")

    @app.task(retry=Retry(2, backoff="fixed", delay="1h", jitter=False))
    async def broken() -> None:
        raise OSError("again")

    @app.task
    async def hang() -> None:
        await asyncio.sleep(60)

    flow = (
        WorkflowBuilder("parked", timeout="1500ms")
        .task("b", task=broken)
        .task("h", task=hang)
        .build()
    )
    async with deployment(app) as d:
        handle = await d.client.start(flow)

        async def parked():
            return {s.status for s in (await handle.status()).steps} == {"waiting", "running"}

        await eventually(parked)
        with pytest.raises(RunFailed, match="timeout"):
            await handle.result(10)
        assert [s.status for s in (await handle.status()).steps] == ["cancelled", "cancelled"]


async def test_an_early_timer_does_not_lose_a_later_one():
    """Two back-offs of different length of one run both end, the later one after the earlier fired."""
    app, times = App("two-timers"), {}

    @app.task
    async def shaky(ctx: Context) -> str:
        times.setdefault(ctx.step_id, []).append(time.monotonic())
        if ctx.attempt == 1:
            raise OSError("again")
        return ctx.step_id

    def policy(delay: str) -> Retry:
        return Retry(2, backoff="fixed", delay=delay, jitter=False)

    flow = (
        WorkflowBuilder("two")
        .task("late", task=shaky, retry=policy("1200ms"))
        .task("soon", task=shaky, retry=policy("300ms"))
        .build()
    )
    async with deployment(app) as d:
        assert await (await d.client.start(flow)).result(10) == {"late": "late", "soon": "soon"}
    assert times["soon"][1] - times["soon"][0] >= 0.3
    assert times["late"][1] - times["late"][0] >= 1.2
    assert times["soon"][1] < times["late"][1]


@pytest.mark.parametrize("kind", ["async", "thread"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_s199_a_handler_sees_that_its_time_is_over(kind):
    """At its time-out a handler is told to stop, in the loop and in a thread; heartbeats do not put it off."""
    app, seen = App("s199"), []

    @app.task(timeout="300ms", name="async")
    async def on_loop(ctx: Context) -> None:
        try:
            while True:
                await ctx.heartbeat({"still": "here"})
                await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            seen.append(ctx.cancelled)
            raise

    @app.task(timeout="300ms", name="thread")
    def in_thread(ctx: Context) -> None:
        try:
            try:  # Cancelled arrives once, and between any two lines: it may get lost in a callback
                while True:
                    ctx.check_cancelled()
                    ctx.heartbeat({"still": "here"}).wait()
            finally:
                seen[:] = [ctx.cancelled]
        finally:
            seen[:] = [ctx.cancelled]

    async with deployment(app):
        handle = await app.tasks[kind].start()
        with pytest.raises(RunFailed, match="timeout"):
            await handle.result(10)
        await eventually(lambda: seen == [True])


async def test_a_time_out_is_retried_by_the_policy_and_counts_anew():
    """A timed-out attempt is retried; the watch of attempt 1 does not end the longer attempt 2."""
    app, attempts = App("again"), []

    @app.task(timeout="400ms", retry=Retry(3, delay="1ms"))
    async def slow(ctx: Context) -> str:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            await asyncio.sleep(0.25)
            raise OSError("quick failure")
        if ctx.attempt == 2:
            await asyncio.sleep(60)
        await asyncio.sleep(0.3)
        return "third"

    async with deployment(app):
        handle = await slow.start()
        assert await handle.result(10) == "third"
        failures = [bytes(e.data) for e in await handle.history() if e.type == "step.failed"]
    assert attempts == [1, 2, 3]
    assert b"quick failure" in failures[0]
    assert b"timeout" in failures[1]


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_s201_a_timer_survives_the_scheduler_and_is_not_early(end):
    """A scheduler that ends right after arming a timer: the next one's fires when it is due, once."""
    app, times = App("s201"), []

    @app.task(retry=Retry(2, backoff="fixed", delay="4s", jitter=False))
    async def shaky() -> int:
        times.append(time.monotonic())
        if len(times) == 1:
            raise OSError("again")
        return len(times)

    async with deployment(app) as d:
        handle = await shaky.start()

        async def armed():
            return (await d.state("DAGNATS_TIMERS"))["messages"] == 1

        await eventually(armed)
        await getattr(d.schedulers[0], end)()
        await holds_for(1, lambda: len(times) == 1)
        await d.add_scheduler()
        assert await handle.result(15) == 2
        assert times[1] - times[0] >= 4
        await holds_for(0.5, lambda: len(times) == 2)


async def test_s201_a_timer_that_was_due_while_nobody_was_there_fires_at_once():
    """A back-off that ended while no scheduler ran goes on as soon as there is one."""
    app, times = App("s201-late"), []

    @app.task(retry=Retry(2, backoff="fixed", delay="500ms", jitter=False))
    async def shaky() -> int:
        times.append(time.monotonic())
        if len(times) == 1:
            raise OSError("again")
        return len(times)

    async with deployment(app) as d:
        handle = await shaky.start()

        async def waiting():
            return (await handle.status()).steps[0].status == "waiting"

        await eventually(waiting)
        await d.schedulers[0].kill()

        async def fired():
            return any(e.type == "timer.fired" for e in await handle.history())

        await eventually(fired)
        assert len(times) == 1
        await d.add_scheduler()
        assert await handle.result(10) == 2
