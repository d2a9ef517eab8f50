"""The control plane on a server: who may, under which names, how much; and what is written down of it."""

import asyncio
import json
import sys

import msgspec
import pytest

from dagnats import Context, ControlPlaneError, DefinitionError
from dagnats.core.model import Step, Workflow
from dagnats.limits import RUNS_PER_TREE_MAX
from tests.scenarios.control_app import MADE, agents, registered
from tests.support.deployment import deployment, eventually


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
