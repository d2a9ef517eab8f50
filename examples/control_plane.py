"""Control plane: an agent that writes a workflow for the question at hand, and starts it.

dagnats dev examples/control_plane.py           # in one terminal: a NATS server, a scheduler and a worker
dagnats policy grant research                   # in another: without this, nothing is registered
python examples/control_plane.py
"""

from __future__ import annotations

import asyncio
from typing import Any

from dagnats import AgentContext, App, Continue, ControlPlaneError

app = App("control-plane")


@app.task
async def look_up(topic: str) -> str:
    """What a workflow of the agent's may use."""
    return f"{topic} is a drink"


@app.task
async def compare(found: dict[str, str]) -> str:
    """All that was found."""
    return "; ".join(sorted(found.values()))


def written(topics: list[str]) -> dict[str, Any]:
    """In the place of a model: a workflow with a step for each topic, and one that compares them."""
    steps = [{"id": topic, "task": "look_up", "input": topic} for topic in topics]
    return {
        "name": "study",
        "steps": [*steps, {"id": "end", "task": "compare", "depends_on": topics}],
    }


@app.agent_loop(max_iterations=3, capabilities=["control-plane"])
async def agent(ctx: AgentContext[list[str]], question: str) -> str | Continue[list[str]]:
    """Tries again with fewer topics when what it wrote is refused."""
    if ctx.control_plane is None:
        return "I may not: `dagnats policy grant research`"
    topics = ctx.checkpoint or question.split()
    try:
        name = await ctx.control_plane.register_workflow(written(topics))
    except ControlPlaneError as refused:
        ctx.log.info("refused (%s): %s", refused.kind, refused)
        return Continue(list(dict.fromkeys(topics)))  # "tea tea" made two steps of one id
    return await ctx.control_plane.start_run(name)


@app.workflow
def research(question: str):
    """The workflow that is granted: its steps, not those of the workflows it makes."""
    return agent(question)


async def main() -> None:
    """The agent's run gives the id of the run that it started."""
    async with app:
        client = await app.client()
        handle = await research.start("tea coffee tea")
        study = client.handle(await handle.result(30))
        print(await study.result(30))
        run = await study.status()
        print(run.workflow == f"agent.{handle.run_id}.study", run.parent == handle.run_id)


if __name__ == "__main__":
    asyncio.run(main())
