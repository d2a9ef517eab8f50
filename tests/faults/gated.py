"""A task that two may run at once, over everything: every execution leaves two lines in a file."""

from __future__ import annotations

import asyncio
import random

from dagnats import App, Budget, Concurrency, Context
from tests.faults.tasks import note

AT_ONCE, PER_TENANT = 3, 2
REPORTS, TOKENS, TENANT_TOKENS = 2, 10, 1_000_000

app = App("gated")


@app.task(concurrency=[Concurrency(AT_ONCE), Concurrency(PER_TENANT, key="input.tenant")])
async def narrow(ctx: Context, order: dict[str, int]) -> int:
    """What takes its time, for a tenant."""
    note(ctx, f"start-{order['tenant']}")
    await asyncio.sleep(random.uniform(0.01, 0.05))
    note(ctx, f"end-{order['tenant']}")
    return order["n"]


@app.task
async def spend(ctx: Context, order: dict[str, int]) -> int:
    """What costs a tenant something, in several reports."""
    note(ctx, f"start-{order['tenant']}")
    for _ in range(REPORTS):
        await ctx.report_usage(output_tokens=TOKENS)
        await asyncio.sleep(random.uniform(0.005, 0.02))
    note(ctx, f"end-{order['tenant']}")
    return order["n"]


@app.workflow(budget=Budget(tokens=TENANT_TOKENS, key="input.tenant"))
def costly(order: dict[str, int]):
    """Two that cost something."""
    return spend(order, after=[spend(order)])
