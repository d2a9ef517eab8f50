"""Durable calls: done once, remembered, retried on their own, and no slot is held meanwhile."""

from collections import Counter

import pytest

from dagnats import App, CallFailed, Context, Retry, RunFailed
from tests.support.deployment import deployment, eventually


def tools() -> App:
    """A handler that uses others."""
    app = App("tools")
    app.calls = Counter()
    app.fail_first = False

    @app.task(retry=Retry(3, delay=0.01))
    async def fetch(n: int) -> int:
        app.calls[f"fetch {n}"] += 1
        if n == 7 and app.calls["fetch 7"] < 3:
            raise ValueError("busy")
        if n == 13:
            raise ValueError("never")
        return n * n

    @app.task(retry=Retry(2, delay=0.01))
    async def agent(ctx: Context, n: int) -> list[int]:
        app.calls["agent"] += 1
        first = await ctx.call(fetch, n)
        second = await ctx.call(fetch, 7)
        if app.fail_first and app.calls["agent"] == 1:
            raise ValueError("lost my way")
        return [first, second]

    @app.task
    async def careful(ctx: Context) -> str:
        try:
            await ctx.call(fetch, 13)
        except CallFailed as problem:
            return f"did without: {problem}"
        return "?"

    @app.task
    async def spread(ctx: Context, n: int) -> list[int]:
        return await ctx.map(fetch, list(range(20, 20 + n)), concurrency=4)

    @app.task
    async def napping(ctx: Context) -> list[str]:
        app.calls["entered"] += 1
        await ctx.pause("200ms")
        await ctx.sleep("50ms")
        return [ctx.message.ticket]

    return app


async def test_calls_are_steps_with_retries_of_their_own():
    """And the handler's other attempts are given what was recorded."""
    app = tools()
    app.fail_first = True
    async with deployment(app):
        handle = await app.tasks["agent"].start(2)
        assert await handle.result(10) == [4, 49]
        steps = {step.id for step in (await handle.status()).steps}

        assert app.calls == {"agent": 2, "fetch 2": 1, "fetch 7": 3}
        assert {"agent#0.0", "agent#0.1"} <= steps


async def test_one_slot_is_enough():
    """A handler that waits leaves its slot to what it waits for, on the loop and in a thread."""
    app = App("narrow")

    @app.task
    async def square(n: int) -> int:
        return n * n

    @app.task
    async def asking(ctx: Context, n: int) -> int:
        return await ctx.call(square, n)

    @app.task
    def plain(ctx: Context, n: int) -> int:
        return ctx.call(square, n).wait()

    async with deployment(app, concurrency=1):
        assert await (await asking.start(2)).result(20) == 4
        assert await (await plain.start(3)).result(20) == 9


async def test_a_call_that_fails_can_be_caught():
    """Its error says what and why; uncaught it fails the handler."""
    app = tools()
    async with deployment(app):
        assert "never" in await (await app.tasks["careful"].start()).result(10)
        with pytest.raises(RunFailed, match="never"):
            await (await app.tasks["agent"].start(13)).result(10)


async def test_a_map_of_calls():
    """In order."""
    app = tools()
    async with deployment(app):
        expected = [n * n for n in range(20, 60)]
        assert await (await app.tasks["spread"].start(40)).result(20) == expected


async def test_a_worker_that_dies_repeats_no_call():
    """Another worker enters the handler, and is given the recorded result."""
    app = tools()
    entered = []

    @app.task
    async def fragile(ctx: Context) -> int:
        got = await ctx.call(app.tasks["fetch"], 5)
        entered.append(ctx.message.ticket)
        await ctx.wait_for_signal("go", timeout="1m")
        return got

    async with deployment(app, lease_ms=1_000) as d:
        handle = await fragile.start()
        await eventually(lambda: entered)
        await d.workers[0].kill()
        await d.add_worker(lease_ms=1_000)
        await eventually(lambda: len(entered) == 2, 15)
        await handle.signal("go")
        assert await handle.result(15) == 25
        assert app.calls["fetch 5"] == 1
        assert set(entered) == {"fragile/1/0"}


async def test_a_pause_gives_the_slot_up_and_uses_no_attempt():
    """The handler is entered again under the same attempt."""
    app = tools()
    async with deployment(app):
        assert await (await app.tasks["napping"].start()).result(10) == ["napping/1/0/1"]
        assert app.calls["entered"] == 2
