"""What a handler asks of its context: checkpoints, token streams, facts, from the loop and from threads."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from dagnats import (
    AgentContext,
    App,
    Context,
    Continue,
    Retry,
    RunFailed,
    current,
)
from dagnats.errors import DagNatsError, PayloadTooLarge, RequestError
from dagnats.wire import subjects
from tests.support.deployment import deployment, eventually


@dataclass
class Progress:
    """A checkpoint's type."""

    n: int


async def test_a_saved_checkpoint_survives_attempts():
    """What attempt 1 saved before it failed, attempt 2 loads."""
    app, loaded = App("attempts"), []

    @app.task(retry=Retry(3, delay="1ms"))
    async def work(ctx: Context[list[int]]) -> list[int]:
        done = await ctx.load_checkpoint() or []
        loaded.append(list(done))
        done.append(ctx.attempt)
        await ctx.save_checkpoint(done)
        if ctx.attempt < 3:
            raise OSError("again")
        return done

    async with deployment(app):
        assert await (await work.start()).result(10) == [1, 2, 3]
    assert loaded == [[], [1], [1, 2]]


async def test_a_saved_checkpoint_survives_the_worker():
    """What was saved before the worker died is there when the same attempt is delivered again."""
    app, loaded = App("redelivery"), []

    @app.task
    async def work(ctx: Context[str]) -> str:
        found = await ctx.load_checkpoint()
        loaded.append((ctx.attempt, found))
        if found is None:
            await ctx.save_checkpoint("half way")
            await asyncio.sleep(60)
        return f"from {found}"

    async with deployment(app, lease_ms=1_000) as d:
        handle = await work.start()

        async def saved():
            return (await d.state(f"KV_{subjects.CHECKPOINTS}"))["messages"] == 1

        await eventually(saved)
        await d.workers[0].kill()
        await d.add_worker(lease_ms=1_000)
        assert await handle.result(20) == "from half way"
    assert loaded == [(1, None), (1, "half way")]


async def test_a_checkpoint_is_of_its_annotated_type():
    """AgentContext[T] reads checkpoints as T, from Continue and from save_checkpoint."""
    app, seen = App("state"), []

    @app.agent_loop(max_iterations=4)
    async def think(ctx: AgentContext[Progress]) -> str | Continue:
        seen.append((ctx.checkpoint, await ctx.load_checkpoint()))
        if ctx.iteration == 2:
            return "done"
        await ctx.save_checkpoint(Progress(10 + ctx.iteration))
        return Continue(Progress(ctx.iteration))

    async with deployment(app):
        assert await (await think.start()).result(10) == "done"
    assert seen == [(None, None), (Progress(0), Progress(0)), (Progress(1), Progress(1))]


async def test_emitted_pieces_reach_the_stream_in_order():
    """handle.stream gives every piece with its execution, live and again from the start afterwards."""
    app, gate = App("tokens"), asyncio.Event()

    @app.agent_loop(max_iterations=3)
    async def talk(ctx: AgentContext[int]) -> str | Continue:
        for number in range(50):
            await ctx.emit({"token": number})
            if number == 10 and ctx.iteration == 0:
                await gate.wait()
        return "said" if ctx.iteration == 1 else Continue(1)

    async with deployment(app):
        handle = await talk.start()
        live = []
        async for piece in handle.stream():
            live.append(piece)
            if len(live) == 11:
                gate.set()  # the first eleven came while the handler was still running
        again = [piece async for piece in handle.stream("talk")]
    assert [(p.iteration, p.n, p.data["token"]) for p in live] == [
        (i, n, n) for i in (0, 1) for n in range(50)
    ]
    assert again == live
    assert {(p.step, p.attempt) for p in live} == {("talk", 1)}


async def test_what_a_handler_started_and_did_not_await_is_finished_first():
    """Pieces emitted without await are stored before the answer; a failure among them is the step's."""
    app = App("unawaited")

    @app.task
    async def talk(ctx: Context) -> str:
        for number in range(20):
            ctx.emit(number)
        return "said"

    @app.task
    async def shout(ctx: Context) -> str:
        ctx.emit("x" * 100_000)
        return "said"

    async with deployment(app):
        handle = await talk.start()
        assert await handle.result(10) == "said"
        assert [piece.data async for piece in handle.stream()] == list(range(20))
        with pytest.raises(RunFailed, match="64 KB"):
            await (await shout.start()).result(10)


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_current_gives_the_context_below_the_handler(kind):
    """current() finds the running context at any depth, in tasks and threads; outside it is an error."""
    app = App("current")

    def deep() -> tuple[str, str, int]:
        ctx = current()
        return ctx.run_id, ctx.step_id, ctx.attempt

    @app.task(name="async")
    async def on_loop() -> list[Any]:
        inner = asyncio.ensure_future(asyncio.to_thread(deep))
        return [deep(), await inner]

    @app.task(name="thread")
    def in_thread() -> list[Any]:
        return [deep(), deep()]

    with pytest.raises(DagNatsError, match="outside"):
        current()
    async with deployment(app):
        handles = [await app.tasks[kind].start() for _ in range(5)]
        for handle in handles:
            assert await handle.result(10) == [[handle.run_id, kind, 1]] * 2


async def test_a_thread_uses_its_context_by_waiting():
    """In a plain handler .wait() does what await does; on the loop it is refused."""
    app = App("waiting")

    @app.task
    def in_thread(ctx: Context[str]) -> str:
        ctx.emit("one").wait()
        ctx.heartbeat({"done": 1}).wait()
        ctx.save_checkpoint("kept").wait()
        return str(ctx.load_checkpoint().wait())

    @app.task
    async def on_loop(ctx: Context) -> None:
        ctx.emit("one").wait()

    async with deployment(app):
        handle = await in_thread.start()
        assert await handle.result(10) == "kept"
        assert [piece.data async for piece in handle.stream()] == ["one"]
        with pytest.raises(RunFailed, match=RequestError.__name__):
            await (await on_loop.start()).result(10)


async def test_the_context_tells_where_it_is():
    """Run, step, attempt, metadata, input and a key that stays the same over attempts."""
    app, seen = App("facts"), []

    @app.task(metadata={"step": "s", "both": "step"}, retry=Retry(2, delay="1ms"))
    async def look(ctx: Context, a: int, b: int = 2) -> None:
        seen.append(ctx)
        if ctx.attempt == 1:
            raise OSError("once")

    async with deployment(app):
        handle = await look.start(1, metadata={"run": "r", "both": "run"})
        await handle.result(10)
    one, two = seen
    assert (one.run_id, one.step_id, one.attempt, one.iteration) == (handle.run_id, "look", 1, 0)
    assert one.metadata == {"step": "s", "run": "r", "both": "step"}
    assert one.input == {"a": 1}
    assert one.idempotency_key == two.idempotency_key
    assert two.attempt == 2
    assert not one.cancelled


async def test_the_status_shows_what_a_handler_said_last():
    """While it runs; details that are too large to tell are refused."""
    app, gate = App("progress"), asyncio.Event()

    @app.task
    async def work(ctx: Context) -> str:
        await ctx.heartbeat({"done": 1})
        await ctx.heartbeat({"done": 2})
        await ctx.heartbeat()  # still at it, and nothing new
        await gate.wait()
        try:
            await ctx.heartbeat("x" * 9_000)
        except PayloadTooLarge as error:
            return str(error)
        return "told"

    async with deployment(app) as d:
        handle = await work.start()

        async def said() -> bool:
            return bytes((await handle.status()).steps[0].detail) == b'{"done":2}'

        await eventually(said)
        [step] = (await handle.status()).steps
        assert (step.status, step.worker) == ("running", d.workers[0].service.name)
        gate.set()
        assert "at most 8 KB" in await handle.result(5)
        assert not (await handle.status()).steps[0].detail
