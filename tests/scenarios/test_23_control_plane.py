"""The control plane on a server: granted or not, by whom and how often asked, killed in between, cleaned up."""

import asyncio
import json
import sys
from pathlib import Path

import msgspec
import pytest

from dagnats import AgentContext, App, Context, Continue, ControlPlaneError, DefinitionError
from dagnats.core.control import Policy, Tree
from dagnats.core.model import Step, Workflow
from dagnats.limits import RUNS_PER_TREE_MAX
from dagnats.registry import Registry
from dagnats.scheduler.control import Trees
from dagnats.scheduler.reaper import reap
from dagnats.wire import subjects
from tests.support.deployment import deployment, eventually, program

CALLS_APP = str(Path(__file__).with_name("calls_app.py"))
MADE = {"name": "x", "steps": [{"id": "a", "task": "echo"}]}


def agents() -> App:
    """A workflow that makes workflows, and tasks for these."""
    app = App("agents")

    @app.task
    async def echo(word: str = "") -> str:
        return word

    @app.task
    async def hold(ctx: Context) -> str:
        return await ctx.wait_for_signal("go", timeout="10m")

    @app.workflow
    def greeting(word: str):
        return echo(word)

    @app.task(capabilities=["control-plane"])
    async def agent(ctx: Context, promote: bool = False) -> dict:
        plane = ctx.control_plane
        if plane is None:
            return {"plane": None}
        try:
            name = await plane.register_workflow(MADE, promote=promote)
        except ControlPlaneError as refused:
            return {"refused": refused.kind, "why": refused.message}
        runs = [await plane.start_run(name, word) for word in ("one", "two")]
        return {"name": name, "runs": runs, "budget": await plane.budget()}

    @app.task(capabilities=["control-plane"])
    async def held(ctx: Context) -> str:
        return await ctx.wait_for_signal("go", timeout="10m")

    @app.agent_loop(max_iterations=3, capabilities=["control-plane"])
    async def loop(ctx: AgentContext[int]) -> Continue | int:
        return Continue(1) if ctx.iteration < 2 else 2

    @app.task(capabilities=["control-plane"])
    async def many(ctx: Context) -> str:
        plane = ctx.control_plane
        assert plane is not None
        try:
            for _ in range(RUNS_PER_TREE_MAX + 1):
                await plane.start_run("hold")
        except ControlPlaneError as refused:
            return f"{refused.kind} with {(await plane.budget())['active_runs']}"
        return "no end"

    @app.task(capabilities=["control-plane"])
    async def spawner(ctx: Context) -> list[str]:
        plane = ctx.control_plane
        assert plane is not None
        traced = await plane.register_workflow(greeting)
        return [traced, await plane.start_run(traced, "hello")]

    return app


async def registered(d):
    """All workflows under their names, as a worker does."""
    for workflow in d.app.workflows().values():
        await d.client.register(workflow)


async def audited(d, run_id):
    """The decisions in a run's history."""
    events = await d.client.handle(run_id).history()
    rows = [msgspec.json.decode(event.data) for event in events]
    return [row for row in rows if str(row.get("type", "")).startswith(("runtime.", "grant."))]


async def dagnats(broker, *arguments):
    """What a command says, as JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dagnats", *arguments, "--url", broker.url, "--json", stdout=-1, stderr=-1
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err
    return json.loads(out)


async def test_s471_a_granted_workflow_registers_and_starts():
    """Denied by default; granted and revoked by command, while the scheduler runs; children know their parent."""
    app = agents()
    async with deployment(app) as d:
        await registered(d)
        assert await (await app.tasks["agent"].start()).result(10) == {"plane": None}

        assert await dagnats(d.broker, "policy", "grant", "agent") == {"grant": ["agent"], "promote": []}  # fmt: skip
        handle = await app.tasks["agent"].start()
        said = await handle.result(10)
        assert said["name"] == f"agent.{handle.run_id}.x"
        assert said["budget"] == {
            "active_runs": said["budget"]["active_runs"], "max_active_runs": 100,
            "registered_defs": 1, "max_registered_defs": 500,
        }  # fmt: skip
        assert len({*said["runs"]}) == 2
        for child, word in zip(said["runs"], ("one", "two"), strict=True):
            assert await d.client.handle(child).result(10) == word
            run = await d.client.handle(child).status()
            assert (run.workflow, run.parent, run.root) == (
                said["name"],
                handle.run_id,
                handle.run_id,
            )
        steps = (await handle.status()).steps
        assert [step.child_run_id for step in steps if step.child_run_id] == said["runs"]
        told = await dagnats(d.broker, "workflow", "list")
        assert said["name"] in {row["name"] for row in told["workflows"]}

        assert (await dagnats(d.broker, "policy", "revoke", "agent"))["grant"] == []
        assert await (await app.tasks["agent"].start()).result(10) == {"plane": None}


async def test_every_decision_is_in_the_history():
    """With what was asked for, and whether it was allowed."""
    app = agents()
    async with deployment(app) as d:
        await d.client.policy.grant("agent")
        handle = await app.tasks["agent"].start()
        await handle.result(10)
        rows = await audited(d, handle.run_id)

        assert [row["type"] for row in rows] == [
            "grant.control_plane", "runtime.register", "runtime.spawn", "runtime.spawn", "runtime.budget"
        ]  # fmt: skip
        assert all(row["allowed"] for row in rows)
        shown = await dagnats(d.broker, "run", "events", handle.run_id)
        assert "runtime.spawn" in {event["type"] for event in shown}


async def test_s473_wrong_empty_and_foreign_nonces_are_denied_alike():
    """Nothing is done, and each leaves the same mark; a nonce is good for one dispatch."""
    app = agents()
    async with deployment(app) as d:
        await d.client.policy.grant("held")
        handle, other = await app.tasks["held"].start(), await app.tasks["held"].start()
        mine = await d.dispatch(handle.run_id, "held/1/0")
        foreign = await d.dispatch(other.run_id, "held/1/0")
        assert mine["control"]
        config = {"type": "control", "config": {"action": "register", "name": "x"}}

        async def ask(n, nonce):
            fact = {
                "type": "step.called",
                "ticket": "held/1/0",
                "n": n,
                "step": config,
                "input": MADE,
                "nonce": nonce,
            }
            await d.forge(handle.run_id, "worker", fact)

        for n, nonce in enumerate(("0" * 16, "", foreign["nonce"]), 10):
            await ask(n, nonce)
        await ask(13, mine["nonce"])
        name = f"agent.{handle.run_id}.x"
        await eventually(lambda: d.client.registry.current(name))
        rows = [row for row in await audited(d, handle.run_id) if row["type"] == "runtime.register"]

        assert [row["allowed"] for row in rows] == [False] * 3 + [True]
        assert len({json.dumps(row, sort_keys=True) for row in rows[:3]}) == 1
        assert rows[0]["kind"] == "denied"
        assert len(await d.dead()) == 3


async def test_s473_a_nonce_differs_for_each_dispatch_and_iteration():
    """So an old ticket speaks for nothing."""
    app = agents()
    async with deployment(app) as d:
        await d.client.policy.grant("loop")
        handle = await app.tasks["loop"].start()
        await handle.result(10)
        nonces = {(await d.dispatch(handle.run_id, f"loop/1/{turn}"))["nonce"] for turn in range(3)}

        assert len(nonces) == 3


async def test_a_request_of_a_workflow_that_is_granted_no_more_is_refused():
    """The ticket brought the control plane along; what counts is the policy when it asks."""
    app = agents()

    @app.task(capabilities=["control-plane"])
    async def late(ctx: Context) -> str:
        plane = ctx.control_plane
        assert plane is not None
        await ctx.wait_for_signal("go")
        try:
            return await plane.register_workflow(MADE)
        except ControlPlaneError as refused:
            return refused.kind

    async with deployment(app) as d:
        await d.client.policy.grant("late")
        handle = await late.start()
        await d.dispatch(handle.run_id, "late/1/0")
        await d.client.policy.revoke("late")
        await handle.signal("go")

        assert await handle.result(10) == "denied"
        assert [row["allowed"] for row in await audited(d, handle.run_id)] == [True, False]


async def test_s475_the_hundred_and_first_run_is_refused():
    """While the hundred are under way."""
    app = agents()
    async with deployment(app, concurrency=200) as d:
        await registered(d)
        await d.client.policy.grant("many")

        said = await (await app.tasks["many"].start()).result(60)
        assert said == f"quota_exceeded with {RUNS_PER_TREE_MAX}"


async def test_s477_promotion_needs_a_permission_of_its_own():
    """Then the name is everybody's."""
    app = agents()
    async with deployment(app) as d:
        await d.client.policy.grant("agent")
        await d.client.policy.grant("other", promote=True)
        said = await (await app.tasks["agent"].start(promote=True)).result(10)
        assert said["refused"] == "denied"
        assert "policy grant --promote" in said["why"]
        await dagnats(d.broker, "policy", "grant", "agent", "--promote")
        handle = await app.tasks["agent"].start(promote=True)
        assert (await handle.result(10))["name"] == "promoted.x"
        assert "runtime.promote" in {row["type"] for row in await audited(d, handle.run_id)}

        again = await d.client.start("promoted.x", "again")
        assert await again.result(10) == "again"


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


async def test_a_traced_workflow_can_be_registered():
    """Of the handler's own app, as it is."""
    app = agents()
    async with deployment(app) as d:
        await d.client.policy.grant("spawner")
        handle = await app.tasks["spawner"].start()
        name, child = await handle.result(10)

        assert name == f"agent.{handle.run_id}.greeting"
        assert await d.client.handle(child).result(10) == "hello"


@pytest.mark.parametrize("name", ["agent.r1.x", "promoted.x"])
async def test_nobody_else_registers_under_reserved_names(name):
    """They are the control plane's."""
    async with deployment(agents(), workers=0, schedulers=0) as d:
        with pytest.raises(DefinitionError, match="belong to the control plane"):
            await d.client.register(Workflow(name=name, steps=(Step(id="a", task="echo"),)))


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
    """Not while it runs, not within the grace; promoted and registered ones stay; twice is once; so many at a time."""
    app = agents()

    @app.task(capabilities=["control-plane"])
    async def keeper(ctx: Context) -> list[str]:
        plane = ctx.control_plane
        assert plane is not None
        names = [await plane.register_workflow({**MADE, "name": f"x{n}"}) for n in range(3)]
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
