"""A workflow with a step of every kind, and the people and events it needs: for processes that are killed."""

from __future__ import annotations

from typing import Any

from dagnats import AgentContext, App, Context, Continue
from dagnats.core.definition import read_workflow
from dagnats.core.model import Workflow
from dagnats.core.validate import problems_of

app = App("every-kind")


@app.task
async def double(n: int) -> int:
    """Twice a number."""
    return 2 * n


@app.task
async def total(numbers: list[int]) -> int:
    """Their sum."""
    return sum(numbers)


@app.agent_loop(max_iterations=5)
async def count(ctx: AgentContext[int], n: int) -> int | Continue[int]:
    """Three turns, each with a durable call."""
    step = await ctx.call(double, ctx.iteration)
    so_far = (ctx.checkpoint or 0) + step
    return so_far + n if ctx.iteration == 2 else Continue(so_far)


@app.planner(allowed_tasks=[double], max_steps=3)
async def think(n: int) -> dict[str, Any]:
    """Two steps, one after the other."""
    second = {"id": "b", "task": "double", "depends_on": ["a"]}
    return {"steps": [{"id": "a", "task": "double", "input": n}, second]}


@app.task
async def ask(ctx: Context, n: int) -> int:
    """Give the slot up until somebody sends a number."""
    return n + await ctx.wait_for_signal("more", timeout="1m", park=True)


@app.task(capabilities=["control-plane"])
async def make(ctx: Context, n: int) -> list[int]:
    """Two runs of a workflow of its own making."""
    plane = ctx.control_plane
    assert plane is not None
    step = {"id": "x", "task": "double", "input": n}
    name = await plane.register_workflow({"name": "made", "steps": [step]})
    runs = {await plane.start_run(name), await plane.start_run(name)}
    return [len(runs), (await plane.budget())["registered_defs"]]


@app.task
async def break_down(n: int) -> int:
    """Always fails."""
    raise ValueError(f"{n} is too much")


@app.task
async def mend(failure: dict[str, str]) -> int:
    """Stands in for what failed."""
    return len(failure)


@app.task
async def finish(parts: dict[str, Any]) -> dict[str, Any]:
    """Everything that came of it."""
    return parts


def _workflow(name: str, *steps: dict[str, Any]) -> Workflow:
    workflow, problems = read_workflow({"name": name, "steps": list(steps)})
    assert workflow is not None
    assert not problems
    assert not problems_of(workflow)
    return workflow


CHILD = app.add(
    _workflow(
        "child", {"id": "x", "task": "double"}, {"id": "y", "task": "double", "depends_on": ["x"]}
    )
)
EVERY = app.add(
    _workflow(
        "every",
        {"id": "nap", "type": "sleep", "config": {"duration": "50ms"}},
        {"id": "each", "type": "map", "task": "double", "depends_on": ["nap"], "input": {"$input": "items"},
         "config": {"concurrency": 2}},
        {"id": "sum", "task": "total", "depends_on": ["each"]},
        {"id": "plan", "type": "planner", "task": "think", "depends_on": ["sum"],
         "config": {"allowed_tasks": ["double"], "max_steps": 3}},
        {"id": "loop", "type": "agent_loop", "task": "count", "depends_on": ["plan"], "loop": {"max_iterations": 5}},
        {"id": "ok", "type": "approval", "depends_on": ["loop"], "config": {"subject": "every.ask", "timeout": "10m"}},
        {"id": "sig", "type": "wait_for_signal", "depends_on": ["ok"], "config": {"name": "go", "timeout": "10m"}},
        {"id": "paid", "type": "wait_for_event", "depends_on": ["sig"],
         "config": {"event": "paid", "timeout": "10m", "match": {"left": "id", "op": "eq", "right": "input.id"}}},
        {"id": "sub", "type": "sub_workflow", "depends_on": ["paid"], "input": {"$input": "n"},
         "config": {"workflow": "child"}},
        {"id": "answer", "type": "respond", "depends_on": ["sub"]},
        {"id": "more", "task": "ask", "depends_on": ["answer"]},
        {"id": "make", "task": "make", "depends_on": ["sub"], "input": {"$input": "n"},
         "required_capabilities": ["control-plane"]},
        {"id": "bad", "task": "break_down", "depends_on": ["more"], "on_failure": "mended"},
        {"id": "mended", "task": "mend"},
        {"id": "away", "type": "agent", "task": "double", "worker_group": "", "depends_on": ["more"],
         "input": {"$input": "n"}},
        {"id": "end", "task": "finish", "depends_on": ["plan", "loop", "paid", "sub", "more", "away", "make"]},
    )
)  # fmt: skip
