"""Handlers that take long, with a ledger line at each start and end."""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

from dagnats import App, Context, WorkflowBuilder

LEDGER, LONGEST = "DAGNATS_CHAOS_LEDGER", "DAGNATS_CHAOS_LONGEST_S"
STEPS = 3
SHORTEST_S = 2.0

app = App("chaos")


def note(ctx: Context, what: str) -> None:
    """One line in one write: run, ticket, pid, what, and the monotonic time of this machine."""
    line = f"{ctx.run_id} {ctx.message.ticket} {os.getpid()} {what} {time.monotonic()}\n"
    file = os.open(Path(os.environ[LEDGER]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@app.task
async def hold(ctx: Context, n: int) -> int:
    """Take long, and add one."""
    note(ctx, "start")
    longest = float(os.environ[LONGEST])
    await asyncio.sleep(random.uniform(min(SHORTEST_S, longest / 2), longest))
    note(ctx, "end")
    return n + 1


chain = WorkflowBuilder("chaos")
for number in range(STEPS):
    chain.task(f"s{number}", task="hold", after=[f"s{number - 1}"] if number else [])
app.add(chain.build())
