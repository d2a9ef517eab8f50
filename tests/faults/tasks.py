"""The work that is done while processes are killed: every execution leaves two lines in a file."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

from dagnats import AgentContext, App, Context, Continue, WorkflowBuilder

STEPS = 5
LEDGER = "DAGNATS_TEST_LEDGER"

app = App("faults")


def note(ctx: Context, what: str) -> None:
    """One line in one write: others append to the same file."""
    line = f"{ctx.run_id} {ctx.message.ticket} {os.getpid()} {what}\n"
    file = os.open(Path(os.environ[LEDGER]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


async def work(ctx: Context) -> None:
    """What a handler takes: 5 to 30 ms."""
    note(ctx, "start")
    await asyncio.sleep(random.uniform(0.005, 0.03))
    note(ctx, "end")


@app.task
async def hop(ctx: Context, n: int) -> int:
    """Add one."""
    await work(ctx)
    return n + 1


@app.agent_loop(max_iterations=2 * STEPS)
async def turn(ctx: AgentContext[int], n: int) -> int | Continue[int]:
    """Add one in each of five iterations; the checkpoint carries the sum."""
    await work(ctx)
    total = (n if ctx.checkpoint is None else ctx.checkpoint) + 1
    return total if ctx.iteration + 1 >= STEPS else Continue(total)


chain = WorkflowBuilder("chain")
for number in range(STEPS):
    chain.task(f"s{number}", task="hop", after=[f"s{number - 1}"] if number else [])
app.add(chain.build())
app.add(WorkflowBuilder("loop").agent_loop("go", task="turn", max_iterations=2 * STEPS).build())

TICKETS = {
    "chain": tuple(f"s{number}/1/0" for number in range(STEPS)),
    "loop": tuple(f"go/1/{number}" for number in range(STEPS)),
}
