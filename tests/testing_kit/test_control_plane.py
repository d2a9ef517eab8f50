"""The control plane in memory: everything it refuses, by kind, without waiting for hours and minutes."""

import asyncio

import pytest

from dagnats import AgentContext, App, CallFailed, Context, Continue, ControlPlaneError
from dagnats.core.control import REFUSALS
from dagnats.limits import (
    DEFINITIONS_PER_TREE_MAX,
    GENERATIONS_MAX,
    REGISTRATIONS_PER_MINUTE_MAX,
    RUNS_PER_TREE_MAX,
)
from dagnats.testing import in_memory, virtual_time


def made(name: str = "made", *, hours: int = 0) -> dict:
    """A definition that a handler made up."""
    nap = {"id": "nap", "type": "sleep", "config": {"duration": f"{hours}h"}}
    return {"name": name, "steps": [nap if hours else {"id": "a", "task": "echo"}]}


def makers() -> App:
    """Tasks that use the control plane, each in its own way."""
    app = App("makers")

    @app.task
    async def echo(word: str = "") -> str:
        return word

    @app.task(capabilities=["control-plane"])
    async def maker(ctx: Context, wanted: dict) -> list:
        plane = ctx.control_plane
        if plane is None:
            return ["no control plane"]
        said = []
        for action, *given in wanted["do"]:
            try:
                match action:
                    case "register":
                        said.append(await plane.register_workflow(*given))
                    case "promote":
                        said.append(await plane.register_workflow(*given, promote=True))
                    case "start":
                        said.append(await plane.start_run(*given))
                    case "budget":
                        said.append(await plane.budget())
            except ControlPlaneError as refused:
                said.append(refused.kind)
        return said

    @app.agent_loop(
        max_iterations=20, loop_delay="61s", capabilities=["control-plane"], name="busy"
    )
    async def busy(ctx: AgentContext) -> Continue | list:
        done, plane = ctx.checkpoint or 0, ctx.control_plane
        assert plane is not None
        for number in range(done, done + REGISTRATIONS_PER_MINUTE_MAX):
            try:
                await plane.register_workflow(made(f"made{number}"))
            except ControlPlaneError as refused:
                return [number, refused.kind, await plane.budget()]
        return Continue(done + REGISTRATIONS_PER_MINUTE_MAX)

    @app.task(capabilities=["control-plane"])
    def nested(ctx: Context, level: int) -> str:
        plane = ctx.control_plane
        assert plane is not None
        try:
            return plane.start_run("nested", level + 1).wait()
        except ControlPlaneError as refused:
            return f"level {level}: {refused.kind}"

    return app


async def done(sandbox, *wanted):
    """What the maker says of some requests."""
    return await (await sandbox.app.tasks["maker"].start({"do": wanted})).result()


@virtual_time
async def test_nobody_may_who_is_not_granted_it():
    """Deny by default, grant and take back while everything runs."""
    app = makers()
    async with in_memory(app) as sandbox:
        assert await done(sandbox, ["budget"]) == ["no control plane"]
        await sandbox.client.policy.grant("maker")
        assert (await done(sandbox, ["budget"]))[0]["active_runs"] == 0
        await sandbox.client.policy.revoke("maker")
        assert await done(sandbox, ["budget"]) == ["no control plane"]


@virtual_time
async def test_definitions_are_stored_where_the_handler_cannot_choose():
    """Under the root run's name; for good only where that is allowed."""
    app = makers()
    async with in_memory(app) as sandbox:
        await sandbox.client.policy.grant("maker")
        handle = await app.tasks["maker"].start({"do": [["register", made()], ["promote", made()]]})
        assert await handle.result() == [f"agent.{handle.run_id}.made", "promotion_unsupported"]

        await sandbox.client.policy.grant("other", promote=True)
        assert await done(sandbox, ["promote", made()]) == ["denied"]
        await sandbox.client.policy.grant("maker", promote=True)
        assert await done(sandbox, ["promote", made()], ["start", "promoted.made", "x"])
        assert (await sandbox.client.start("promoted.made", "for all")).run_id
        assert (await sandbox.client.registry.current(f"agent.{handle.run_id}.made")) is not None


@virtual_time
async def test_what_is_wrong_is_told_by_its_kind():
    """Definitions, names, and other people's trees."""
    app = makers()
    async with in_memory(app) as sandbox:
        await sandbox.client.policy.grant("maker")
        [theirs] = await done(sandbox, ["register", made()])
        said = await done(
            sandbox,
            ["register", {"name": "empty", "steps": []}],
            ["register", {"name": "odd", "step": []}],
            ["register", made("agent.x")],
            ["register", made("a:b")],
            ["register", made("n" * 257)],
            ["start", "nothing"],
            ["start", theirs],
            ["start", "echo", "a registered one"],
        )

        assert said[:7] == [
            "invalid_def", "invalid_def", "namespace", "namespace", "namespace", "unresolvable_name", "namespace"
        ]  # fmt: skip
        assert await sandbox.client.handle(said[7]).result() == "a registered one"


@virtual_time
async def test_a_tree_is_closed_to_the_runs_of_others():
    """Also where they run a workflow and wait for it; its own runs may do that."""
    app = makers()

    @app.task
    async def runner(ctx: Context, name: str) -> str:
        try:
            return await ctx.run_workflow(name)
        except CallFailed as problem:
            return str(problem)

    async with in_memory(app) as sandbox:
        await sandbox.client.policy.grant("maker")
        echo = {"name": "made", "steps": [{"id": "a", "task": "echo", "input": "hello"}]}
        handle = await app.tasks["maker"].start({"do": [["register", echo]]})
        [theirs] = await handle.result()
        assert "belongs to the tree of another run" in await (await runner.start(theirs)).result()

        asks = [["register", echo], ["start", "runner", "agent.mine.made"]]
        own = await app.tasks["maker"].start({"do": asks}, id="mine")
        _, child = await own.result()
        assert await sandbox.client.handle(child).result() == "hello"


@virtual_time
async def test_s475_a_tree_has_so_many_runs_under_way():
    """One more is refused."""
    app = makers()
    async with in_memory(app) as sandbox:
        await sandbox.client.policy.grant("maker", promote=True)
        many = [["start", "promoted.long"]] * (RUNS_PER_TREE_MAX + 1)
        said = await done(sandbox, ["promote", made("long", hours=1)], *many, ["budget"])

        assert len({*said[1:-2]}) == RUNS_PER_TREE_MAX
        assert said[-2] == "quota_exceeded"
        assert said[-1]["active_runs"] == said[-1]["max_active_runs"] == RUNS_PER_TREE_MAX


@virtual_time
async def test_s475_asking_for_all_at_once_gives_no_more():
    """Starts that are decided together are counted together."""
    app = makers()

    @app.task(capabilities=["control-plane"])
    async def hasty(ctx: Context) -> list:
        plane = ctx.control_plane
        assert plane is not None
        name = await plane.register_workflow(made(hours=1))
        starts = [plane.start_run(name) for _ in range(RUNS_PER_TREE_MAX + 5)]
        said = await asyncio.gather(*starts, return_exceptions=True)
        return [each.kind for each in said if isinstance(each, ControlPlaneError)]

    async with in_memory(app) as sandbox:
        await sandbox.client.policy.grant("hasty")
        assert await (await hasty.start()).result() == ["quota_exceeded"] * 5


@virtual_time
async def test_runs_that_have_ended_make_room():
    """A full tree looks which of its runs still are."""
    app = makers()
    async with in_memory(app) as sandbox:
        await sandbox.client.policy.grant("maker")
        spawns = [["start", "echo", "x"]] * RUNS_PER_TREE_MAX
        said = await done(sandbox, *spawns, *spawns, ["budget"])

        assert len({*said[:-1]}) == 2 * RUNS_PER_TREE_MAX
        assert said[-1]["active_runs"] < RUNS_PER_TREE_MAX


@virtual_time
async def test_s475_a_tree_has_so_many_definitions():
    """Sixty a minute, five hundred in all."""
    app = makers()
    async with in_memory(app) as sandbox:
        await sandbox.client.policy.grant("busy")
        number, kind, budget = await (await app.tasks["busy"].start()).result()

        assert (number, kind) == (DEFINITIONS_PER_TREE_MAX, "quota_exceeded")
        assert budget["registered_defs"] == budget["max_registered_defs"] == number


@virtual_time
async def test_s475_a_minute_has_so_many_registrations():
    """The next one says that it was too fast, also when it replaces a definition."""
    app = makers()
    async with in_memory(app) as sandbox:
        await sandbox.client.policy.grant("maker")
        said = await done(sandbox, *[["register", made()]] * (REGISTRATIONS_PER_MINUTE_MAX + 1))

        assert said[-2].endswith(".made")
        assert said[-1] == "rate_limited"


@virtual_time
async def test_runs_start_runs_down_to_a_depth():
    """Each is a child of the one before, and belongs to the first."""
    app = makers()
    async with in_memory(app) as sandbox:
        await sandbox.client.policy.grant("nested")
        first = await app.tasks["nested"].start(0)
        handle = first
        for level in range(GENERATIONS_MAX):
            child = sandbox.client.handle(await handle.result())
            run = await child.status()
            assert (run.parent, run.root) == (handle.run_id, first.run_id), level
            handle = child

        assert await handle.result() == f"level {GENERATIONS_MAX}: depth_exceeded"


@virtual_time
async def test_a_tree_shares_names_and_budget():
    """Whoever registers below a root does so in its name."""
    app = makers()
    async with in_memory(app) as sandbox:
        await sandbox.client.policy.grant("maker")
        below = {"do": [["register", made("below")], ["budget"]]}
        handle = await app.tasks["maker"].start(
            {"do": [["register", made()], ["start", "maker", below]]}
        )
        _, child = await handle.result()
        name, budget = await sandbox.client.handle(child).result()

        assert name == f"agent.{handle.run_id}.below"
        assert (budget["registered_defs"], budget["active_runs"]) == (2, 1)


@pytest.mark.parametrize("kind", REFUSALS)
def test_every_kind_of_refusal_is_an_error(kind):
    """With its kind in words."""
    assert ControlPlaneError("no", failure=kind, step="a").kind == kind
