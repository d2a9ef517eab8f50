"""Tools of an agent as durable calls: visible steps with their own retries, never repeated by a crash.

dagnats dev examples/tool_calls.py      # in one terminal: a NATS server, a scheduler and a worker
python examples/tool_calls.py           # in another
"""

from __future__ import annotations

import asyncio

from dagnats import AgentContext, App, CallFailed, Continue, Retry

app = App("tool-calls")


@app.task(retry=Retry(3, delay="50ms"), timeout="10s")
async def search(query: str) -> list[str]:
    """A tool."""
    return [f"{query} is made of leaves"]


@app.task
async def calculate(expression: str) -> float:
    """A tool that may fail."""
    return float(eval(expression, {"__builtins__": {}}))  # noqa: S307  (an example's calculator)


SCRIPT = [
    ("search", "tea"),
    ("calculate", "6 * 7"),
    ("calculate", "1 / 0"),
]  # what a model would say


@app.agent_loop(max_iterations=5)
async def agent(ctx: AgentContext[list[str]], question: str) -> str | Continue[list[str]]:
    """Each turn calls the tool that the model asks for; what it gave is part of the conversation."""
    notes = ctx.checkpoint or []
    if ctx.iteration == len(SCRIPT):
        return "; ".join([question, *notes])
    tool, argument = SCRIPT[ctx.iteration]
    try:
        found = await ctx.call(search if tool == "search" else calculate, argument)
    except CallFailed as problem:
        found = f"failed: {problem.failure}"
    return Continue([*notes, f"{tool}: {found}"])


async def main() -> None:
    """Ask, and show the steps that came of it."""
    async with app:
        handle = await agent.start("what is tea?")
        print(await handle.result(30))
        print(", ".join(step.id for step in (await handle.status()).steps))


if __name__ == "__main__":
    asyncio.run(main())
