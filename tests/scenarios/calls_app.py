"""An app for workers that tests kill: a handler with durable calls, and a ledger of every execution."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from dagnats import App, Context

app = App("calls")


def note(word: str) -> int:
    """Write a word into the ledger (one short append is atomic); how often it is there."""
    ledger = Path(os.environ["CALLS_LEDGER"])
    with ledger.open("a") as record:
        record.write(f"{word}\n")
    return ledger.read_text().split().count(word)


@app.task
async def part(n: int) -> int:
    """Some work that must not be done twice."""
    note(f"part{n}")
    return 10 * n


@app.task
async def whole(ctx: Context) -> list[int]:
    """Three calls; the first execution then waits to be killed in the middle of the third."""
    first = note("whole") == 1
    parts = [await ctx.call(part, n) for n in range(2)]
    if first:
        await asyncio.sleep(60)
    return [*parts, await ctx.call(part, 2)]


@app.task
def waits(ctx: Context) -> str:
    """Waits for a signal in a thread, in whatever process it is."""
    note("waits")
    return ctx.wait_for_signal("go").wait()


@app.task(capabilities=["control-plane"])
async def makes(ctx: Context) -> list[str]:
    """Registers a workflow and starts it twice; the first execution waits to be killed between the two."""
    plane = ctx.control_plane
    if plane is None:
        return []
    first = note("makes") == 1
    step = {"id": "part", "task": "part", "input": 7}
    name = await plane.register_workflow({"name": "made", "steps": [step]})
    one = await plane.start_run(name)
    note("started")
    if first:
        await asyncio.sleep(60)
    return [name, one, await plane.start_run(name)]
