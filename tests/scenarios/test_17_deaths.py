"""Scenarios, section 17, where processes die: for real, by SIGKILL, and in this process (its connection is cut)."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import pytest

from dagnats import (
    App,
    Context,
    Retry,
    RunFailed,
    WorkflowBuilder,
)
from dagnats.wire import subjects
from dagnats.worker import tickets
from tests.support.deployment import deployment, eventually, program

CRASH_APP = str(Path(__file__).with_name("crash_app.py"))


def adding(app: App):
    """A workflow of three steps."""

    @app.task
    async def add(n: int) -> int:
        return n + 1

    flow = WorkflowBuilder("adding").task("a", task=add).task("b", task=add, after="a")
    return app.add(flow.task("c", task=add, after="b").build())


async def test_s373_kills_under_load_lose_nothing():
    """Scheduler and worker die again and again under 200 runs; all complete, each step's answer counted once."""
    app, effects = App("s373"), []

    @app.task
    async def work(ctx: Context, n: int) -> int:
        effects.append((ctx.run_id, ctx.step_id))
        await asyncio.sleep(0.01)
        return n + 1

    flow = WorkflowBuilder("loaded")
    for number in range(5):
        flow = flow.task(f"s{number}", task=work, **({"after": f"s{number - 1}"} if number else {}))
    definition = flow.build()
    async with deployment(app, lease_ms=1_000, concurrency=10) as d:
        handles = [await d.client.start(definition, number) for number in range(200)]
        for floor in (100, 300, 500):
            await eventually(lambda floor=floor: len(effects) > floor, 30)
            await d.schedulers[-1].kill()
            await d.workers[-1].kill()
            await d.add_scheduler()
            await d.add_worker(lease_ms=1_000, concurrency=10)
        assert [await handle.result(60) for handle in handles] == [
            number + 5 for number in range(200)
        ]
        for handle in handles[::20]:
            types = [e.type for e in await handle.history()]
            assert types.count("step.dispatched") == 5
            assert types.count("run.closed") == 1
        assert await d.dead() == []
    assert len(set(effects)) == 1000
    assert len(effects) <= 1000 + 3 * 10, "only what was running when a worker died ran twice"


@pytest.mark.faults
@pytest.mark.skipif(
    importlib.util.find_spec("dagnats.cli.scheduler") is None, reason="no command line yet"
)
async def test_s373_sigkill_under_load_loses_nothing(broker, tmp_path):
    """The same with real processes of the command line, killed by SIGKILL."""
    record = tmp_path / "effects"
    environment = {"CRASH_RECORD": str(record), "DAGNATS_LEASE": "1s"}

    def done() -> int:
        return record.read_text().count("\n") if record.exists() else 0

    app = App("client")
    async with deployment(app, broker=broker, schedulers=0, workers=0) as d:
        steps = [
            {"id": f"s{n}", "task": "crash_add", **({"depends_on": [f"s{n - 1}"]} if n else {})}
            for n in range(5)
        ]
        await d.register({"name": "crash", "steps": steps})
        handles = [await d.client.start("crash", number) for number in range(200)]
        for floor in (100, 300):
            with (
                program(broker, "scheduler", **environment),
                program(broker, "worker", CRASH_APP, "--concurrency", "10", **environment),
            ):
                await eventually(lambda floor=floor: done() > floor, 30)
        with (
            program(broker, "scheduler", **environment),
            program(broker, "worker", CRASH_APP, **environment),
        ):
            assert [await handle.result(60) for handle in handles] == [
                number + 5 for number in range(200)
            ]
        assert await d.dead() == []
    effects = record.read_text().split()
    assert len(set(effects)) == 1000
    assert len(effects) <= 1000 + 2 * 10


async def test_s375_a_second_scheduler_takes_over():
    """Of two schedulers one dies; its runs go on with the other, at the latest when its lease is over."""
    app = App("s375")
    flow = adding(app)
    async with deployment(app, schedulers=2) as d:
        await eventually(lambda: all(len(s.service.partitions) == 2 for s in d.schedulers))
        lost = set(d.schedulers[0].service.partitions)
        ids = [
            name for name in (f"run-{number}" for number in range(40)) if d.partition(name) in lost
        ]
        await d.schedulers[0].kill()
        handles = [await d.client.start(flow, 1, id=name) for name in ids]
        assert len(handles) > 5
        assert [await handle.result(30) for handle in handles] == [4] * len(handles)
        await eventually(lambda: len(d.schedulers[1].service.partitions) == 4)


async def test_s375_a_scheduler_that_stops_hands_over_at_once():
    """A scheduler that leaves in good order gives its partitions up without a wait for its lease."""
    app = App("s375-stop")
    flow = adding(app)
    async with deployment(app, schedulers=2) as d:
        await eventually(lambda: all(len(s.service.partitions) == 2 for s in d.schedulers))
        await d.schedulers[0].stop()
        handles = [await d.client.start(flow, number) for number in range(20)]
        assert [await handle.result(20) for handle in handles] == [
            number + 3 for number in range(20)
        ]


async def test_an_answer_stored_before_the_worker_died_is_not_given_again():
    """A worker that dies between its answer and its acknowledgement: the ticket comes again and is not run."""
    app, calls = App("answered"), []

    @app.task
    async def work() -> str:
        calls.append(1)
        return "once"

    async with deployment(app, lease_ms=1_000) as d:
        lost = []

        async def lose(reply: str) -> None:
            lost.append(reply)

        d.workers[0].outside.queue.done = lose
        handle = await work.start()
        assert await handle.result(10) == "once"
        await eventually(lambda: lost)
        await d.workers[0].kill()
        second = await d.add_worker(lease_ms=1_000)
        await eventually(lambda: second.service.tickets.skipped == 1)

        async def empty():
            return (await d.state(subjects.TASKS))["messages"] == 0

        await eventually(empty)
        assert calls == [1]


async def test_the_server_dies_under_load_and_everything_goes_on():
    """nats-server is killed and started again: processes wait for it, and every run completes."""
    app, calls = App("server"), []

    @app.task(retry=Retry(2))
    async def work(n: int) -> int:
        calls.append(n)
        await asyncio.sleep(0.01)
        return n + 1

    flow = WorkflowBuilder("long").task("s0", task=work)
    for number in range(1, 10):
        flow = flow.task(f"s{number}", task=work, after=f"s{number - 1}")
    definition = flow.build()
    async with deployment(app, lease_ms=2_000) as d:
        handles = [await d.client.start(definition, number) for number in range(50)]
        await eventually(lambda: len(calls) > 50)
        d.broker.kill()
        await asyncio.sleep(0.5)
        d.broker.start()
        assert [await handle.result(60) for handle in handles] == [
            number + 10 for number in range(50)
        ]


async def test_a_worker_that_keeps_dying_is_told_as_such(monkeypatch):
    """A ticket whose workers die again and again fails its step with worker_lost, not for ever anew."""
    app, calls = App("deadly"), []
    monkeypatch.setattr(tickets, "DELIVERIES_MAX", 2)

    @app.task
    async def deadly() -> None:
        calls.append(1)
        await asyncio.sleep(60)

    async with deployment(app, lease_ms=1_000) as d:
        handle = await deadly.start()
        for died in (1, 2):
            await eventually(lambda died=died: len(calls) == died)
            await d.workers[-1].kill()
            await d.add_worker(lease_ms=1_000)
        with pytest.raises(RunFailed, match="2 workers were lost") as failure:
            await handle.result(10)
        assert failure.value.failure == "worker_lost"
        assert len(calls) == 2
