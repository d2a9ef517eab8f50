"""Finished runs leave the log: everything that can be asked of a run goes on to work, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from dagnats import AgentContext, App, Budget, BudgetExceeded, Client, Continue, RunFailed, archive
from dagnats.core.state import COMPLETED
from dagnats.errors import RunAlreadyStarted, SignalRefused
from dagnats.limits import OFFLOAD_SIZE_BYTES
from dagnats.scheduler.archiver import Retention
from dagnats.wire import subjects
from tests.support.deployment import Deployment, deployment, eventually

pytestmark = [pytest.mark.faults]

NOW = Retention(after_ms=1, every_ms=20, pause_ms=0)


def made() -> App:
    """An app with a flow that adds, one that fails until it is told not to, and a parent that does not wait."""
    app = App("archived")
    state = {"broken": True, "held": asyncio.Event()}

    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    @app.task
    async def large(size: int) -> str:
        return "x" * size

    @app.task
    async def fragile(n: int) -> int:
        if state["broken"]:
            raise ValueError("it is broken")
        return n

    @app.task
    async def held(n: int) -> int:
        await state["held"].wait()
        return n

    @app.agent_loop(max_iterations=5, budget=Budget(tokens=10))
    async def spend(ctx: AgentContext[int], tokens: int) -> int | Continue[int]:
        await ctx.report_usage(input_tokens=tokens, usd=0.5, model="m")
        turns = (ctx.checkpoint or 0) + 1
        return turns if turns == 3 else Continue(turns)

    @app.workflow
    def sum_of(a: int, b: int):
        return add(add(a, b), 1)

    @app.workflow
    def big(size: int):
        return large(size)

    @app.workflow
    def breaks(n: int):
        return fragile(add(n, 1))

    @app.workflow
    def child(n: int):
        return held(n)

    @app.workflow
    def parent(n: int):
        first = add(n, 1)
        child(n, detach=True, after=first)
        return first

    app.state = state
    return app


@asynccontextmanager
async def archiving(retention: Retention = NOW, **options) -> AsyncIterator[Deployment]:
    """A deployment whose scheduler moves runs as soon as they have ended."""
    async with deployment(made(), schedulers=0, **options) as d:
        await d.add_scheduler(retention=retention)
        for workflow in d.app.workflows().values():
            await d.client.register(workflow)
        yield d


async def test_a_budget_is_raised_and_counted_in_the_archive():
    """The run goes on from its checkpoint; what was used is added up wherever the run is."""
    async with archiving() as d:
        handle = await d.client.start("spend", 6, metadata={"tenant": "acme"})
        with pytest.raises(BudgetExceeded):
            await handle.result(10)
        await archived(d, handle.run_id)
        for by, name in (("model", "m"), ("tenant", "acme"), ("run", handle.run_id)):
            [row] = await d.client.usage(by=by)
            assert (row.name, row.runs, row.reports, row.input_tokens, row.usd) == (
                name,
                1,
                2,
                12,
                1,
            )
        assert await d.client.usage(workflow="other") == []
        await handle.raise_budget(tokens=10, by="ada")
        assert await handle.result(10) == 3
        await archived(d, handle.run_id)
        [row] = await d.client.usage()
        assert (row.name, row.runs, row.input_tokens) == ("spend", 1, 18)


async def archived(d: Deployment, run: str) -> None:
    """Wait until a run has left the log."""

    async def gone() -> bool:
        return not await d.outside.log.history(run)

    await eventually(gone)
    assert await archive.find(d.outside, run)


async def test_whatever_is_asked_of_an_archived_run_is_answered():
    """Its result, state, history, events, list, reasons; it can be run anew and forked; signals are refused."""
    async with archiving() as d:
        handle = await d.client.start("sum_of", {"a": 1, "b": 2}, id="first", tags=["red"])
        assert await handle.result(10) == 4
        await archived(d, "first")
        client = Client(d.outside)
        again = client.handle("first")

        assert await again.result(5) == 4
        assert await again.output() == 4
        view = await again.status()
        assert (view.status, [step.status for step in view.steps]) == (COMPLETED, [COMPLETED] * 2)
        history = await again.history()
        assert [history[0].type, history[-1].type] == ["run.started", "run.closed"]
        assert [event async for event in again.events()] == history
        assert await again.explain() == []
        assert [row.run_id for row in (await client.runs()).runs] == ["first"]
        assert await client.find("first") == "first"
        assert not await again.cancel()
        with pytest.raises(SignalRefused):
            await again.signal("go")
        with pytest.raises(RunAlreadyStarted):
            await d.client.start("sum_of", {"a": 1, "b": 2}, id="first")
        assert await (await client.rerun("first")).result(10) == 4
        fork = await client.fork("first", view.steps[1].id, input={"a": 10, "b": 1})
        assert await fork.result(10) == 11


async def test_a_key_is_known_as_long_as_its_run():
    """A second start with the key of an archived run is that run; nothing runs again."""
    async with archiving() as d:
        first = await d.client.start("sum_of", {"a": 1, "b": 2}, idempotency_key="order-1")
        await first.result(10)
        await archived(d, first.run_id)
        second = await d.client.start("sum_of", {"a": 5, "b": 5}, idempotency_key="order-1")

        assert second.run_id == first.run_id
        assert await second.result(10) == 4
        assert await d.outside.log.history(first.run_id) == []


async def test_large_outputs_stay_with_their_run():
    """What is in the object store is found by archived runs, too."""
    async with archiving() as d:
        handle = await d.client.start("big", OFFLOAD_SIZE_BYTES + 1)
        await handle.result(10)
        await archived(d, handle.run_id)
        assert await handle.result(5) == "x" * (OFFLOAD_SIZE_BYTES + 1)


async def test_a_failed_run_goes_on_from_the_archive():
    """It is opened where it stands, completes, and moves again with its whole history."""
    async with archiving() as d:
        handle = await d.client.start("breaks", 1)
        with pytest.raises(RunFailed):
            await handle.result(10)
        await archived(d, handle.run_id)
        before = await archive.history(d.outside, handle.run_id)
        d.app.state["broken"] = False
        await d.client.retry(handle.run_id)

        assert await handle.result(10) == 2
        await archived(d, handle.run_id)
        after = await archive.history(d.outside, handle.run_id)
        assert after[: len(before)] == before
        assert (await handle.status()).status == COMPLETED
        executed = [e for e in await handle.history() if e.type == "step.succeeded"]
        assert len(executed) == 2, "what was done before was not done again"


async def test_a_parent_moves_without_its_detached_child():
    """The child is live and stays, until it ends; its parent's archive says what it was."""
    async with archiving() as d:
        parent = await d.client.start("parent", 1)
        assert await parent.result(10) == 2
        await archived(d, parent.run_id)
        [child] = [row.run_id for row in (await d.client.runs(workflow="child")).runs]
        assert await d.outside.log.history(child)
        d.app.state["held"].set()
        assert await d.client.handle(child).result(10) == 1

        await archived(d, child)
        assert await d.outside.log.history(parent.run_id) == []
        assert (await parent.status()).status == COMPLETED


async def test_a_late_fact_follows_its_run_into_the_archive():
    """Anybody may write one: it is folded, changes nothing, and does not stay in the log."""
    async with archiving() as d:
        handle = await d.client.start("sum_of", {"a": 1, "b": 2})
        await handle.result(10)
        await archived(d, handle.run_id)
        await d.forge(handle.run_id, "client", {"type": "run.cancel_requested"})
        await archived(d, handle.run_id)

        assert await handle.result(5) == 4
        assert (await handle.status()).status == COMPLETED
        assert "run.cancel_requested" in [each.type for each in await handle.history()]
        assert not await d.dead()


async def under_fire(d: Deployment, harm, seconds: float = 6.0) -> None:
    """Start and finish runs while something is done to the deployment; every run is whole at the end."""
    ends = asyncio.get_running_loop().time() + seconds
    started: dict[str, int] = {}
    live = await d.client.start("child", 7)

    async def load() -> None:
        while asyncio.get_running_loop().time() < ends:
            n = len(started)
            handle = await d.client.start("sum_of", {"a": n, "b": 0})
            started[handle.run_id] = n + 1
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        loading = group.create_task(load())
        while not loading.done():
            await asyncio.sleep(random.uniform(0.2, 0.8))
            await harm()
    assert len(started) > 20
    for run, expected in started.items():
        assert await d.client.handle(run).result(30) == expected
        await archived(d, run)
        view = await d.client.handle(run).status()
        assert [step.status for step in view.steps] == [COMPLETED] * 2
        history = await d.client.handle(run).history()
        assert len([each for each in history if each.type == "step.succeeded"]) == 2
    assert await d.outside.log.history(live.run_id), "a live run is never touched"
    d.app.state["held"].set()
    assert await live.result(10) == 7


@pytest.mark.parametrize("pause_ms", [0, 300])
async def test_schedulers_killed_while_runs_move(pause_ms):
    """Two at once, one killed every half second, another started: nothing is lost, nothing revived."""
    retention = Retention(after_ms=1, every_ms=20, pause_ms=pause_ms)
    async with archiving(retention) as d:
        await d.add_scheduler(retention=retention)

        async def kill_one() -> None:
            victim = d.schedulers.pop(random.randrange(len(d.schedulers)))
            await victim.kill()
            await d.add_scheduler(retention=retention)

        await under_fire(d, kill_one)


async def test_the_server_killed_while_runs_move():
    """SIGKILL of nats-server between any two writes or removals."""
    async with archiving() as d:

        async def kill() -> None:
            d.broker.kill()
            await asyncio.to_thread(d.broker.start)

        await under_fire(d, kill)


async def test_the_log_forgets_the_subjects_of_runs():
    """What a finished run leaves in the log: nothing, not a subject."""
    async with archiving() as d:
        handles = [await d.client.start("sum_of", {"a": n, "b": 0}) for n in range(20)]
        for handle in handles:
            await handle.result(10)
        for handle in handles:
            await archived(d, handle.run_id)
        assert (await d.state(subjects.EVENTS))["messages"] == 0
        assert (await d.state(subjects.ARCHIVED))["messages"] == 20
