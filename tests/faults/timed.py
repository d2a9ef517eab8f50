"""Work that waits for time: a sleep, a retry, a time-out that does not come."""

from __future__ import annotations

import asyncio

from dagnats import App, Context, Retry, sleep
from tests.faults.tasks import note

app = App("timed")


@app.task(timeout="30s")
async def early(ctx: Context, n: int) -> int:
    """Comes before the sleep."""
    note(ctx, "start")
    await asyncio.sleep(0.05)
    return n


@app.task(retry=Retry(2, delay=1, backoff="fixed", jitter=False), timeout="30s")
async def late(ctx: Context, n: int) -> int:
    """Comes after it, and works the second time."""
    note(ctx, "start")
    if ctx.attempt == 1:
        raise OSError("not yet")
    return n


@app.workflow
def timed(n: int) -> int:
    """Early, a sleep of two seconds, late."""
    done = early(n, step_id="early")
    return late(done, after=sleep("2s", after=done), step_id="late")
