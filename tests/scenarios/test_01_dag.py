"""Scenarios, section 1: DAG basics."""

from __future__ import annotations

import asyncio

from dagnats import App, WorkflowBuilder
from dagnats.builder import condition
from dagnats.wire import subjects
from tests.support.deployment import deployment, eventually


async def test_s001_two_steps_in_a_row_pass_the_output_on():
    """A chain completes, and the second step's input is exactly the first one's output."""
    app, inputs = App("s001"), []

    @app.task
    async def a() -> str:
        return "a-done"

    @app.task
    async def b(got: str) -> str:
        inputs.append(got)
        return "b-done"

    chain = app.add(WorkflowBuilder("chain").task("a").task("b", after="a").build())
    async with deployment(app) as d:
        handle = await d.client.start(chain)
        assert await handle.result(10) == "b-done"
        view = await handle.status()
    assert inputs == ["a-done"]
    assert view.status == "completed"
    assert view.completed_at
    assert {step.id: bytes(step.output) for step in view.steps} == {
        "a": b'"a-done"',
        "b": b'"b-done"',
    }


async def test_s003_a_join_runs_once_with_all_outputs():
    """A join is called once, after all its parents, with an object of their outputs."""
    app, joined = App("s003"), []

    @app.task
    async def entry(n: int) -> int:
        return n

    @app.task
    async def part(n: int) -> int:
        return n + 1

    @app.task
    async def join(parts: dict[str, int]) -> dict[str, int]:
        joined.append(parts)
        return parts

    build = WorkflowBuilder("fan").task("entry")
    for name in ("p1", "p2", "p3"):
        build = build.task(name, task=part, after="entry")
    fan = build.task("join", after=["p1", "p2", "p3"]).build()
    async with deployment(app) as d:
        assert await (await d.client.start(fan, 4)).result(10) == {"p1": 5, "p2": 5, "p3": 5}
    assert joined == [{"p1": 5, "p2": 5, "p3": 5}]


async def test_s005_every_root_receives_the_run_input():
    """A root step, and each of two, receives exactly the JSON that the run was started with."""
    app, inputs = App("s005"), []

    @app.task
    async def look(order: dict[str, int]) -> None:
        inputs.append(order)

    one = WorkflowBuilder("one").task("only", task=look).build()
    two = WorkflowBuilder("two").task("left", task=look).task("right", task=look).build()
    async with deployment(app) as d:
        await (await d.client.start(one, {"order": 7})).result(10)
        assert inputs == [{"order": 7}]
        await (await d.client.start(two, {"order": 8})).result(10)
    assert inputs[1:] == [{"order": 8}, {"order": 8}]


async def test_s007_no_join_is_lost_between_two_schedulers():
    """A hundred branches that end together join exactly once, again and again, with two schedulers."""
    app, joined = App("s007"), []

    @app.task
    async def branch(n: int) -> int:
        return n

    @app.task
    async def join(parts: dict[str, int]) -> int:
        joined.append(len(parts))
        return sum(parts.values())

    build = WorkflowBuilder("wide")
    names = [f"b{number}" for number in range(100)]
    for name in names:
        build = build.task(name, task=branch)
    wide = build.task("join", after=names).build()
    async with deployment(app, schedulers=2, concurrency=100) as d:
        await eventually(lambda: all(len(s.service.partitions) == 2 for s in d.schedulers))
        handles = [await d.client.start(wide, 1) for _ in range(20)]
        assert len({d.partition(handle.run_id) for handle in handles}) > 1
        assert [await handle.result(60) for handle in handles] == [100] * 20
        folded = [sum(p.folded for p in s.service.partitions.values()) for s in d.schedulers]
    assert joined == [100] * 20
    assert all(folded), "both schedulers had a share of the work"


async def test_s009_a_condition_decides_whether_a_step_is_skipped():
    """A step is skipped when the output it looks at says so, and runs when it says otherwise."""
    app, processed = App("s009"), []

    @app.task
    async def check(action: str) -> dict[str, str]:
        return {"action": action}

    @app.task
    async def process(found: dict[str, str]) -> str:
        processed.append(found)
        return "processed"

    guarded = (
        WorkflowBuilder("guarded")
        .task("check")
        .task("process", after="check", skip_if=condition("check", "action", "==", "skip"))
        .build()
    )
    async with deployment(app) as d:
        skipped = await d.client.start(guarded, "skip")
        await skipped.result(10)
        assert [step.status for step in (await skipped.status()).steps] == ["completed", "skipped"]
        assert processed == []
        went = await d.client.start(guarded, "go")
        assert await went.result(10) == "processed"
        assert [step.status for step in (await went.status()).steps] == ["completed", "completed"]
    assert processed == [{"action": "go"}]


async def test_s011_skips_in_a_row_do_not_stop_what_follows():
    """Two steps skipped by conditions of their own let the third run; neither is called."""
    app, calls = App("s011"), []

    @app.task
    async def note(value: object) -> str:
        calls.append(value)
        return "c-done"

    row = (
        WorkflowBuilder("row")
        .task("a", task=note, skip_if=condition("", "skip", "==", True))
        .task("b", task=note, after="a", skip_if=condition("", "skip", "==", True))
        .task("c", task=note, after="b")
        .build()
    )
    async with deployment(app) as d:
        handle = await d.client.start(row, {"skip": True})
        assert await handle.result(10) == "c-done"
        assert [step.status for step in (await handle.status()).steps] == [
            "skipped",
            "skipped",
            "completed",
        ]
    assert calls == [None], "only c was called, and a skipped parent's output is null"


async def test_s013_a_large_output_arrives_byte_for_byte():
    """An output of 200 KB reaches the next step as it was."""
    app, arrived = App("s013"), []
    text = "".join(chr(97 + number % 26) + 'é\n"' for number in range(40_000))

    @app.task
    async def make() -> str:
        return text

    @app.task
    async def take(got: str) -> int:
        arrived.append(got)
        return len(got)

    @app.workflow
    def large():
        return take(make())

    async with deployment(app):
        assert await (await large.start()).result(10) == len(text)
    assert len(text.encode()) >= 200_000
    assert arrived == [text]


async def test_s015_storage_grows_with_the_steps_not_with_their_square():
    """Twice as many steps of 20 KB each store about twice as many bytes."""
    app = App("s015")

    @app.task
    async def grow(_: object) -> str:
        return "x" * 20_000

    async def stored(d, steps: int) -> int:
        build = WorkflowBuilder(f"line{steps}").task("s0", task=grow)
        for number in range(1, steps):
            build = build.task(f"s{number}", task=grow, after=f"s{number - 1}")
        before = await total(d)
        await (await d.client.start(build.build())).result(60)
        return await total(d) - before

    async def total(d) -> int:
        streams = [subjects.EVENTS, subjects.TASKS, subjects.TIMERS, f"KV_{subjects.SNAPSHOTS}"]
        return sum([(await d.state(stream))["bytes"] for stream in streams])

    async with deployment(app) as d:
        hundred, two_hundred = await stored(d, 100), await stored(d, 200)
    assert hundred >= 100 * 20_000
    assert two_hundred < 2.5 * hundred


async def test_s017_status_shows_a_running_step_and_its_attempt():
    """While a handler is busy, the status says running, attempt 1, and by which worker."""
    app, busy, release = App("s017"), asyncio.Event(), asyncio.Event()

    @app.task
    async def work() -> str:
        busy.set()
        await release.wait()
        return "done"

    async with deployment(app) as d:
        handle = await work.start()
        await asyncio.wait_for(busy.wait(), 10)
        view = await handle.status()
        assert (view.status, view.completed_at) == ("running", "")
        assert [(s.status, s.attempt, s.worker) for s in view.steps] == [
            ("running", 1, d.workers[0].service.name)
        ]
        release.set()
        assert await handle.result(10) == "done"
        assert (await handle.status()).steps[0].status == "completed"


async def test_s019_a_run_in_flight_keeps_its_definition():
    """Registering a second version changes the next start, never a run that is on its way."""
    app, busy, release = App("s019"), asyncio.Event(), asyncio.Event()

    @app.task
    async def first() -> str:
        busy.set()
        await release.wait()
        return "one"

    @app.task
    async def second(_: str) -> str:
        return "two"

    steps = [{"id": "first", "task": "first"}]
    async with deployment(app) as d:
        await d.register({"name": "versions", "version": "1", "steps": steps})
        old = await d.client.start("versions")
        await asyncio.wait_for(busy.wait(), 10)
        more = [*steps, {"id": "second", "task": "second", "depends_on": ["first"]}]
        await d.register({"name": "versions", "version": "2", "steps": more})
        new = await d.client.start("versions")
        release.set()
        assert await old.result(10) == "one"
        assert await new.result(10) == "two"
        assert [
            ((await h.status()).version, len((await h.status()).steps)) for h in (old, new)
        ] == [("1", 1), ("2", 2)]
