"""The work that benchmarks run: as little as possible."""

from __future__ import annotations

import asyncio
import time

from dagnats import AgentContext, App, Context, Continue, WorkflowBuilder

app = App("bench")


@app.task
async def noop(value: str) -> str:
    """Give back what came."""
    return value


@app.agent_loop(max_iterations=1_000)
async def spin(ctx: AgentContext[str], turns: int) -> int | Continue[str]:
    """Go round with an 8 KB checkpoint."""
    state = ctx.checkpoint or "x" * 8192
    return ctx.iteration + 1 if ctx.iteration + 1 >= turns else Continue(state)


@app.task
async def speak(ctx: Context, chunks: int, pause_s: float) -> None:
    """Emit the time, again and again; without a pause to speak of, in a tight loop."""
    for _ in range(chunks):
        await ctx.emit(time.time())
        if pause_s > 1e-6:
            await asyncio.sleep(pause_s)


def chain(steps: int) -> WorkflowBuilder:
    """A chain of no-ops."""
    builder = WorkflowBuilder(f"chain-{steps}")
    for number in range(steps):
        builder.task(f"s{number}", task="noop", after=[f"s{number - 1}"] if number else [])
    return builder


app.add(chain(5).build())
app.add(chain(10).build())
