"""Scenarios, section 18, where work goes: sticky runs and worker groups (S029, S351, S353)."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from dagnats import App, Context, DefinitionError, Handle, RunFailed, WorkflowBuilder
from dagnats.errors import RequestError
from tests.support.deployment import deployment, eventually, holds_for, program
from tests.support.processes import fleet, pause

ROUTING_APP = str(Path(__file__).with_name("routing_app.py"))


class Ran:
    """Who ran what: two or more workers of one app are told apart by their own apps."""

    def __init__(self) -> None:
        self.by: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self.executions: Counter[tuple[str, str]] = Counter()
        self.hold = 0.0
        self.gates: dict[str, asyncio.Event] = {}  # what handlers of a run wait for

    def app(self, name: str, *, sticky: str = "soft", steps: int = 3, **options: object) -> App:
        """An app whose steps note that they ran in it."""
        app = App(name)

        @app.task
        async def work(ctx: Context, n: int) -> int:
            self.by[ctx.run_id].append((ctx.step_id, name))
            self.executions[ctx.run_id, ctx.step_id] += 1
            await asyncio.sleep(self.hold)
            if ctx.run_id in self.gates:
                await self.gates[ctx.run_id].wait()
            return n + 1

        flow = WorkflowBuilder("flow", sticky=sticky, timeout="60s", **options)
        for number in range(steps):
            flow = flow.task(f"s{number}", task=work, after=f"s{number - 1}" if number else None)
        app.add(flow.build())
        return app

    def workers(self, run: str) -> list[str]:
        """The workers of a run's steps, in order."""
        return [name for _, name in sorted(self.by[run])]


async def dispatched(handle: Handle) -> bool:
    """Whether the first ticket of a run is in the queue."""
    return "step.dispatched" in [event.type for event in await handle.history()]


# -- S029 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"sticky": "hard"}, "workflow.sticky: a run would wait for ever"),
        ({"sticky": "soft", "group": "gpu"}, 'step "a" needs one of group "gpu"'),
        ({"sticky": "hard", "timeout": "1h", "group": "gpu"}, 'step "a" needs one of group "gpu"'),
        ({"sticky": "often"}, 'workflow.sticky: unknown mode "often"'),
        ({"sticky": 1}, "workflow.sticky: 1 is not a string"),
    ],
)
async def test_s029_what_sticky_cannot_be_is_refused(more, problem):
    """Hard without a time-out, sticky with a worker group, and other words, when the file is registered."""
    more = dict(more)
    step = {
        "id": "a",
        "task": "t",
        **({"worker_group": more.pop("group")} if "group" in more else {}),
    }
    async with deployment(App("s029"), schedulers=0, workers=0) as d:
        with pytest.raises(DefinitionError) as refusal:
            await d.register({"name": "w", "steps": [step], **more})
        assert problem in str(refusal.value)
        for fine in ({"sticky": "soft"}, {"sticky": "hard", "timeout": "1h"}):
            await d.register({"name": "w", "steps": [{"id": "a", "task": "t"}], **fine})


def test_s029_a_decorated_workflow_is_checked_at_import():
    """The same, where the function is decorated."""
    app = App("s029")

    @app.task(group="gpu")
    async def grouped() -> None: ...

    @app.task
    async def plain() -> None: ...

    with pytest.raises(DefinitionError, match="needs one of group"):
        app.workflow(name="a", sticky="soft")(lambda: [grouped()])
    with pytest.raises(DefinitionError, match="give the workflow a timeout"):
        app.workflow(name="b", sticky="hard")(lambda: [plain()])


# -- S351 ------------------------------------------------------------------------------------------


async def test_s351_sticky_steps_run_on_one_worker_and_once():
    """100 runs of three steps, two workers: each run's steps on one worker, each executed exactly once."""
    ran = Ran()
    apps = [ran.app("one"), ran.app("two")]
    ran.hold = 0.005
    async with deployment(apps[0], workers=0) as d:
        for app in apps:
            await d.add_worker(app, concurrency=6)
        flow = apps[0].definitions["flow"]
        handles = [await d.client.start(flow, number) for number in range(100)]
        assert [await handle.result(30) for handle in handles] == [n + 3 for n in range(100)]
        await holds_for(7, lambda: set(ran.executions.values()) == {1})
        sent = [worker.service.sender.sent for worker in d.workers]
    used = [set(ran.workers(handle.run_id)) for handle in handles]
    assert all(len(names) == 1 for names in used)
    assert {name for names in used for name in names} == {"one", "two"}
    assert len(ran.executions) == 300
    assert min(sent) > 0, "tickets were handed over, both ways"


@pytest.mark.faults
async def test_s351_with_processes(broker, tmp_path):
    """The same with workers of the command line."""
    record = tmp_path / "record"
    environment = {"ROUTING_RECORD": str(record)}
    async with (
        fleet(broker, tmp_path, app=ROUTING_APP, workers=2, **environment),
        deployment(App("client"), broker=broker, partitions=16, schedulers=0, workers=0) as d,
    ):
        handles = [await d.client.start("together", number) for number in range(60)]
        assert [await handle.result(60) for handle in handles] == [n + 3 for n in range(60)]
        await holds_for(7, lambda: len(record.read_text().splitlines()) == 180)
    places, steps = defaultdict(set), Counter()
    for line in record.read_text().splitlines():
        run, step, pid = line.split()
        places[run].add(pid)
        steps[run, step] += 1
    assert set(steps.values()) == {1}
    # Four slots a worker: a run whose worker was full for five seconds could have moved. None was.
    assert [run for run, pids in places.items() if len(pids) > 1] == []
    assert len({pid for pids in places.values() for pid in pids}) == 2


@pytest.mark.faults
async def test_a_worker_that_is_paused_is_not_waited_for_and_takes_nothing_late(broker, tmp_path):
    """Offers that it hears after the pause come to nothing; only what it had in hand may run twice."""
    record = tmp_path / "record"
    async with (
        fleet(broker, tmp_path, app=ROUTING_APP, workers=2, ROUTING_RECORD=str(record)) as f,
        deployment(App("client"), broker=broker, partitions=16, schedulers=0, workers=0) as d,
    ):
        handles = [await d.client.start("together", number) for number in range(200)]
        await eventually(lambda: record.exists() and len(record.read_text().splitlines()) > 100)
        f.workers[0].pause()
        await eventually(lambda: len(record.read_text().splitlines()) > 300, 30)
        await pause(3)
        f.workers[0].go_on()
        assert [await handle.result(60) for handle in handles] == [n + 3 for n in range(200)]
        lines = record.read_text().splitlines()
        assert await d.dead() == []
    steps = Counter(tuple(line.split()[:2]) for line in lines)
    assert len(steps) == 600
    assert len(lines) <= 600 + 2 * 4, "four slots: what ran, and what was asked for, at the pause"


async def test_a_soft_run_goes_on_elsewhere_when_its_worker_is_gone():
    """At once, without waiting for the directory or a lease; and stays with the worker that took over."""
    ran = Ran()
    apps = [ran.app("one", steps=6), ran.app("two", steps=6), ran.app("three", steps=6)]
    ran.hold = 0.1
    async with deployment(apps[0], workers=0) as d:
        await d.add_worker(apps[0])
        handle = await d.client.start(apps[0].definitions["flow"], 0)
        await eventually(lambda: len(ran.by[handle.run_id]) >= 2)
        await d.add_worker(apps[1])
        await d.add_worker(apps[2])
        await d.workers[0].stop()
        assert await handle.result(10) == 6
    workers = ran.workers(handle.run_id)
    assert workers[:2] == ["one", "one"]
    assert len(set(workers) - {"one"}) == 1
    assert set(ran.executions.values()) == {1}


async def test_a_soft_run_waits_five_seconds_for_a_worker_that_is_busy():
    """Then any other runs the step; a worker that has room in time runs it itself."""
    ran = Ran()
    apps = [ran.app("one", steps=2), ran.app("two", steps=2)]
    flow = apps[0].definitions["flow"]
    async with deployment(apps[0], workers=0) as d:
        await d.add_worker(apps[0], concurrency=1)
        for number in range(2):  # each time the first step runs on "one", which is then occupied
            run, other = f"run-{number}", f"occupier-{number}"
            ran.gates = {name: asyncio.Event() for name in (run, other)}
            sticky = await d.client.start(flow, 0, id=run)
            await eventually(lambda run=run: ran.by[run])
            # Of the same queue, so that it comes before the second step.
            occupier = await apps[0].tasks["work"].start(0, id=other)
            await eventually(lambda occupier=occupier: dispatched(occupier))
            ran.gates[run].set()
            await eventually(lambda other=other: ran.by[other])
            await d.add_worker(apps[1], concurrency=1)
            if not number:
                await holds_for(3.5, lambda run=run: len(ran.by[run]) == 1)
                assert await sticky.result(30) == 2
            else:
                await holds_for(1.5, lambda run=run: len(ran.by[run]) == 1)
            ran.gates[other].set()
            assert await occupier.result(30) == 1
            assert await sticky.result(30) == 2
            await d.workers[-1].stop()
    assert ran.workers("run-0") == ["one", "two"]
    assert ran.workers("run-1") == ["one", "one"]


async def test_a_hard_run_waits_for_the_worker_of_that_name():
    """Nobody else runs its steps; when the name is back, in another process, it goes on."""
    ran = Ran()
    apps = [ran.app("one", sticky="hard"), ran.app("two", sticky="hard")]
    ran.hold = 0.3
    async with deployment(apps[0], workers=0) as d:
        await d.add_worker(apps[0], name="alpha")
        handle = await d.client.start(apps[0].definitions["flow"], 0)
        await eventually(lambda: ran.by[handle.run_id])
        await d.workers[0].stop()
        await d.add_worker(apps[1], name="beta")
        ran.hold = 0
        await holds_for(2, lambda: len(ran.by[handle.run_id]) == 1)
        await d.add_worker(apps[0], name="alpha")
        assert await handle.result(15) == 3
    assert ran.workers(handle.run_id) == ["one"] * 3
    assert set(ran.executions.values()) == {1}


async def test_a_hard_run_ends_with_its_timeout_when_its_worker_stays_away():
    """The run fails by its time-out; waiting counts neither as attempts nor as lost workers."""
    ran = Ran()
    app = ran.app("one", sticky="hard")
    other = ran.app("two", sticky="hard")
    flow = WorkflowBuilder("short", sticky="hard", timeout="4s")
    flow = flow.task("s0", task="work").task("s1", task="work", after="s0").build()
    async with deployment(app, workers=0) as d:
        ran.hold = 0.3
        await d.add_worker(app)
        handle = await d.client.start(flow, 0)
        await eventually(lambda: ran.by[handle.run_id])
        await d.workers[0].stop()
        await d.add_worker(other)
        with pytest.raises(RunFailed) as failure:
            await handle.result(15)
        assert failure.value.failure == "timeout"
        assert (await handle.status()).steps[1].attempt == 1
    assert ran.workers(handle.run_id) == ["one"]


async def test_a_hard_run_waits_for_room_on_its_worker():
    """A worker that is full is waited for, while another is idle."""
    ran = Ran()
    apps = [ran.app("one", sticky="hard"), ran.app("two", sticky="hard")]
    release = asyncio.Event()

    @apps[0].task
    async def occupy() -> str:
        await release.wait()
        return "released"

    async with deployment(apps[0], workers=0) as d:
        await d.add_worker(apps[0], concurrency=1)
        ran.hold = 0.3
        handle = await d.client.start(apps[0].definitions["flow"], 0)
        occupied = await occupy.start()
        await eventually(lambda: ran.by[handle.run_id])
        ran.hold = 0
        await d.add_worker(apps[1], concurrency=1)
        await holds_for(2, lambda: len(ran.by[handle.run_id]) == 1)
        release.set()
        assert await handle.result(20) == 3
        assert await occupied.result(10) == "released"
    assert ran.workers(handle.run_id) == ["one"] * 3


@pytest.mark.parametrize("sticky", ["soft", "hard"])
async def test_workers_die_under_sticky_runs(sticky):
    """Killed workers are replaced under their names; every run completes, and only what was cut ran again."""
    ran = Ran()
    apps = {name: ran.app(name, sticky=sticky) for name in ("one", "two", "three")}
    ran.hold = 0.02
    async with deployment(apps["one"], workers=0) as d:
        for name, app in apps.items():
            await d.add_worker(app, name=name, lease_ms=1_000, concurrency=5)
        flow = apps["one"].definitions["flow"]
        handles = [await d.client.start(flow, number) for number in range(150)]
        for place, (name, app) in enumerate(apps.items()):
            floor = 60 * (place + 1)
            await eventually(lambda floor=floor: sum(ran.executions.values()) > floor, 30)
            await d.workers[place].kill()
            await d.add_worker(app, name=name, lease_ms=1_000, concurrency=5)
        assert [await handle.result(60) for handle in handles] == [n + 3 for n in range(150)]
        assert await d.dead() == []
    assert len(ran.executions) == 450
    assert sum(ran.executions.values()) <= 450 + 3 * 5, "only what was running when a worker died"
    if sticky == "hard":
        answered = [dict(ran.by[handle.run_id]) for handle in handles]  # the last of each step
        assert all(len(set(steps.values())) == 1 for steps in answered)


async def test_handed_over_work_keeps_within_the_concurrency():
    """A worker never runs more at once than it may, wherever its tickets came from."""
    ran, now, most = Ran(), Counter(), Counter()
    apps = [ran.app("one"), ran.app("two")]

    def counting(app: App, name: str) -> None:
        inner = app.tasks["work"].function

        async def counted(ctx: Context, n: int) -> int:
            now[name] += 1
            most[name] = max(most[name], now[name])
            try:
                return await inner(ctx, n)
            finally:
                now[name] -= 1

        app.tasks["work"].function = counted

    ran.hold = 0.03
    async with deployment(apps[0], workers=0) as d:
        for app in apps:
            counting(app, app.name)
            await d.add_worker(app, concurrency=2)
        flow = apps[0].definitions["flow"]
        handles = [await d.client.start(flow, number) for number in range(60)]
        assert [await handle.result(60) for handle in handles] == [n + 3 for n in range(60)]
    assert most == {"one": 2, "two": 2}
    assert set(ran.executions.values()) == {1}


async def test_a_name_is_one_workers():
    """A second worker of a name is refused while the first is at work, and welcome when that has ended."""
    ran = Ran()
    async with deployment(ran.app("one"), workers=0) as d:
        await d.add_worker(name="alpha")
        with pytest.raises(RequestError, match="worker named alpha is at work already"):
            await d.add_worker(name="alpha")
        d.workers.pop()
        await d.workers[0].stop()
        await d.add_worker(name="alpha")


# -- S353 ------------------------------------------------------------------------------------------


async def test_s353_groups_and_ungrouped_workers_coexist():
    """The same task for gpu, cpu and nobody in particular: each step on a worker of its group only."""
    ran = defaultdict(list)

    def app(name: str) -> App:
        made = App(name)

        @made.task
        async def work(ctx: Context) -> str:
            ran[ctx.step_id].append(name)
            return name

        return made

    apps = {"gpu": app("gpu"), "cpu": app("cpu"), "": app("plain")}
    flow = WorkflowBuilder("flow")
    for number in range(30):
        group = ("gpu", "cpu", "")[number % 3]
        flow = flow.task(f"{group or 'plain'}-{number}", task="work", group=group)
    async with deployment(apps[""], workers=0) as d:
        for group, each in apps.items():
            await d.add_worker(each, group=group)
        await (await d.client.start(flow.build())).result(20)
    assert len(ran) == 30
    assert all(names == [step.partition("-")[0]] for step, names in ran.items())


# -- the command line ------------------------------------------------------------------------------


@pytest.mark.faults
async def test_named_workers_of_the_command_line(broker, tmp_path):
    """``--name`` with several processes numbers them; a name that cannot be one is refused."""
    said = tmp_path / "said"
    with program(broker, "worker", ROUTING_APP, "--name", "a b", output=said) as process:
        assert await asyncio.to_thread(process.wait, 20) == 2
        assert "cannot be a worker's name" in said.read_text()
    arguments = ("worker", ROUTING_APP, "--name", "web", "--processes", "2")
    with program(broker, *arguments, output=said):
        await eventually(lambda: said.read_text().count(" ready: ") == 2, 30)
        assert {"worker web-1 ready", "worker web-2 ready"} <= {
            line.partition(":")[0] for line in said.read_text().splitlines()
        }
