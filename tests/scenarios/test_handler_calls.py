"""Durable calls: steps that a handler asks for while it runs; what was done once stays done."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from dagnats import AgentContext, App, CallFailed, Context, Continue, Retry, RunFailed
from tests.support.deployment import deployment, eventually

CALLS_APP = str(Path(__file__).with_name("calls_app.py"))


@dataclass
class Page:
    """A result with a type."""

    title: str
    size: int


# -- what comes of a call --------------------------------------------------------------------------


async def test_a_call_is_a_step_of_the_run():
    """Its result has the task's type, and the run shows it with its own id, task and status."""
    app = App("step")

    @app.task
    async def fetch(url: str, words: int = 3) -> Page:
        return Page(url.upper(), words)

    @app.task
    async def read(ctx: Context) -> str:
        page = await ctx.call(fetch, "a.b", words=5)
        assert isinstance(page, Page)
        again = await ctx.call("fetch", {"url": "c.d"})
        return f"{page.title} {page.size} {again['title']} {again['size']}"

    async with deployment(app):
        handle = await read.start()
        assert await handle.result(5) == "A.B 5 C.D 3"
        steps = (await handle.status()).steps
        assert [(s.id, s.task, s.status) for s in steps] == [
            ("read", "read", "completed"),
            ("read#0.0", "fetch", "completed"),
            ("read#0.1", "fetch", "completed"),
        ]


async def test_plain_functions_call_too():
    """With ``.wait()``: the thread blocks, and the slot is free for what is called."""
    app = App("plain")

    @app.task
    def double(n: int) -> int:
        return 2 * n

    @app.task
    def chain(ctx: Context, n: int) -> int:
        return ctx.call(double, ctx.call(double, n).wait()).wait()

    async with deployment(app, concurrency=1):
        assert await (await chain.start(3)).result(5) == 12


async def test_a_call_has_its_own_retries():
    """Its failures are tried again as its decorator says; the caller runs once."""
    app, tries, callers = App("retries"), [], []

    @app.task(retry=Retry(3, delay="1ms"))
    async def shaky(n: int) -> int:
        tries.append(n)
        if len(tries) < 3:
            raise OSError("busy")
        return n

    @app.task
    async def caller(ctx: Context) -> int:
        callers.append(ctx.attempt)
        return await ctx.call(shaky, 4)

    async with deployment(app):
        assert await (await caller.start()).result(5) == 4
    assert tries == [4, 4, 4]
    assert callers == [1]


async def test_a_call_that_fails_is_an_exception():
    """With the reason; a handler that catches it goes on, and the run does not fail."""
    app = App("failing")

    @app.task
    async def breaks(n: int) -> int:
        raise ValueError(f"{n} is too much")

    @app.task
    async def caught(ctx: Context) -> list[str]:
        try:
            await ctx.call(breaks, 9)
        except CallFailed as error:
            return [error.message, error.failure, error.step]
        return []

    @app.task
    async def uncaught(ctx: Context) -> None:
        await ctx.call(breaks, 9)

    async with deployment(app):
        told = await (await caught.start()).result(5)
        assert told == [
            "call 0 (breaks) of step caught: ValueError: 9 is too much", "retriable", "caught#0.0",
        ]  # fmt: skip
        with pytest.raises(RunFailed, match=r"CallFailed: call 0 .breaks. of step uncaught"):
            await (await uncaught.start()).result(5)


async def test_an_attempt_makes_failed_calls_anew_and_keeps_the_others():
    """What was done stays done; what failed is tried by the handler's own retry policy."""
    app, done = App("anew"), []

    @app.task
    async def good(n: int) -> int:
        done.append("good")
        return n

    @app.task
    async def bad(n: int) -> int:
        done.append("bad")
        if done.count("bad") < 3:
            raise OSError("busy")
        return n

    @app.task(retry=Retry(3, delay="1ms"))
    async def caller(ctx: Context) -> list[int]:
        return [await ctx.call(good, 1), await ctx.call(bad, 2)]

    async with deployment(app):
        assert await (await caller.start()).result(10) == [1, 2]
    assert done == ["good", "bad", "bad", "bad"]


async def test_a_handler_that_takes_another_way_gets_what_it_asks_for():
    """A recorded call is given only to the same call: another task, or other arguments, are another call."""
    app = App("another")

    @app.task
    async def echo(n: int) -> int:
        return n

    @app.task(retry=Retry(2, delay="1ms"))
    async def caller(ctx: Context) -> int:
        found = await ctx.call(echo, ctx.attempt)
        if ctx.attempt == 1:
            raise OSError("once")
        return found

    async with deployment(app):
        assert await (await caller.start()).result(5) == 2


async def test_another_way_after_a_crash(broker):
    """Also when the same ticket is delivered again, and its question had the same number."""
    app, asked = App("crash-way"), []

    @app.task
    async def echo(n: int) -> int:
        return n

    @app.task
    async def caller(ctx: Context) -> int:
        asked.append(len(asked))
        found = await ctx.call(echo, asked[-1])
        if len(asked) == 1:
            await asyncio.sleep(60)
        return found

    async with deployment(app, broker=broker, lease_ms=1_000) as d:
        handle = await caller.start()

        async def called() -> bool:
            return any(
                s.id == "caller#0.0" and s.status == "completed"
                for s in (await handle.status()).steps
            )

        await eventually(called)
        await d.workers[0].kill()
        await d.add_worker(lease_ms=1_000)
        assert await handle.result(10) == 1


# -- maps, loops, waits ----------------------------------------------------------------------------


async def test_a_map_of_a_hundred():
    """One ticket each, in order; failed ones are tolerated as far as is said."""
    app = App("map")

    @app.task
    async def square(n: int) -> int:
        if n == 13:
            raise ValueError("unlucky")
        return n * n

    @app.task
    async def top(ctx: Context) -> list[int | None]:
        return await ctx.map(square, list(range(100)), concurrency=20, tolerate=1)

    @app.task
    async def strict(ctx: Context) -> str:
        try:
            await ctx.map(square, [12, 13])
        except CallFailed as error:
            return error.message
        return ""

    async with deployment(app):
        assert await (await top.start()).result(20) == [
            None if n == 13 else n * n for n in range(100)
        ]
        assert "item 1: ValueError: unlucky" in await (await strict.start()).result(5)


async def test_each_turn_of_a_loop_counts_its_calls_anew():
    """Calls are remembered within the iteration that made them."""
    app, executed = App("loop"), []

    @app.task
    async def tool(turn: int) -> int:
        executed.append(turn)
        return turn

    @app.agent_loop(max_iterations=5)
    async def agent(ctx: AgentContext[list[int]]) -> list[int] | Continue[list[int]]:
        seen = [*(ctx.checkpoint or []), await ctx.call(tool, ctx.iteration)]
        return seen if ctx.iteration == 2 else Continue(seen)

    async with deployment(app):
        handle = await agent.start()
        assert await handle.result(10) == [0, 1, 2]
        assert {s.id for s in (await handle.status()).steps} >= {
            "agent#0.0",
            "agent#1.0",
            "agent#2.0",
        }
    assert executed == [0, 1, 2]


async def test_a_pause_gives_the_slot_up_and_costs_no_attempt():
    """The handler is entered again, and goes past the pause with what it had."""
    app, entered = App("pause"), []

    @app.task
    async def calm(ctx: Context) -> int:
        entered.append(ctx.attempt)
        await ctx.pause("300ms")
        return len(entered)

    @app.task
    def plain(ctx: Context) -> int:
        ctx.pause("300ms").wait()
        return ctx.attempt

    async with deployment(app, concurrency=1):
        began = time.monotonic()
        assert await (await calm.start()).result(5) == 2
        assert time.monotonic() - began >= 0.3
        assert await (await plain.start()).result(5) == 1
    assert entered == [1, 1]


async def test_failures_before_a_pause_are_remembered_after_it():
    """Being entered again is no new attempt: a failure that was caught is told again, not tried again."""
    app, tries = App("pause-failed"), []

    @app.task
    async def breaks() -> None:
        tries.append(1)
        raise ValueError("no")

    @app.task
    async def caller(ctx: Context) -> str:
        try:
            await ctx.call(breaks)
        except CallFailed as error:
            told = error.message
        await ctx.pause("100ms")
        return told

    async with deployment(app):
        assert "ValueError: no" in await (await caller.start()).result(5)
    assert tries == [1]


async def test_sleeping_happens_once():
    """A handler that runs again does not sleep again."""
    app = App("sleep")

    @app.task(retry=Retry(2, delay="1ms"))
    async def sleeper(ctx: Context) -> int:
        await ctx.sleep("500ms")
        if ctx.attempt == 1:
            raise OSError("once")
        return ctx.attempt

    async with deployment(app):
        began = time.monotonic()
        assert await (await sleeper.start()).result(5) == 2
        assert 0.5 <= time.monotonic() - began < 0.95


async def test_a_child_run_is_called_like_a_task():
    """By its function or its name; its failure is the call's."""
    app = App("child")

    @app.task
    async def add(n: int) -> int:
        if n > 5:
            raise ValueError("too much")
        return n + 1

    @app.workflow
    def twice(n: int) -> int:
        return add(add(n))

    @app.task
    async def parent(ctx: Context) -> list:
        found = [await ctx.run_workflow(twice, 1), await ctx.run_workflow("twice", 2)]
        try:
            await ctx.run_workflow(twice, 9)
        except CallFailed as error:
            found.append("too much" in error.message)
        return found

    async with deployment(app) as d:
        await d.client.register(twice.definition())
        assert await (await parent.start()).result(15) == [3, 4, True]


async def test_large_arguments_and_results_travel_as_references():
    """Nobody notices, and a handler that runs again still finds its result."""
    app, done = App("large"), []

    @app.task
    async def grow(text: str) -> str:
        done.append(len(text))
        return text + "y" * 400_000

    @app.task(retry=Retry(2, delay="1ms"))
    async def caller(ctx: Context) -> int:
        found = await ctx.call(grow, "x" * 400_000)
        if ctx.attempt == 1:
            raise OSError("once")
        return len(found)

    async with deployment(app):
        assert await (await caller.start()).result(10) == 800_000
    assert done == [400_000]


async def test_a_call_that_cannot_be_made_fails():
    """Whatever is wrong with it is told to the handler, and nothing is stuck."""
    app = App("wrong")

    @app.task
    async def caller(ctx: Context) -> str:
        try:
            await ctx.call("no such task\n", 1)
        except CallFailed as error:
            return f"{error.failure} {error.message}"
        return ""

    async with deployment(app):
        told = await (await caller.start()).result(5)
        assert told.startswith("invalid_call")
        assert "cannot be made" in told


async def test_arguments_may_not_look_like_references():
    """They would be taken for what they stand for."""
    app = App("forged")

    @app.task
    async def echo(value: dict) -> dict:
        return value

    @app.task
    async def caller(ctx: Context) -> None:
        await ctx.call(echo, {"$dagnats.blob": "x" * 64, "size": 1})

    async with deployment(app):
        with pytest.raises(RunFailed, match="InvalidInput: input of call 0 has the reserved key"):
            await (await caller.start()).result(5)
