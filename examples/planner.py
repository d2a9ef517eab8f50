"""A planner: a model proposes steps from an allowed list; they run as if they had been declared.

dagnats dev examples/planner.py      # in one terminal: a NATS server, a scheduler and a worker
python examples/planner.py           # in another
"""

from __future__ import annotations

import asyncio

from dagnats import App, Context, Plan, Retry, Step

app = App("planner")


@app.task
async def edit(what: str) -> str:
    """Change something."""
    return f"edited {what}"


@app.task
async def run_tests(after: str) -> str:
    """See whether it works."""
    return f"tests pass ({after})"


@app.planner(allowed_tasks=[edit, run_tests], max_steps=10, retry=Retry(3, delay="10ms"))
async def plan(ctx: Context, goal: str) -> Plan:
    """A model's plan. The first one is wrong; the next attempt is told what was, and does better."""
    if not ctx.message.error:
        return Plan([Step("wipe", "rm")])
    return Plan(
        [
            Step("edit", edit, goal),
            Step("test", run_tests, Step.output("edit"), after="edit"),
        ]
    )


@app.workflow
def fix(goal: str):
    """What comes after the planner waits for all of the plan."""
    return plan(goal)


async def main() -> None:
    """Have something fixed."""
    async with app:
        print(await (await fix.start("the login form")).result(30))


if __name__ == "__main__":
    asyncio.run(main())
