"""Scenarios, section 12: cancel.

Left out, with the features they belong to: S233 (admission), S237 and S239 (cancel_on), S241 (bulk,
HTTP), S243 (task counters).
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from dagnats import App, Context, Continue, RunCancelled, RunNotFound, WorkflowBuilder
from dagnats.outcome import Cancelled
from dagnats.ports import Append
from dagnats.wire import subjects
from tests.support.deployment import deployment, eventually, holds_for


async def test_s231_cancel_ends_what_is_open_and_keeps_what_is_done():
    """Running, queued and pending steps are cancelled; completed steps keep their outputs."""
    app, busy = App("s231"), asyncio.Event()

    @app.task
    async def first() -> str:
        return "kept"

    @app.task
    async def hang(_: str) -> None:
        busy.set()
        await asyncio.sleep(60)

    flow = (
        WorkflowBuilder("cancelled")
        .task("first")
        .task("running", task=hang, after="first")
        .task("queued", task="nobody", after="first")
        .task("pending", task="nobody", after="running")
        .build()
    )
    async with deployment(app) as d:
        handle = await d.client.start(flow)
        await asyncio.wait_for(busy.wait(), 10)
        before = {s.id: s.status for s in (await handle.status()).steps}
        assert before == {
            "first": "completed",
            "running": "running",
            "queued": "queued",
            "pending": "pending",
        }
        assert await handle.cancel("not needed any more")
        with pytest.raises(RunCancelled, match="not needed any more"):
            await handle.result(10)
        view = await handle.status()
        assert view.status == "cancelled"
        assert view.completed_at
        assert [s.status for s in view.steps] == [
            "completed",
            "cancelled",
            "cancelled",
            "cancelled",
        ]
        assert bytes(view.steps[0].output) == b'"kept"'


async def test_s231_cancel_before_anybody_took_the_work():
    """A run whose ticket nobody took is cancelled, and a worker that comes later does not run it."""
    app, calls = App("s231-early"), []

    @app.task
    async def work(n: int) -> int:
        calls.append(n)
        return n

    async with deployment(app, workers=0) as d:
        handle = await work.start(1)

        async def queued():
            return (await d.state("DAGNATS_TASKS"))["messages"] == 1

        await eventually(queued)
        assert await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(10)
        await d.add_worker()
        assert await (await work.start(2)).result(10) == 2
        await holds_for(0.5, lambda: calls == [2])


async def test_s231_a_ticket_that_reached_the_queue_after_the_cancel_is_not_run():
    """A ticket that the server copied into the queue after it was purged is not run by a worker that comes later."""
    app, calls = App("s231-race"), []

    @app.task
    async def work(n: int) -> int:
        calls.append(n)
        return n

    async with deployment(app, workers=0, partitions=1) as d:
        handle = await work.start(1)
        ticket = await d.dispatch(handle.run_id, "work/1/0")
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(10)
        late = Append(
            f"dagnats.task.0.{handle.run_id}.work._", msgspec.json.encode(ticket), "copied-late"
        )

        async def queued():
            return (await d.state(subjects.TASKS))["messages"]

        async def purged():
            return not await queued()

        await eventually(purged)
        await d.outside.log.append([late])
        await eventually(queued)
        await d.add_worker()
        assert await (await work.start(2)).result(10) == 2
        await holds_for(0.5, lambda: calls == [2])


async def test_s231_cancel_of_a_run_that_has_ended_says_so():
    """Cancelling a completed run changes nothing and answers False; one that never was is not found."""
    app = App("s231-late")

    @app.task
    async def work() -> str:
        return "done"

    async with deployment(app) as d:
        handle = await work.start()
        assert await handle.result(10) == "done"
        history = await handle.history()
        assert await handle.cancel() is False
        assert await handle.history() == history
        with pytest.raises(RunNotFound):
            await d.client.cancel("never-started")


async def test_s235_other_runs_are_unaffected():
    """Cancelling one run leaves the handler of another alone, in the same worker."""
    app, started, release, cancelled = App("s235"), [], asyncio.Event(), []

    @app.task
    async def work(name: str) -> str:
        started.append(name)
        try:
            await release.wait()
        except asyncio.CancelledError:
            cancelled.append(name)
            raise
        return name

    async with deployment(app):
        one, two = await work.start("one"), await work.start("two")
        await eventually(lambda: len(started) == 2)
        await one.cancel()
        await eventually(lambda: cancelled == ["one"])
        release.set()
        assert await two.result(10) == "two"
        with pytest.raises(RunCancelled):
            await one.result(10)
        assert cancelled == ["one"]


async def test_s235_a_ticket_whose_run_nobody_knows_is_executed_and_harmless():
    """Documented: a worker runs a ticket without reading its run; the answer goes to the dead letters."""
    app, calls = App("s235-orphan"), []

    @app.task
    async def work(n: int) -> int:
        calls.append(n)
        return n

    async with deployment(app, partitions=1) as d:
        handle = await work.start(1)
        await handle.result(10)
        real = await d.dispatch(handle.run_id, "work/1/0")
        ghost = {**real, "run": "ghost", "input": 7, "answer_to": "dagnats.fact.0.ghost.worker"}
        body = msgspec.json.encode(ghost)
        await d.outside.log.append([Append("dagnats.task.0.ghost.work._", body, "ghost")])
        await eventually(lambda: calls == [1, 7])

        async def lettered():
            return [m.subject for m in await d.dead()] == ["dagnats.dead.poison.ghost.worker"]

        await eventually(lettered)
        assert await (await work.start(2)).result(10) == 2


async def test_cancel_empties_the_queue_and_no_handler_is_called():
    """Five queued runs cancelled behind a busy worker: no call, and nothing is left in the queue."""
    app, calls, release = App("queued"), [], asyncio.Event()

    @app.task
    async def work(name: str) -> str:
        calls.append(name)
        await release.wait()
        return name

    async with deployment(app, concurrency=1) as d:
        busy = await work.start("busy")
        await eventually(lambda: calls == ["busy"])
        waiting = [await work.start(f"queued {number}") for number in range(5)]
        for handle in waiting:
            await d.dispatch(handle.run_id, "work/1/0")
            await handle.cancel()
        for handle in waiting:
            with pytest.raises(RunCancelled):
                await handle.result(10)

        async def drained():
            return (await d.state("DAGNATS_TASKS"))["messages"] == 1

        await eventually(drained)
        release.set()
        assert await busy.result(10) == "busy"
        assert await (await work.start("after")).result(10) == "after"
        assert calls == ["busy", "after"]


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_cancel_reaches_a_running_handler(kind):
    """A cancelled run's handler is told, in the loop and in a thread that runs Python code."""
    app, began, ended = App("told"), [], []

    @app.task(name="async")
    async def on_loop() -> None:
        began.append(1)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("async")
            raise

    @app.task(name="thread")
    def in_thread() -> None:
        began.append(1)
        try:
            while True:
                sum(range(100))
        except Cancelled:
            ended.append("thread")
            raise

    async with deployment(app) as d:
        handle = await app.tasks[kind].start()
        await eventually(lambda: began)
        await handle.cancel()
        await eventually(lambda: ended == [kind])
        with pytest.raises(RunCancelled):
            await handle.result(10)
        worker = d.workers[0].service
        await eventually(lambda: not worker.tickets.running)


async def test_cancel_ends_a_run_that_waits_for_a_timer():
    """A run parked in a back-off is cancelled at once, and its timer is disarmed."""
    app, calls = App("parked"), []

    @app.agent_loop(max_iterations=5, loop_delay="1500ms")
    async def slow(ctx: Context) -> Continue:
        calls.append(ctx.iteration)
        return Continue()

    async with deployment(app) as d:
        handle = await slow.start()

        async def parked():
            return (await handle.status()).steps[0].status == "waiting"

        await eventually(parked)
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(10)

        async def disarmed():
            return (await d.state("DAGNATS_TIMERS"))["messages"] == 0

        await eventually(disarmed)
        await holds_for(1.7, lambda: calls == [0])


async def test_cancelling_twice_writes_one_end():
    """Two requests at once end the run once."""
    app, busy = App("twice"), asyncio.Event()

    @app.task
    async def hang() -> None:
        busy.set()
        await asyncio.sleep(60)

    async with deployment(app):
        handle = await hang.start()
        await asyncio.wait_for(busy.wait(), 10)
        await asyncio.gather(handle.cancel("one"), handle.cancel("two"))
        with pytest.raises(RunCancelled):
            await handle.result(10)
        assert [e.type for e in await handle.history()].count("run.closed") == 1
