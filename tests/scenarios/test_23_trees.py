"""Trees of runs that make one another: whoever is killed, when there is no room, and when they have ended."""

from pathlib import Path

from dagnats import App, Context
from dagnats.core.control import Policy, Tree
from dagnats.registry import Registry
from dagnats.scheduler.control import Trees
from dagnats.scheduler.reaper import reap
from dagnats.wire import subjects
from tests.scenarios.control_app import MADE, agents, registered
from tests.support.deployment import deployment, eventually, program

CALLS_APP = str(Path(__file__).with_name("calls_app.py"))


async def test_a_full_bucket_refuses_and_holds_nothing_up():
    """Definitions have no room: that is told, and other runs go on; given room, the same handler succeeds."""
    app = agents()
    async with deployment(app) as d:
        await registered(d)
        await d.client.policy.grant("agent")
        stream = f"KV_{subjects.DEFINITIONS}"
        found = await d.outside.link.api(f"STREAM.INFO.{stream}")
        full = {**found["config"], "max_bytes": found["state"]["bytes"] + 10}
        await d.outside.link.api(f"STREAM.UPDATE.{stream}", full)
        said = await (await app.tasks["agent"].start()).result(10)
        assert said["refused"] == "quota_exceeded"
        assert "no room left" in said["why"]
        assert await (await app.tasks["echo"].start("still here")).result(10) == "still here"

        await d.outside.link.api(f"STREAM.UPDATE.{stream}", found["config"])
        assert "name" in await (await app.tasks["agent"].start()).result(10)


async def test_a_killed_worker_registers_and_starts_nothing_twice(broker, tmp_path):
    """SIGKILL after the first start: the handler runs again, is told the same, and goes on; two starts are two runs."""
    ledger = tmp_path / "ledger"
    environment = {"CALLS_LEDGER": str(ledger), "DAGNATS_LEASE": "1s"}

    def noted(word: str) -> int:
        return ledger.read_text().split().count(word) if ledger.exists() else 0

    async with deployment(App("client"), broker=broker, workers=0) as d:
        await d.client.policy.grant("maker")
        await d.register(
            {
                "name": "maker",
                "steps": [
                    {"id": "makes", "task": "makes", "required_capabilities": ["control-plane"]}
                ],
            }
        )
        handle = await d.client.start("maker")
        with program(broker, "worker", CALLS_APP, **environment) as process:
            await eventually(lambda: noted("started"), 20)
            process.kill()
        with program(broker, "worker", CALLS_APP, **environment):
            name, *children = await handle.result(30)
            assert [await d.client.handle(child).result(10) for child in children] == [70, 70]
        assert noted("makes") == 2
        assert noted("part7") == 2
        assert len({*children}) == 2
        runs = [row for row in (await d.client.runs()).runs if row.workflow == name]
        assert {row.run_id for row in runs} == {*children}
        assert len((await Trees(d.outside).read(handle.run_id)).recent) == 1


async def test_two_schedulers_and_one_that_dies():
    """Runs of one tree have different owners; one is killed with requests under way; nothing is done twice."""
    app = agents()
    async with deployment(app, schedulers=2) as d:
        await d.client.policy.grant("agent")
        handles = [await app.tasks["agent"].start() for _ in range(10)]
        await d.schedulers[0].kill()
        for handle in handles:
            said = await handle.result(30)
            assert len({*said["runs"]}) == 2
            for child in said["runs"]:
                await d.client.handle(child).result(30)
        runs = [row for row in (await d.client.runs(limit=100)).runs if row.workflow != "agent"]
        assert len(runs) == 20


async def test_s479_definitions_go_when_their_root_is_long_over():
    """Not while it runs, not within the grace; promoted and registered ones stay; twice is once; runs go on."""
    app = agents()

    @app.task(capabilities=["control-plane"])
    async def keeper(ctx: Context) -> list[str]:
        plane = ctx.control_plane
        assert plane is not None
        holding = {"name": "x0", "steps": [{"id": "a", "task": "hold"}]}
        names = [await plane.register_workflow({**holding, "name": f"x{n}"}) for n in range(3)]
        names.append(await plane.register_workflow(MADE, promote=True))
        child = await plane.start_run("hold")
        await ctx.wait_for_signal("go")
        return [*names, child]

    async with deployment(app) as d:
        await registered(d)
        await d.client.policy.grant("keeper", promote=True)
        handle = await keeper.start()
        registry = Registry(d.outside.documents(subjects.DEFINITIONS))

        async def there() -> set[str]:
            return {row.name for row in await registry.names()}

        mine = {f"agent.{handle.run_id}.x{n}" for n in range(3)}
        await eventually(lambda: d.client.registry.current("promoted.x"))
        pinned = await d.client.start(f"agent.{handle.run_id}.x0")
        later = d.client.clock.wall_ms() + 3_600_000
        assert await reap(d.outside, registry, 1_000, later) == 0  # it runs
        await handle.signal("go")
        *_, child = await handle.result(10)
        await eventually(lambda: d.client.closed_mark(handle.run_id))
        assert await reap(d.outside, registry, 1_000, later) == 0  # a run of its tree does
        await d.client.handle(child).signal("go", "on")
        await d.client.handle(child).result(10)
        assert await reap(d.outside, registry, 2 * 3_600_000, later) == 0  # within the grace
        assert mine <= await there()

        assert await reap(d.outside, registry, 1_000, later, most=2) == 2
        assert len(mine & await there()) == 1
        assert await reap(d.outside, registry, 1_000, later, most=2) == 1
        assert await reap(d.outside, registry, 1_000, later) == 0
        assert not mine & await there()
        assert {"promoted.x", "hold", "greeting"} <= await there()
        assert await Trees(d.outside).read(handle.run_id) == Tree()
        await pinned.signal("go", "on")
        assert await pinned.result(10) == "on"  # it has its definition


async def test_a_scheduler_cleans_up_when_it_is_told_to():
    """And a deployment without a policy begins with what its settings say."""
    app = agents()
    async with deployment(app, schedulers=0) as d:
        await d.add_scheduler(policy=Policy(grant=("agent",)), grace_ms=1_000)
        said = await (await app.tasks["agent"].start()).result(10)
        assert await d.client.registry.current(said["name"])

        async def gone() -> bool:
            return await d.client.registry.current(said["name"]) is None

        await eventually(gone, 20)
        assert (await d.client.handle(said["runs"][0]).status()).status == "completed"
