"""Scenarios, section 13: what a replay of a dead letter does to its run (S255)."""

from __future__ import annotations

import asyncio

import pytest

from dagnats import App, Client, Fail, Retry, RunFailed, WorkflowBuilder
from dagnats.errors import RequestError
from tests.support.deployment import deployment, eventually

pytestmark = pytest.mark.skipif(
    not hasattr(Client, "retry"), reason="the engine cannot open a run again yet"
)


async def test_s255_replaying_revives_the_run_at_the_failed_step():
    """What was done stays done, the failed step runs again, and what comes after it goes on."""
    app, calls, broken = App("s255"), [], [True]

    @app.task
    async def first(n: int) -> int:
        calls.append("first")
        return n + 1

    @app.task(retry=Retry(2, delay="10ms"))
    async def second(n: int) -> int:
        calls.append("second")
        if broken:
            raise OSError("not yet")
        return n * 10

    @app.task
    async def third(n: int) -> int:
        calls.append("third")
        return n + 5

    flow = (
        WorkflowBuilder("reviving")
        .task("first", task=first)
        .task("second", task=second, after="first")
        .task("third", task=third, after="second")
        .build()
    )
    async with deployment(app) as d:
        handle = await d.client.start(flow, 1)
        with pytest.raises(RunFailed):
            await handle.result(10)
        row = await d.letter(handle.run_id)
        broken.clear()
        done = await d.client.dead.replay(row.sequence)
        assert (done.run_id, done.step_id) == (handle.run_id, "second")

        async def completed() -> bool:
            return (await handle.status()).status == "completed"

        await eventually(completed)
        assert await handle.result(10) == 25
        assert calls == ["first", "second", "second", "second", "third"]
        assert (await d.client.dead.count(run=handle.run_id)).total == 0


async def test_s255_a_replay_that_fails_again_has_a_new_letter():
    """Also of a step that fails before it begins, whose ticket is the same each time."""
    app = App("s255-again")

    @app.task
    async def give() -> dict[str, int]:
        return {"n": 1}

    @app.task
    async def take(_: int) -> None: ...

    flow = (
        WorkflowBuilder("lacking")
        .task("give", task=give)
        .task("take", task=take, after="give", input={"$step": "give", "path": "missing"})
        .build()
    )
    async with deployment(app) as d:
        handle = await d.client.start(flow)
        with pytest.raises(RunFailed, match="missing"):
            await handle.result(10)
        row = await d.letter(handle.run_id)
        for _ in range(2):
            done = await d.client.dead.replay(row.sequence)
            assert done.sequences == [row.sequence]

            async def another(before: int = row.sequence):
                found = (await d.client.dead.list(run=handle.run_id)).letters
                return found[0] if found and found[0].sequence > before else None

            row = await eventually(another)
        assert (await d.client.dead.count(run=handle.run_id)).total == 1


async def test_s255_a_replay_of_what_goes_on_or_has_completed_is_refused():
    """Never executed and ignored: the letter stays, nothing runs, and the reason is told."""
    app, calls, broken = App("s255-refused"), [], [True]

    @app.task
    async def work() -> str:
        calls.append(1)
        if broken:
            raise Fail("not yet")
        return "done"

    async with deployment(app) as d:
        handle = await work.start()
        with pytest.raises(RunFailed):
            await handle.result(10)
        row = await d.letter(handle.run_id)
        broken.clear()
        await d.client.dead.discard(row.sequence)
        await d.client.retry(handle.run_id)

        async def completed() -> bool:
            return (await handle.status()).status == "completed"

        await eventually(completed)
        back = await d.client.dead.undo(row.sequence)
        with pytest.raises(RequestError, match="completed"):
            await d.client.dead.replay(back.sequence)
        assert len(calls) == 2
        assert (await d.client.dead.count(run=handle.run_id)).total == 1


async def test_s255_two_who_replay_the_same_letter_open_the_run_once():
    """The step runs once more, not twice."""
    app, calls, broken = App("s255-two"), [], [True]

    @app.task
    async def work() -> str:
        calls.append(1)
        if broken:
            raise Fail("not yet")
        await asyncio.sleep(0.3)
        return "done"

    async with deployment(app) as d:
        handle = await work.start()
        with pytest.raises(RunFailed):
            await handle.result(10)
        row = await d.letter(handle.run_id)
        broken.clear()
        await asyncio.gather(
            *(d.client.dead.replay(row.sequence) for _ in range(4)), return_exceptions=True
        )

        async def completed() -> bool:
            return (await handle.status()).status == "completed"

        await eventually(completed)
        assert len(calls) == 2


async def test_s255_a_watch_revives_what_fails_for_a_while():
    """Failing twice more under a watch, then completing; each replay is counted."""
    app, calls = App("s255-watch"), []

    @app.task
    async def work() -> int:
        calls.append(1)
        if len(calls) < 4:
            raise Fail("not yet")
        return len(calls)

    async with deployment(app) as d:
        handle = await work.start()
        told = []
        watching = d.client.dead.watch(interval=0.1, max_replays=3)
        async for outcome in watching:
            if outcome.outcome == "replayed":
                told.append(outcome.replays)
            if len(told) == 3:
                break
        await watching.aclose()

        async def completed() -> bool:
            return (await handle.status()).status == "completed"

        await eventually(completed)
    assert told == [1, 2, 3]
