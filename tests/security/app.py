"""What runs under credentials: every kind of thing that a handler or a workflow does on the wire."""

from __future__ import annotations

import os

from dagnats import AgentContext, App, Context, Continue, approval, sleep

app = App("guarded")


@app.task
async def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@app.task(concurrency=1)
async def shout(text: str) -> str:
    """Another worker's."""
    return text.upper()


@app.task
async def large(size: int) -> str:
    """An answer above what a message carries."""
    return "x" * size


@app.agent_loop(max_iterations=5)
async def turns(ctx: AgentContext[int], n: int) -> int | Continue[int]:
    """A loop that streams, and saves."""
    done = ctx.checkpoint or 0
    await ctx.emit(f"turn {done}")
    await ctx.save_checkpoint(done)
    assert await ctx.load_checkpoint() == done
    return done if done == n else Continue(done + 1)


@app.task
async def asks(ctx: Context, n: int) -> int:
    """A durable call of another task."""
    return await ctx.call(add, n, 1)


@app.task
async def dies_once(path: str) -> str:
    """Its worker dies the first time."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "again"
    os._exit(9)


@app.workflow
def everything(n: int):
    """Tasks of several workers, a limit, a loop, a question and a pause."""
    total = add(n, 1)
    looped = turns(2, after=total)
    loud = shout("hello", after=looped)
    rest = sleep("10ms", after=loud)
    said = approval("go on?", timeout="1m", after=rest)
    return add(n, n, after=said)
