"""Scenarios, section 6: handlers that wait for signals, for a moment or for long, and what senders are told."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

import pytest

from dagnats import (
    AgentContext,
    App,
    Context,
    Continue,
    Retry,
    RunCancelled,
    RunFailed,
    RunNotFound,
    SignalRefused,
    SignalTimeout,
)
from tests.support.deployment import deployment, eventually


@dataclass
class Order:
    """What a signal brings."""

    number: int
    urgent: bool = False


async def called(handle, count: int = 1) -> None:
    """Wait until the run's handlers have asked for so many durable operations."""

    async def asked() -> bool:
        return [e.type for e in await handle.history()].count("step.called") >= count

    await eventually(asked)


async def test_s101_a_signal_is_what_the_handler_gets():
    """It waits, somebody sends, and it goes on with the data; the run's history says all of it."""
    app = App("s101")

    @app.task
    async def ask(ctx: Context) -> str:
        return await ctx.wait_for_signal("go", timeout="30s")

    async with deployment(app):
        handle = await ask.start()
        await called(handle)
        await handle.signal("go", "approved")
        assert await handle.result(5) == "approved"
        types = [event.type for event in await handle.history()]
        assert types.count("step.dispatched") == 1
        assert types.index("step.called") < types.index("signal.received")


async def test_s101_plain_functions_wait_too():
    """With ``.wait()``, and with a type that the data are read as."""
    app = App("s101-plain")

    @app.task
    def ask(ctx: Context) -> int:
        order = ctx.wait_for_signal("order", type=Order).wait()
        return order.number

    async with deployment(app):
        handle = await ask.start()
        await handle.signal("order", {"number": 7})
        assert await handle.result(5) == 7


async def test_s103_a_signal_that_does_not_come_is_an_error():
    """The handler may catch it; one that does not has failed."""
    app = App("s103")

    @app.task
    async def caught(ctx: Context) -> str:
        try:
            return await ctx.wait_for_signal("go", timeout="300ms")
        except SignalTimeout as error:
            return error.message

    @app.task
    async def uncaught(ctx: Context) -> str:
        return await ctx.wait_for_signal("go", timeout="300ms")

    async with deployment(app):
        began = time.monotonic()
        told = await (await caught.start()).result(5)
        assert time.monotonic() - began >= 0.3
        assert 'no signal "go" within 300ms' in told
        with pytest.raises(RunFailed, match="SignalTimeout: call 0"):
            await (await uncaught.start()).result(5)


async def test_s105_names_and_runs_do_not_mix():
    """Two names in one run, and one name in two runs: each waits for its own."""
    app = App("s105")

    @app.task
    async def both(ctx: Context) -> list[str]:
        first, second = ctx.wait_for_signal("a"), ctx.wait_for_signal("b")
        return [await first, await second]

    async with deployment(app):
        one, two = await both.start(), await both.start()
        await one.signal("b", "one-b")
        await two.signal("a", "two-a")
        await one.signal("a", "one-a")
        assert await one.result(5) == ["one-a", "one-b"]
        await two.signal("b", "two-b")
        assert await two.result(5) == ["two-a", "two-b"]


async def test_signals_of_a_name_come_in_order_and_once():
    """Those sent before anybody waits are kept; nobody gets one twice."""
    app, gate = App("order"), asyncio.Event()

    @app.task
    async def gather(ctx: Context) -> list[int]:
        await gate.wait()
        return [await ctx.wait_for_signal("n") for _ in range(5)]

    async with deployment(app):
        handle = await gather.start()
        for number in range(3):
            await handle.signal("n", number)
        gate.set()
        await called(handle, 4)
        await handle.signal("n", 3)
        await handle.signal("n", 4)
        assert await handle.result(5) == [0, 1, 2, 3, 4]


async def test_s107_waiting_longer_than_the_lease_runs_nothing_twice():
    """The lease is kept as long as the handler waits, three times over."""
    app, entered = App("s107"), []

    @app.task
    async def ask(ctx: Context) -> str:
        entered.append(ctx.attempt)
        return await ctx.wait_for_signal("go", timeout="30s")

    async with deployment(app, lease_ms=1_000) as d:
        await d.add_worker(lease_ms=1_000)
        handle = await ask.start()
        await called(handle)
        await asyncio.sleep(3.2)
        await handle.signal("go", "late")
        assert await handle.result(5) == "late"
    assert entered == [1]


async def test_parking_gives_the_slot_up_and_comes_back_with_the_checkpoint():
    """The handler ends, others run in its slot, and it is entered again: the same attempt, with what was recorded."""
    app, entered = App("park"), []

    @app.agent_loop(max_iterations=3)
    async def review(ctx: AgentContext[list[str]], title: str) -> list[str] | Continue[list[str]]:
        entered.append((ctx.iteration, ctx.attempt, ctx.checkpoint))
        verdict = await ctx.wait_for_signal("verdict", timeout="1m", park=True)
        seen = [*(ctx.checkpoint or []), verdict]
        return seen if verdict == "good" else Continue(seen)

    @app.task
    async def other() -> str:
        return "ran"

    async with deployment(app, concurrency=1) as d:
        handle = await review.start("title")

        async def parked() -> bool:
            return not d.workers[0].service.tickets.running and "step.parked" in [
                event.type for event in await handle.history()
            ]

        await eventually(parked)
        assert await (await other.start()).result(5) == "ran"
        await handle.signal("verdict", "bad")
        await handle.signal("verdict", "good")
        assert await handle.result(10) == ["bad", "good"]
    assert entered[:2] == [(0, 1, None), (0, 1, None)], "parked, and entered again"
    assert entered[-1] == (1, 1, ["bad"])


async def test_parked_in_a_group_of_tasks():
    """A handler may wait for several at once: it parks on one, and is given all when they are there."""
    app = App("group")

    @app.task
    async def ask(ctx: Context) -> list[int]:
        async with asyncio.TaskGroup() as group:
            waits = [
                group.create_task(one(ctx.wait_for_signal(name, park=True))) for name in ("a", "b")
            ]
        return [wait.result() for wait in waits]

    async def one(answer) -> int:
        return await answer

    async with deployment(app):
        handle = await ask.start()
        await called(handle)
        await handle.signal("a", 1)
        await handle.signal("b", 2)
        assert await handle.result(10) == [1, 2]


async def test_a_handler_that_waits_can_be_cancelled(caplog):
    """Async or plain: it is told at once, and no thread is lost."""
    app, ended = App("cancel"), []

    @app.task
    async def waits(ctx: Context) -> None:
        try:
            await ctx.wait_for_signal("never")
        finally:
            ended.append("async")

    @app.task
    def blocks(ctx: Context) -> None:
        try:
            ctx.wait_for_signal("never").wait()
        finally:
            ended.append("plain")

    async with deployment(app):
        handles = [await waits.start(), await blocks.start()]
        for handle in handles:
            await called(handle)
            await handle.cancel()
            with pytest.raises(RunCancelled):
                await handle.result(5)
        await eventually(lambda: sorted(ended) == ["async", "plain"], 1.5)
    assert not [
        r for r in caplog.records if r.levelno >= logging.WARNING and "told to stop" in r.message
    ]


@pytest.mark.parametrize("plain", [False, True])
async def test_the_time_limit_of_a_step_counts_while_it_waits(plain):
    """Waiting is part of an execution; when its time is over, the next attempt begins."""
    app, attempts = App("limit"), []

    if plain:

        @app.task(name="ask", timeout="400ms", retry=Retry(2, delay="1ms"))
        def ask(ctx: Context) -> None:
            attempts.append(ctx.attempt)
            ctx.wait_for_signal("never").wait()

    else:

        @app.task(name="ask", timeout="400ms", retry=Retry(2, delay="1ms"))
        async def ask(ctx: Context) -> None:
            attempts.append(ctx.attempt)
            ctx.wait_for_signal("another")  # started, and not waited for
            await ctx.wait_for_signal("never")

    async with deployment(app):
        began = time.monotonic()
        with pytest.raises(RunFailed, match=r"took longer than 0\.4 s"):
            await (await ask.start()).result(10)
        assert time.monotonic() - began < 2.5
    assert attempts == [1, 2]


async def test_handlers_send_signals_to_other_runs():
    """What one run sends, another gets."""
    app = App("sending")

    @app.task
    async def ask(ctx: Context) -> dict:
        return await ctx.wait_for_signal("news")

    @app.task
    async def tell(ctx: Context, run: str) -> None:
        await ctx.send_signal(run, "news", {"from": ctx.step_id})

    async with deployment(app):
        handle = await ask.start()
        await (await tell.start(handle.run_id)).result(5)
        assert await handle.result(5) == {"from": "tell"}


async def test_senders_are_told_when_nobody_can_hear():
    """No such run, a run that has ended: an error at the sender, in handlers as in clients."""
    app = App("refused")

    @app.task
    async def done() -> int:
        return 1

    @app.task
    async def tell(ctx: Context, run: str) -> str:
        try:
            await ctx.send_signal(run, "news")
        except (RunNotFound, SignalRefused) as error:
            return f"{type(error).__name__}: {error}"
        return "sent"

    async with deployment(app):
        ended = await done.start()
        await ended.result(5)
        told = await (await tell.start(ended.run_id)).result(5)
        assert (
            told == f"SignalRefused: run {ended.run_id} is completed; it takes no signals any more"
        )
        assert (await (await tell.start("nowhere")).result(5)).startswith(
            "RunNotFound: no run nowhere"
        )
        with pytest.raises(SignalRefused):
            await ended.signal("news")
