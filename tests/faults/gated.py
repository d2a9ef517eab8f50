"""A task that two may run at once, over everything: every execution leaves two lines in a file."""

from __future__ import annotations

import asyncio
import random

from dagnats import App, Concurrency, Context
from tests.faults.tasks import note

AT_ONCE, PER_TENANT = 3, 2

app = App("gated")


@app.task(concurrency=[Concurrency(AT_ONCE), Concurrency(PER_TENANT, key="input.tenant")])
async def narrow(ctx: Context, order: dict[str, int]) -> int:
    """What takes its time, for a tenant."""
    note(ctx, f"start-{order['tenant']}")
    await asyncio.sleep(random.uniform(0.01, 0.05))
    note(ctx, f"end-{order['tenant']}")
    return order["n"]
