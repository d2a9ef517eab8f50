"""Scenarios, section 17: recovery and idempotency.

Left out, with the feature it belongs to: S379 (retention). Processes are killed twice over: in this
process (``kill`` cuts the connection and drops everything in memory), and for real, by SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from dagnats import (
    AgentContext,
    App,
    Continue,
    RunCancelled,
    RunNotFound,
    WorkflowBuilder,
)
from dagnats.errors import RunAlreadyStarted
from dagnats.ports import Append
from dagnats.wire import subjects
from tests.support.deployment import deployment, eventually, holds_for

CRASH_APP = str(Path(__file__).with_name("crash_app.py"))


def adding(app: App):
    """A workflow of three steps."""

    @app.task
    async def add(n: int) -> int:
        return n + 1

    flow = WorkflowBuilder("adding").task("a", task=add).task("b", task=add, after="a")
    return app.add(flow.task("c", task=add, after="b").build())


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_s361_a_restart_does_nothing_with_finished_runs(end):
    """After a restart with 100 completed runs in the log not one message more is written."""
    app = App("s361")
    flow = adding(app)
    async with deployment(app) as d:
        handles = [await d.client.start(flow, number) for number in range(100)]
        assert [await handle.result(20) for handle in handles] == [
            number + 3 for number in range(100)
        ]
        before = [await handle.status() for handle in handles[::10]]
        await getattr(d.schedulers[0], end)()
        stored = [
            (await d.state(stream))["last_seq"]
            for stream in (subjects.EVENTS, subjects.TASKS, subjects.DEAD)
        ]
        await d.add_scheduler()
        late = await d.client.start(flow, 7)
        assert await late.result(10) == 10, "the new scheduler works"
        after = [
            (await d.state(stream))["last_seq"]
            for stream in (subjects.EVENTS, subjects.TASKS, subjects.DEAD)
        ]
        own = len(await late.history())
        assert [after[0] - own, after[1] - 3, after[2]] == stored
        assert [await handle.status() for handle in handles[::10]] == before


async def test_s363_an_answer_for_a_finished_run_changes_nothing():
    """A true answer that comes after the end is kept in the log and has no consequence."""
    app = App("s363")
    flow = adding(app)
    async with deployment(app) as d:
        handle = await d.client.start(flow, 1)
        assert await handle.result(10) == 4
        view = await handle.status()
        ticket = await d.dispatch(handle.run_id, "a/1/0")
        answer = {
            "type": "step.succeeded",
            "ticket": "a/1/0",
            "nonce": ticket["nonce"],
            "output": 99,
        }
        await d.forge(handle.run_id, "worker", answer)
        length = len(await handle.history())
        assert await (await d.client.start(flow, 2)).result(10) == 5

        async def unchanged():
            return len(await handle.history()) == length

        await holds_for(0.5, unchanged)
        later = await handle.status()
        assert (later.status, later.output, later.steps, later.completed_at) == (
            view.status, view.output, view.steps, view.completed_at,
        )  # fmt: skip
        assert await d.dead() == []


async def test_s363_an_answer_without_the_proof_of_its_ticket_is_refused():
    """An answer with a wrong nonce, or none, goes to the dead letters; with the right one it counts."""
    app = App("s363-forged")
    flow = adding(app)
    async with deployment(app, workers=0) as d:
        handle = await d.client.start(flow, 1)
        ticket = await d.dispatch(handle.run_id, "a/1/0")
        answer = {"type": "step.succeeded", "ticket": "a/1/0", "output": 99}
        for forged in ({}, {"nonce": ""}, {"nonce": "0" * len(ticket["nonce"])}):
            await d.forge(handle.run_id, "worker", {**answer, **forged})

        async def refused():
            return len(await d.dead()) == 3

        await eventually(refused)
        assert (await handle.status()).steps[0].status == "queued"
        await d.forge(handle.run_id, "worker", {**answer, "nonce": ticket["nonce"]})
        assert (await d.dispatch(handle.run_id, "b/1/0"))["input"] == 99


async def test_s365_a_start_that_is_stored_twice_is_one_run():
    """The same start event again, as after the duplicate window, starts nothing; nor does a second start."""
    app, calls = App("s365"), []

    @app.task
    async def work(n: int) -> int:
        calls.append(n)
        return n

    async with deployment(app) as d:
        handle = await work.start(1, id="only-once")
        assert await handle.result(10) == 1
        start = (await d.outside.log.history("only-once"))[0]
        assert start.subject.endswith(".client")
        await d.forge("only-once", "client", start.payload, msg_id="another-id")
        with pytest.raises(RunAlreadyStarted):
            await work.start(2, id="only-once")
        assert await (await work.start(3)).result(10) == 3
        types = [event.type for event in await handle.history()]
        assert types.count("run.started") == 2
        assert types.count("step.dispatched") == 1
        assert calls == [1, 3]


async def test_s365_an_idempotency_key_gives_the_first_run():
    """A second start with the same key gives the handle of the first run, finished or not."""
    app, calls = App("s365-key"), []

    @app.task
    async def work(n: int) -> int:
        calls.append(n)
        return n

    async with deployment(app):
        first = await work.start(1, idempotency_key="order 7")
        second = await work.start(2, idempotency_key="order 7")
        assert await second.result(10) == 1
        third = await work.start(3, idempotency_key="order 7")
        assert await third.result(10) == 1
        assert first.run_id == second.run_id == third.run_id
        assert calls == [1]


async def test_s367_what_comes_after_cancel_is_ignored():
    """A start, an answer and a Continue that arrive for a cancelled run leave it cancelled."""
    app, calls, busy = App("s367"), [], asyncio.Event()

    @app.agent_loop(max_iterations=5)
    async def loop(ctx: AgentContext[int]) -> int | Continue:
        calls.append(ctx.iteration)
        if ctx.iteration == 1:
            busy.set()
            await asyncio.sleep(60)
        return Continue(1)

    async with deployment(app) as d:
        handle = await loop.start()
        await asyncio.wait_for(busy.wait(), 10)
        ticket = await d.dispatch(handle.run_id, "loop/1/1")
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(10)
        proof = {"ticket": "loop/1/1", "nonce": ticket["nonce"]}
        await d.forge(handle.run_id, "worker", {"type": "step.continued", "checkpoint": 2, **proof})
        await d.forge(handle.run_id, "worker", {"type": "step.succeeded", "output": 3, **proof})
        view = await handle.status()
        start = {"type": "run.started", "workflow": "loop", "definition": view.definition}
        await d.forge(handle.run_id, "client", start)
        await holds_for(0.5, lambda: calls == [0, 1])
        later = await handle.status()
        assert (later.status, later.steps) == ("cancelled", view.steps)
        assert [e.type for e in await handle.history()].count("run.closed") == 1


GARBAGE = [
    b"",
    os.urandom(64),
    b"{}",
    b"null",
    b"[1,2]",
    b'{"type":"run.exploded"}',
    b'{"type":"run.started"}',
    b"\xff\xfe{",
]


async def test_s369_garbage_on_every_subject_hurts_nobody():
    """Random bytes, {}, unknown types and unknown runs are put aside on every subject; work goes on."""
    app = App("s369")
    flow = adding(app)
    async with deployment(app, partitions=1) as d:
        handle = await d.client.start(flow, 1, id="before")
        assert await handle.result(10) == 4
        targets = [
            subjects.fact(0, run, author)
            for run in ("before", "ghost")
            for author in ("client", "worker", "timer", "scheduler", "odd")
        ]
        targets += [
            "dagnats.task.0.ghost.add._",
            "dagnats.mark.0.ghost.closed",
            "dagnats.dead.add.ghost.a",
        ]
        targets += ["dagnats.stream.ghost.a.1-0", "dagnats.event.ghost", "dagnats.fact.0.odd"]
        for subject in targets:
            await d.outside.log.append([Append(subject, body) for body in GARBAGE])
        for name in ("dagnats.live.cancelled", "dagnats.ask.ghost"):
            for body in GARBAGE:
                await d.outside.notices.tell(name, body)
        assert await (await d.client.start(flow, 5)).result(10) == 8
        assert await handle.result(1) == 4
        assert (await handle.status()).status == "completed"

        async def settled():
            feeds = [
                c for c in await d.consumers(subjects.EVENTS) if c["name"].startswith("scheduler")
            ]
            queue = (await d.state(subjects.TASKS))["messages"]
            return queue == 0 and all(
                c["num_ack_pending"] == 0 and c["num_pending"] == 0 for c in feeds
            )

        await eventually(settled)
        poison = [m for m in await d.dead() if m.subject.startswith("dagnats.dead.poison.")]
        facts = [t for t in targets if t.startswith("dagnats.fact.0.")]
        assert len(poison) >= len(facts) * (len(GARBAGE) - 1)


async def test_s371_a_lost_ticket_is_dispatched_again():
    """A ticket that is in force and not in the queue any more comes back by itself."""
    app = App("s371")

    @app.task
    async def work(n: int) -> int:
        return n

    async with deployment(app, workers=0) as d:
        handle = await work.start(1)
        await d.dispatch(handle.run_id, "work/1/0")

        async def queued():
            return (await d.state(subjects.TASKS))["messages"] == 1

        await eventually(queued)
        await d.outside.queue.purge_run(handle.run_id)
        await d.schedulers[0].kill()
        await d.add_scheduler(reconcile_ms=500)
        await d.add_worker()
        assert await (await work.start(2)).result(10) == 2, "others are served"
        assert await handle.result(10) == 1


async def test_s377_a_long_backlog_is_worked_off_without_redelivery():
    """Behind 2,500 starts, 5,000 facts in all, each is delivered exactly once and nothing is given up."""
    app, runs = App("s377"), 2_500

    @app.task
    async def work(n: int) -> int:
        await asyncio.sleep(0.02)
        return n

    async with deployment(app, schedulers=0, workers=0) as d:
        handles = []
        for first in range(0, runs, 500):
            handles += await asyncio.gather(*(work.start(n) for n in range(first, first + 500)))
        await d.add_scheduler()
        await d.add_worker(concurrency=50)
        assert await asyncio.gather(*(handle.result(60) for handle in handles)) == [
            n for first in range(0, runs, 500) for n in range(first, first + 500)
        ]
        facts = [c for c in await d.consumers(subjects.EVENTS) if c["name"].startswith("scheduler")]
        tickets = await d.consumers(subjects.TASKS)
        assert sum(c["delivered"]["consumer_seq"] for c in facts) == 2 * runs
        assert sum(c["delivered"]["consumer_seq"] for c in tickets) == runs
        assert await d.dead() == []


async def test_s381_an_unknown_run_is_not_found():
    """Every question about a run that never was raises RunNotFound; with the server away another error."""
    app = App("s381")
    adding(app)
    async with deployment(app) as d:
        handle = d.client.handle("never-started")
        for question in (handle.status, handle.history, handle.cancel, handle.output):
            with pytest.raises(RunNotFound, match="never-started"):
                await question()
        with pytest.raises(RunNotFound):
            await handle.result(5)
        with pytest.raises(RunNotFound):
            await d.client.find("deadbeef")
