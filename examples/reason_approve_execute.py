"""Three phases: an agent reasons, a person approves, a planner's steps execute.

dagnats dev examples/reason_approve_execute.py      # in one terminal: a NATS server, a scheduler and a worker
python examples/reason_approve_execute.py           # in another
"""

from __future__ import annotations

import asyncio

from dagnats import AgentContext, App, Continue, Plan, Step, approval

app = App("reason-approve-execute")


@app.agent_loop(max_iterations=5, max_duration="10m")
async def reason(ctx: AgentContext[list[str]], goal: str) -> list[str] | Continue[list[str]]:
    """Think in turns: what has to be done for the goal?"""
    thoughts = [*(ctx.checkpoint or []), f"{goal}: part {ctx.iteration + 1}"]
    return thoughts if len(thoughts) == 2 else Continue(thoughts)


@app.task
async def work(part: str) -> str:
    """One part of it."""
    return f"did {part}"


@app.planner(allowed_tasks=[work], max_steps=5)
async def execute(parts: list[str]) -> Plan:
    """A step for each part, one after the other."""
    return Plan(
        [
            Step(f"p{n}", work, part, after=[f"p{n - 1}"] if n else [])
            for n, part in enumerate(parts)
        ]
    )


@app.workflow(timeout="1d")
def careful(goal: str):
    """Nothing is executed that nobody approved."""
    parts = reason(goal)
    ok = approval("Execute this?", timeout="24h", show=parts, step_id="ok")
    return execute(parts, after=ok)


async def main() -> None:
    """The person's part is played here, too."""
    async with app:
        client = await app.client()
        handle = await careful.start("tidy up")
        while not (questions := await client.approvals(handle.run_id)):
            await asyncio.sleep(0.05)
        print(f"{questions[0].description} {questions[0].show}")
        await handle.approve("ok", by="ada")
        print(await handle.result(30))


if __name__ == "__main__":
    asyncio.run(main())
