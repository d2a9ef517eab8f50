"""Scenarios, section 3: agent loops.

Left out, with the features they belong to: S051 (task concurrency) and the locks of S053 (gates).
"""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

import pytest

from dagnats import AgentContext, App, Continue, Retry, RunCancelled, RunFailed
from tests.support.deployment import deployment, eventually, holds_for


async def test_s041_a_loop_carries_its_checkpoint_to_the_end():
    """Two Continues and a value are three executions, which see the checkpoints 0, 1, 2."""
    app, seen = App("s041"), []

    @app.agent_loop(max_iterations=10)
    async def think(ctx: AgentContext[int]) -> dict[str, int] | Continue:
        state = ctx.checkpoint or 0
        seen.append((ctx.iteration, ctx.attempt, state))
        return {"n": 3} if ctx.iteration == 2 else Continue(state + 1)

    async with deployment(app):
        handle = await think.start()
        assert await handle.result(10) == {"n": 3}
        step = (await handle.status()).steps[0]
        types = [event.type for event in await handle.history()]
    assert seen == [(0, 1, 0), (1, 1, 1), (2, 1, 2)]
    assert (step.status, step.iteration, step.max_iterations) == ("completed", 3, 10)
    assert types.count("step.dispatched") == 3
    assert types.count("step.continued") == 2


async def test_s043_a_loop_ends_at_its_bound():
    """A handler that always continues runs exactly max_iterations times, then the run has failed."""
    app, calls = App("s043"), []

    @app.agent_loop(max_iterations=3)
    async def endless(ctx: AgentContext[int]) -> Continue:
        calls.append(ctx.iteration)
        return Continue(ctx.iteration)

    async with deployment(app):
        handle = await endless.start()
        with pytest.raises(RunFailed, match=r"exceeded max iterations \(3\)"):
            await handle.result(10)
        view = await handle.status()
        assert (view.status, view.steps[0].status) == ("failed", "failed")
        assert view.completed_at
        assert (await handle.history())[-1].type == "run.closed"
        assert calls == [0, 1, 2]
        await holds_for(1, lambda: calls == [0, 1, 2])


async def test_s045_a_loop_pauses_between_iterations():
    """With a loop delay of 300 ms the executions are at least that far apart, checkpoint kept."""
    app, times, seen = App("s045"), [], []

    @app.agent_loop(max_iterations=5, loop_delay="300ms")
    async def slow(ctx: AgentContext[int]) -> int | Continue:
        times.append(time.monotonic())
        seen.append(ctx.checkpoint)
        return len(times) if len(times) == 3 else Continue(len(times))

    async with deployment(app):
        assert await (await slow.start()).result(10) == 3
    assert seen == [None, 1, 2]
    assert [later - sooner >= 0.3 for sooner, later in pairwise(times)] == [
        True,
        True,
    ]


async def test_s047_budget_hints_change_nothing_but_what_the_handler_reads():
    """budget_warn_at and budget_force_at reach the handler and leave the engine's course as it is."""
    app, told, events = App("s047"), [], []

    @app.agent_loop(max_iterations=9)
    async def think(ctx: AgentContext[int]) -> int | Continue:
        told.append((ctx.message.budget_warn_at, ctx.message.budget_force_at))
        return Continue(1) if ctx.iteration < 4 else ctx.iteration

    async with deployment(app) as d:
        for name, hints in (("plain", {}), ("hinted", {"budget_warn_at": 2, "budget_force_at": 3})):
            config = {"max_iterations": 9, **hints}
            step = {"id": "think", "task": "think", "type": "agent_loop", "config": config}
            await d.register({"name": name, "steps": [step]})
            handle = await d.client.start(name)
            assert await handle.result(10) == 4
            events.append([(e.type, e.iteration) for e in await handle.history()])
    assert told == [(0, 0)] * 5 + [(2, 3)] * 5
    assert events[0] == events[1]


async def test_s049_a_continue_after_cancel_starts_nothing():
    """Cancelled during iteration 2, a handler that answers Continue all the same has no third one."""
    app, iterations, blocked, release = App("s049"), [], asyncio.Event(), asyncio.Event()

    @app.agent_loop(max_iterations=50)
    async def stubborn(ctx: AgentContext[int]) -> Continue:
        iterations.append(ctx.iteration)
        if ctx.iteration == 2:
            blocked.set()
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
        return Continue(ctx.iteration)

    async with deployment(app):
        handle = await stubborn.start()
        await asyncio.wait_for(blocked.wait(), 10)
        assert await handle.cancel("enough")
        with pytest.raises(RunCancelled, match="enough"):
            await handle.result(10)
        release.set()
        await holds_for(1, lambda: iterations == [0, 1, 2])
        view = await handle.status()
        assert (view.status, view.steps[0].status) == ("cancelled", "cancelled")


async def test_s053_a_loop_beyond_its_bound_leaves_one_dead_letter():
    """The work of a loop that was given up is kept once, with its last checkpoint, when the run has failed."""
    app = App("s053")

    @app.agent_loop(max_iterations=2)
    async def endless(ctx: AgentContext[str], goal: str) -> Continue:
        return Continue(f"after {ctx.iteration}")

    async with deployment(app) as d:
        handle = await endless.start("fix it")
        with pytest.raises(RunFailed):
            await handle.result(10)
        [letter] = await d.dead()
        assert letter.subject == f"dagnats.dead.endless.{handle.run_id}.endless"
        assert b"fix it" in letter.body
        assert b"after 0" in letter.body


async def test_a_failed_iteration_is_retried_alone():
    """A failure in iteration 1 repeats iteration 1 with its checkpoint; each iteration has all its attempts."""
    app, seen = App("retried-iteration"), []

    @app.agent_loop(max_iterations=5, retry=Retry(2, delay="10ms"))
    async def shaky(ctx: AgentContext[str]) -> str | Continue:
        seen.append((ctx.iteration, ctx.attempt, ctx.checkpoint))
        if ctx.attempt == 1:
            raise OSError("again")
        return "done" if ctx.iteration == 1 else Continue("kept")

    async with deployment(app):
        assert await (await shaky.start()).result(10) == "done"
    assert seen == [(0, 1, None), (0, 2, None), (1, 1, "kept"), (1, 2, "kept")]


async def test_a_loop_ends_when_its_time_is_over():
    """max_duration ends a loop whose handler hangs, as a failure that names the bound."""
    app, begun = App("max-duration"), asyncio.Event()

    @app.agent_loop(max_iterations=50, max_duration="400ms")
    async def hang() -> Continue:
        begun.set()
        await asyncio.sleep(60)
        return Continue()

    async with deployment(app):
        handle = await hang.start()
        with pytest.raises(RunFailed, match=r"max duration|timeout"):
            await handle.result(10)
        assert begun.is_set()


async def test_s041_holds_across_the_death_of_a_worker():
    """A worker that dies in an iteration costs that execution only: the next goes on from the checkpoint."""
    app, seen, blocked = App("loop-crash"), [], asyncio.Event()

    @app.agent_loop(max_iterations=5)
    async def think(ctx: AgentContext[int]) -> int | Continue:
        seen.append((ctx.iteration, ctx.checkpoint))
        if ctx.iteration == 1 and not blocked.is_set():
            blocked.set()
            await asyncio.sleep(60)
        return 7 if ctx.iteration == 2 else Continue((ctx.checkpoint or 0) + 1)

    async with deployment(app, lease_ms=1_000) as d:
        handle = await think.start()
        await eventually(blocked.is_set)
        await d.workers[0].kill()
        await d.add_worker(lease_ms=1_000)
        assert await handle.result(10) == 7
        attempts = [
            (e.attempt, e.iteration) for e in await handle.history() if e.type == "step.dispatched"
        ]
    assert seen == [(0, None), (1, 1), (1, 1), (2, 2)]
    assert attempts == [(1, 0), (1, 1), (1, 2)], "a lost worker is no attempt of the policy"
