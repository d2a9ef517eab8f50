"""Budgets on a server: used up, raised by the command line, shared with children, counted once whoever dies."""

from __future__ import annotations

import asyncio
import json

import pytest

from dagnats import AgentContext, App, Budget, BudgetExceeded, Context, Continue, WorkflowBuilder
from dagnats.errors import InvalidInput, RequestError
from tests.support.deployment import deployment, eventually, program


class Work:
    """An app that spends; ``ran`` are its executions, ``gate`` is what they wait for after they reported."""

    def __init__(self) -> None:
        self.ran: list[tuple] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.app = app = App("spending")

        @app.task
        async def spend(ctx: Context, tokens: int) -> int:
            self.ran.append((ctx.run_id, ctx.attempt, ctx.budget.tokens))
            await ctx.report_usage(input_tokens=tokens, usd=0.5, model="m")
            await self.gate.wait()
            return tokens

        @app.agent_loop(max_iterations=10, budget=Budget(tokens=100))
        async def think(ctx: AgentContext[int], tokens: int) -> int | Continue[int]:
            turn = (ctx.checkpoint or 0) + 1
            await ctx.call(spend, tokens)
            return turn if turn == 4 else Continue(turn)

        self.spend, self.think = spend, think
        child = WorkflowBuilder("child").task("a", task=spend).task("b", task=spend, after="a")
        child = child.task("c", task=spend, after="b")
        parent = WorkflowBuilder("parent", budget=Budget(tokens=100)).sub_workflow("sub", "child")
        self.parent, self.child = app.add(parent.build()), app.add(child.build())


async def cli(d, tmp_path, *arguments: str, code: int = 0) -> str:
    """What the command line says, on both channels."""
    said = tmp_path / "said"
    with program(d.broker, *arguments, output=said) as process:
        assert await asyncio.to_thread(process.wait, 30) == code, said.read_text()
    return said.read_text()


async def ended(handle) -> str:
    """How a run ends for its budget."""
    with pytest.raises(BudgetExceeded) as caught:
        await handle.result(20)
    return caught.value.reason


@pytest.mark.parametrize("schedulers", [1, 2])
async def test_a_loop_ends_and_goes_on(schedulers, tmp_path):
    """Its calls count; what was called is not called again; the command line raises and explains."""
    work = Work()
    async with deployment(work.app, schedulers=schedulers) as d:
        handle = await work.think.start(40)
        assert 'step "think" is used up: 120 tokens used of 100 tokens' in await ended(handle)
        said = await cli(d, tmp_path, "run", "explain", handle.run_id)
        assert "the run: the budget of step" in said
        shown = json.loads(await cli(d, tmp_path, "run", "status", handle.run_id, "--json"))
        assert (shown["status"], shown["usage"]["input_tokens"]) == ("budget_exceeded", 120)
        assert "120 tokens" in await cli(d, tmp_path, "run", "status", handle.run_id)
        with pytest.raises(RequestError, match="run raise"):
            await handle.retry()
        little = await cli(d, tmp_path, "run", "raise", handle.run_id, "--tokens", "5", code=2)
        assert "give at least 20 tokens" in little
        raised = await cli(
            d, tmp_path, "run", "raise", handle.run_id, "--tokens", "60", "--by", "ada"
        )
        assert "goes on" in raised
        assert await handle.result(20) == 4
        assert len(work.ran) == 4
        assert any("ada" in bytes(event.data).decode() for event in await handle.history())
        with pytest.raises(RequestError, match="completed"):
            await handle.raise_budget(tokens=5)


async def test_a_child_counts_for_its_parent():
    """It is bounded by what was left; the parent ends, and the child with it."""
    work = Work()
    async with deployment(work.app) as d:
        await d.client.register(work.child)
        handle = await d.client.start(work.parent, 60)
        assert "tokens used of 100 tokens" in await ended(handle)
        assert [left for *_, left in work.ran][:2] == [100, 40]
        status = await handle.status()
        child = d.client.handle(status.steps[0].child_run_id)
        await eventually(lambda: _closed(child))
        before = len(work.ran)  # the child may have begun one more step before it was stopped
        await handle.raise_budget(tokens=400)
        assert await handle.result(20) == 60
        assert len(work.ran) == before + 3
        await eventually(lambda: _used(handle, 60 * len(work.ran)))


async def test_a_raise_reaches_the_children_that_are_under_way():
    """The child began with less than it needs."""
    work = Work()
    work.gate.clear()
    async with deployment(work.app) as d:
        await d.client.register(work.child)
        handle = await d.client.start(work.parent, 80)
        await eventually(lambda: _used(handle, 80))
        await handle.raise_budget(tokens=150)
        work.gate.set()
        assert await handle.result(20) == 80
        assert (await handle.status()).usage.input_tokens == 240


async def test_a_report_that_comes_after_the_end_is_told_on():
    """The child has ended, and its scheduler let go of it: its parent hears of it all the same."""
    work = Work()
    async with deployment(work.app) as d:
        await d.client.register(work.child)
        handle = await d.client.start(work.parent, 10)
        assert await handle.result(20) == 10
        child = (await handle.status()).steps[0].child_run_id
        nonce = (await d.dispatch(child, "c/1/0"))["nonce"]
        late = {
            "type": "usage.reported",
            "ticket": "c/1/0",
            "nonce": nonce,
            "n": 1,
            "input_tokens": 5,
        }
        await d.forge(child, "worker", late, f"{child}/c/1/0:used:1")
        await eventually(lambda: _used(handle, 35))


async def _closed(handle) -> bool:
    return (await handle.status()).status in ("budget_exceeded", "cancelled", "completed")


async def test_a_ticket_that_is_run_twice_counts_once():
    """Its worker lost the lease in the middle, after it had reported."""
    work = Work()
    work.gate.clear()
    async with deployment(work.app, workers=0) as d:
        lost = await d.add_worker(work.app, lease_ms=1_000)
        handle = await work.spend.start(30, budget=Budget(usd=2))
        await eventually(lambda: work.ran)
        await eventually(lambda: _used(handle, 30))
        await lost.kill()
        work.gate.set()
        await d.add_worker(work.app)
        assert await handle.result(60) == 30
        assert len(work.ran) == 2
        usage = (await handle.status()).usage
        assert (usage.reports, usage.input_tokens, usage.usd) == (1, 30, 0.5)


async def _used(handle, tokens: int) -> bool:
    usage = (await handle.status()).usage
    return usage is not None and usage.input_tokens == tokens


async def test_a_handler_that_goes_on_is_told():
    """The report after the one that was too much raises; the handler returns what it has."""
    app = App("greedy")

    @app.task
    async def greedy(ctx: Context, n: int) -> list:
        said = []
        try:
            for _ in range(n):
                await ctx.report_usage(output_tokens=60)
                said.append((ctx.budget.tokens, ctx.budget.low, ctx.budget.exceeded))
        except BudgetExceeded:
            return said
        return ["never told"]

    async with deployment(app):
        handle = await greedy.start(5, budget=Budget(tokens=100, soft=0.5))
        assert await handle.result(20) == [[40, True, False], [-20, True, True]]


async def test_time_is_over_and_what_is_no_amount_is_refused(tmp_path):
    """The wall budget of a start ends a handler that does not end itself; bad reports fail in the handler."""
    app = App("slow")

    @app.task(retry=1)
    async def slow(ctx: Context, tokens: int) -> str:
        if tokens < 0:
            with pytest.raises(InvalidInput, match="input_tokens=-1"):
                await ctx.report_usage(input_tokens=-1)
            return "refused"
        await asyncio.Event().wait()
        return "never"

    async with deployment(app) as d:
        assert await (await slow.start(-1)).result(20) == "refused"
        handle = await slow.start(1, budget=Budget(wall="300ms"))
        await eventually(lambda: _over(d, handle.run_id))
        assert (await handle.status()).status == "running"  # it may finish, for a while
        bad = await cli(d, tmp_path, "run", "start", "slow", "1", "--budget", "usd=-1", code=2)
        assert "usd" in bad
        await handle.cancel()


async def _over(d, run_id: str) -> bool:
    return (await d.client.run(run_id)).over is not None


async def test_what_runs_have_used_is_added_up(tmp_path):
    """By model, workflow, tenant and run; of runs that have ended and of one that is under way."""
    work = Work()
    async with deployment(work.app) as d:
        for tenant, tokens in (("acme", 10), ("acme", 20), ("zeta", 5)):
            handle = await work.spend.start(tokens, metadata={"tenant": tenant})
            await handle.result(20)
        work.gate.clear()
        open_run = await work.spend.start(7, metadata={"tenant": "zeta"})
        await eventually(lambda: _used(open_run, 7))
        by = {key: await d.client.usage(by=key) for key in ("model", "workflow", "tenant", "run")}
        sums = {
            key: [(row.name, row.runs, row.input_tokens, row.usd) for row in rows]
            for key, rows in by.items()
        }
        assert sums["model"] == [("m", 4, 42, 2)]
        assert sums["workflow"] == [("spend", 4, 42, 2)]
        assert sums["tenant"] == [("acme", 2, 30, 1), ("zeta", 2, 12, 1)]
        assert (open_run.run_id, 1, 7, 0.5) in sums["run"]
        assert await d.client.usage(workflow="other") == []
        said = await cli(d, tmp_path, "usage", "--by", "tenant")
        assert said.split()[-12:-6] == ["acme", "2", "2", "30", "0", "1.0000"]
        with pytest.raises(InvalidInput, match="use one of"):
            await d.client.usage(by="color")
        work.gate.set()
        await open_run.result(20)
