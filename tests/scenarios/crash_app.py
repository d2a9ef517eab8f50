"""An app for processes that tests kill; it notes every execution in a file."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from dagnats import App, Context

app = App("crash")


@app.task
async def crash_add(ctx: Context, n: int) -> int:
    """Add one, slowly, and note it (one short append is atomic)."""
    with Path(os.environ["CRASH_RECORD"]).open("a") as record:
        record.write(f"{ctx.run_id}/{ctx.step_id}\n")
    await asyncio.sleep(0.01)
    return n + 1


@app.task
async def crash_talk(ctx: Context) -> str:
    """Stream some words; the first execution then waits to be killed."""
    for word in ("once ", "upon ", "a "):
        await ctx.emit(word)
    record = Path(os.environ["CRASH_RECORD"])
    if not record.exists():
        record.touch()
        await asyncio.sleep(60)
    await ctx.emit("time")
    return "said"
