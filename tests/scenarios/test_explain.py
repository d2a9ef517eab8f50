"""`dagnats run explain` on what only a worker's handler can wait for: a free slot, a call, what its budget has left."""

from __future__ import annotations

import asyncio

from dagnats import App, Budget, Context
from tests.support.deployment import deployment, eventually, program


async def said(d, tmp_path, run_id: str) -> str:
    """What the command prints."""
    output = tmp_path / "said"
    with program(d.broker, "run", "explain", run_id, output=output) as process:
        assert await asyncio.to_thread(process.wait, 30) == 0, output.read_text()
    return output.read_text()


async def cause(handle, name: str) -> bool:
    """Whether the run waits for that now."""
    return name in [reason.cause for reason in await handle.explain()]


async def test_handlers_wait_for_slots_calls_and_budgets(tmp_path):
    """One worker with one slot."""
    app, gate = App("explained"), asyncio.Event()

    @app.task
    async def hold(_n: int) -> str:
        await gate.wait()
        return "held"

    @app.task
    async def ask(ctx: Context, _n: int) -> str:
        return await ctx.wait_for_signal("go", timeout="1h", park=True)

    @app.task
    async def spend(ctx: Context, tokens: int) -> int:
        await ctx.report_usage(output_tokens=tokens)
        return await ctx.call(hold, tokens)

    async with deployment(app, concurrency=1) as d:
        asking = await ask.start(1)
        await eventually(lambda: cause(asking, "call"))
        assert "ask: waits for call ask#0.0 (since 20" in await said(d, tmp_path, asking.run_id)

        spending = await spend.start(10, budget=Budget(tokens=5))
        await eventually(lambda: cause(spending, "budget"))
        text = await said(d, tmp_path, spending.run_id)
        assert "the budget is used up; what is under way may end until 20" in text
        await spending.cancel()

        first = await hold.start(1)
        await eventually(lambda: cause(first, "running"))
        second = await hold.start(2)
        await eventually(lambda: cause(second, "worker_busy"))
        text = await said(d, tmp_path, second.run_id)
        assert text.startswith("hold: waits for a free slot of a worker of task hold (since 20")
        gate.set()
        await asking.signal("go", "gone")
        assert [await each.result(20) for each in (first, second, asking)] == [
            "held", "held", "gone",
        ]  # fmt: skip


async def test_the_last_worker_is_gone(tmp_path):
    """It says since when none was seen, by the server's clock."""
    app = App("explained")

    @app.task
    async def work(n: int) -> int:
        return n

    async with deployment(app) as d:
        assert await (await work.start(1)).result(10) == 1
        await d.workers[0].stop()
        second = await work.start(2)
        await eventually(lambda: cause(second, "no_worker"))
        text = await said(d, tmp_path, second.run_id)
        assert "waits for a worker of task work: none is running, none seen since 20" in text
