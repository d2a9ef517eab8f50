"""Durable calls and the workers that serve them: slots that are left to others, and workers that die."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dagnats import App, Context
from tests.support.deployment import deployment, eventually, program

CALLS_APP = str(Path(__file__).with_name("calls_app.py"))


# -- slots -----------------------------------------------------------------------------------------


async def test_a_worker_with_one_slot_serves_what_it_calls():
    """Whoever waits leaves its slot to others, three levels deep."""
    app = App("one-slot")

    @app.task
    async def leaf(n: int) -> int:
        return n + 1

    @app.task
    async def middle(ctx: Context, n: int) -> int:
        return await ctx.call(leaf, n) + 1

    @app.task
    async def top(ctx: Context, n: int) -> int:
        return await ctx.call(middle, n) + 1

    async with deployment(app, concurrency=1):
        assert await (await top.start(0)).result(10) == 3


async def test_waiting_frees_one_slot_however_much_is_waited_for():
    """Ten calls at once: with two slots, two of them run at a time."""
    app, running, most = App("gather"), [], []

    @app.task
    async def leaf(n: int) -> int:
        running.append(n)
        most.append(len(running))
        await asyncio.sleep(0.05)
        running.remove(n)
        return n

    @app.task
    async def top(ctx: Context) -> list[int]:
        return list(await asyncio.gather(*(ctx.call(leaf, n) for n in range(10))))

    async with deployment(app, concurrency=2):
        assert await (await top.start()).result(10) == list(range(10))
    assert max(most) <= 2


@pytest.mark.parametrize("plain", [False, True])
async def test_many_callers_do_not_starve_what_they_call(plain):
    """More handlers wait than a worker holds: some are put aside, and all come to their end."""
    app = App("many")

    @app.task
    async def leaf(n: int) -> int:
        await asyncio.sleep(0.05)
        return n

    if plain:

        @app.task(name="top")
        def top(ctx: Context, n: int) -> int:
            return ctx.call(leaf, n).wait()

    else:

        @app.task(name="top")
        async def top(ctx: Context, n: int) -> int:
            return await ctx.call(leaf, n)

    async with deployment(app, workers=0) as d:
        handles = [await top.start(n) for n in range(40)]
        await d.add_worker(concurrency=2)
        assert [await handle.result(30) for handle in handles] == list(range(40))


# -- workers that die ------------------------------------------------------------------------------


async def test_a_worker_that_is_killed_repeats_no_call(broker, tmp_path):
    """SIGKILL in the middle of a handler: it runs again from its beginning, and what it called does not."""
    ledger = tmp_path / "ledger"
    environment = {"CALLS_LEDGER": str(ledger), "DAGNATS_LEASE": "1s"}

    def noted(word: str) -> int:
        return ledger.read_text().split().count(word) if ledger.exists() else 0

    app = App("client")
    async with deployment(app, broker=broker, workers=0) as d:
        await d.register({"name": "killed", "steps": [{"id": "whole", "task": "whole"}]})
        handle = await d.client.start("killed")
        with program(broker, "worker", CALLS_APP, **environment) as process:
            await eventually(lambda: noted("part1"), 20)

            async def recorded() -> bool:
                steps = {s.id: s.status for s in (await handle.status()).steps}
                return steps.get("whole#0.1") == "completed"

            await eventually(recorded)
            process.kill()
        with program(broker, "worker", CALLS_APP, **environment):
            assert await handle.result(30) == [0, 10, 20]
    assert noted("whole") == 2
    assert [noted(f"part{n}") for n in range(3)] == [1, 1, 1]


async def test_a_signal_reaches_a_handler_whose_worker_was_killed(broker, tmp_path):
    """It waits again, for the same signal, in another process."""
    ledger = tmp_path / "ledger"
    environment = {"CALLS_LEDGER": str(ledger), "DAGNATS_LEASE": "1s"}
    app = App("client")
    async with deployment(app, broker=broker, workers=0) as d:
        await d.register({"name": "waiting", "steps": [{"id": "waits", "task": "waits"}]})
        handle = await d.client.start("waiting")
        with program(broker, "worker", CALLS_APP, **environment) as process:

            async def asked() -> bool:
                return "step.called" in [event.type for event in await handle.history()]

            await eventually(asked, 20)
            process.kill()
        await handle.signal("go", "on")
        with program(broker, "worker", CALLS_APP, **environment):
            assert await handle.result(30) == "on"
    assert ledger.read_text().split() == ["waits", "waits"]


async def test_a_worker_that_is_stopped_hands_its_waiting_handlers_over():
    """They are told to end, and wait on in another worker; nothing is called twice."""
    app, entered, done = App("drain"), [], []

    @app.task
    async def once() -> int:
        done.append(1)
        return 1

    @app.task
    async def ask(ctx: Context) -> str:
        entered.append(ctx.attempt)
        await ctx.call(once)
        return await ctx.wait_for_signal("go")

    async with deployment(app, drain_ms=200) as d:
        handle = await ask.start()
        await eventually(lambda: d.workers[0].service.tickets.callers.waiting)
        await eventually(lambda: done)
        await d.add_worker()
        await d.workers[0].stop()
        await eventually(lambda: len(entered) == 2)
        await handle.signal("go", "on")
        assert await handle.result(10) == "on"
    assert entered == [1, 1]
    assert done == [1]
