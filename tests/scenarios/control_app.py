"""An app whose handlers make workflows, for the scenarios of the control plane."""

from __future__ import annotations

from dagnats import AgentContext, App, Context, Continue, ControlPlaneError
from dagnats.limits import RUNS_PER_TREE_MAX

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
