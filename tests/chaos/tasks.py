"""Handlers that take long, with a ledger line at each start and end."""

from __future__ import annotations

import asyncio
import os
import random
import time

from dagnats import App, Context, WorkflowBuilder
from tests.faults.tasks import note

LONGEST = "DAGNATS_CHAOS_LONGEST_S"
STEPS = 3
SHORTEST_S = 2.0

app = App("chaos")


def stamped(ctx: Context, what: str) -> None:
    """A line of the ledger, with the monotonic time of this machine at its end."""
    note(ctx, f"{what} {time.monotonic()}")


@app.task
async def hold(ctx: Context, n: int) -> int:
    """Take long, and add one."""
    stamped(ctx, "start")
    longest = float(os.environ[LONGEST])
    await asyncio.sleep(random.uniform(min(SHORTEST_S, longest / 2), longest))
    stamped(ctx, "end")
    return n + 1


chain = WorkflowBuilder("chaos")
for number in range(STEPS):
    chain.task(f"s{number}", task="hold", after=[f"s{number - 1}"] if number else [])
app.add(chain.build())
