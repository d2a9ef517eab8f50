"""Scenarios, section 18: singleton handlers (S403).

Left out, with the feature it belongs to: handlers that are sequential for each key (partitions).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dagnats import App
from dagnats.errors import BrokerUnsuitable
from dagnats.registry import Registry
from dagnats.wire import subjects
from tests.support.deployment import deployment, eventually, holds_for
from tests.support.processes import fleet

ROUTING_APP = str(Path(__file__).with_name("routing_app.py"))


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_s403_one_execution_at_a_time_over_three_workers(kind):
    """Whatever the concurrency: the next begins when the one before has ended, on any worker."""
    now, most, used = [0], [0], set()
    apps = [App(f"s403-{number}") for number in range(3)]

    def serve(app: App) -> None:
        def begun() -> None:
            used.add(app.name)
            now[0] += 1
            most[0] = max(most[0], now[0])

        @app.task(name="async", singleton=True)
        async def on_loop(n: int) -> int:
            begun()
            await asyncio.sleep(0.01)
            now[0] -= 1
            return n

        @app.task(name="thread", singleton=True)
        def in_thread(n: int) -> int:
            begun()
            now[0] -= 1
            return n

        @app.task
        async def several() -> str:
            return "beside it"

    for app in apps:
        serve(app)
    async with deployment(apps[0], workers=0) as d:
        for app in apps:
            await d.add_worker(app)
        handles = [await apps[0].tasks[kind].start(number) for number in range(60)]
        assert await (await apps[0].tasks["several"].start()).result(10) == "beside it"
        assert [await handle.result(30) for handle in handles] == list(range(60))
    assert most == [1]
    assert len(used) > 1


@pytest.mark.faults
async def test_s403_with_three_processes(broker, tmp_path):
    """The record shows one beginning and its end after the other."""
    record = tmp_path / "record"
    async with (
        fleet(broker, tmp_path, app=ROUTING_APP, workers=3, ROUTING_RECORD=str(record)),
        deployment(App("client"), broker=broker, partitions=16, schedulers=0, workers=0) as d,
    ):
        handles = [await d.client.start("alone", number) for number in range(40)]
        assert [await handle.result(60) for handle in handles] == list(range(40))
    lines = [line.split() for line in record.read_text().splitlines()]
    begins, ends = lines[::2], lines[1::2]
    assert all(line[0] == "begin" for line in begins)
    assert [line[1:] for line in begins] == [line[1:] for line in ends]
    assert len({pid for _, _, pid in lines}) > 1


async def test_s403_a_killed_holders_ticket_comes_back_and_nobody_runs_meanwhile():
    """Until its lease is over the others wait; then its ticket runs first."""
    ran = []
    apps = [App("holder"), App("heir")]

    def serve(app: App) -> None:
        @app.task(singleton=True)
        async def alone(n: int) -> int:
            ran.append((app.name, n))
            if app.name == "holder":
                await asyncio.sleep(60)
            return n

    for app in apps:
        serve(app)
    async with deployment(apps[0], workers=0) as d:
        await d.add_worker(apps[0], lease_ms=2_000)
        first = await apps[0].tasks["alone"].start(1)
        await eventually(lambda: ran)
        await d.add_worker(apps[1], lease_ms=2_000)
        second = await apps[0].tasks["alone"].start(2)
        await d.workers[0].kill()
        await holds_for(1, lambda: len(ran) == 1)
        assert (await first.result(10), await second.result(10)) == (1, 2)
    assert ran == [("holder", 1), ("heir", 1), ("heir", 2)]


@pytest.mark.parametrize("first", [True, False])
async def test_s403_workers_that_disagree_are_told(first):
    """Who starts second and takes the task the other way is refused, with what to do."""

    def app(*, singleton: bool) -> App:
        made = App("disagree")

        @made.task(singleton=singleton)
        async def work() -> str:
            return "done"

        return made

    one, other = app(singleton=first), app(singleton=not first)
    async with deployment(one) as d:
        with pytest.raises(BrokerUnsuitable, match=r"task work is .* stop them first"):
            await d.add_worker(other)
        d.workers.pop()
        assert await (await one.tasks["work"].start()).result(10) == "done"
        await d.workers[0].stop()

        async def joined() -> bool:
            try:
                await d.add_worker(other)
            except BrokerUnsuitable:
                d.workers.pop()
                return False
            return True

        await eventually(joined)  # the server forgets the requests of those who left
        assert await (await one.tasks["work"].start()).result(10) == "done"


async def test_s403_the_hint_of_a_file_is_accepted_and_kept():
    """``singleton`` of a step changes nothing by itself, and is written back."""
    file = {"name": "w", "steps": [{"id": "a", "task": "t", "singleton": True}], "sticky": "soft"}
    async with deployment(App("hint"), schedulers=0, workers=0) as d:
        digest = await d.register(file)
        graph = await Registry(d.outside.documents(subjects.DEFINITIONS)).graph(digest)
        kept = graph.workflow
        assert kept.steps[0].singleton
        assert kept.sticky == "soft"
