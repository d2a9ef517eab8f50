"""Handlers that do what no handler should: block, ignore, leak, crash. Every execution leaves lines in a file."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import threading
import time

from msgspec import Struct

from dagnats import AgentContext, App, Context, Continue, Retry, WorkflowBuilder
from tests.faults.tasks import note

app = App("hostile")
_gone = threading.Event()


class Answer(Struct):
    """What a task gives that uses its whole context."""

    pid: int
    attempt: int
    saved: int
    doubled: int
    tag: str


# -- in processes of their own ---------------------------------------------------------------------


def crash(how: str) -> None:
    """End this process in one of the ways in which native code does."""
    if how == "segfault":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(3)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


@app.task(isolate="process", retry=Retry(2, delay=0.01, on=(ZeroDivisionError,)))
async def crashes_once(ctx: Context, how: str) -> int:
    """The first attempt takes its process down."""
    note(ctx, "start")
    if ctx.attempt == 1:
        crash(how)
    return os.getpid()


@app.task(isolate="process")
def crashes(ctx: Context, how: str) -> int:
    """Takes its process down."""
    note(ctx, "start")
    crash(how)
    return os.getpid()


@app.task(isolate="process", timeout="500ms")
def ignores(ctx: Context, how: str) -> None:
    """Does not hear that its time is over."""
    note(ctx, "start")
    while True:
        try:
            if how == "holds":  # the interpreter's lock: no other thread of this process runs
                ctypes.PyDLL(None).sleep(600)
            time.sleep(600)
        except BaseException:
            note(ctx, "heard")


@app.task(isolate="process")
def starts_others(ctx: Context, holds: bool) -> None:
    """Starts a program, and never ends."""
    started = subprocess.Popen(["sleep", "600"])
    note(ctx, f"sleep:{started.pid}")
    if holds:
        ctypes.PyDLL(None).sleep(600)
    time.sleep(600)


@app.task(isolate="process")
async def double(n: int) -> int:
    """Twice as much: called by another isolated handler."""
    return 2 * n


@app.task(isolate="process", metadata={"tag": "blue"})
async def uses(ctx: Context, n: int) -> Answer:
    """Everything that a context has."""
    await ctx.save_checkpoint(n + 1)
    await ctx.heartbeat({"at": n})
    for chunk in range(n):
        await ctx.emit(chunk)
    doubled = await ctx.call(double, n)
    await ctx.send_signal(ctx.run_id, "mine", doubled)
    doubled += await ctx.wait_for_signal("mine")
    await ctx.report_usage(input_tokens=n)
    saved = await ctx.load_checkpoint()
    ctx.log.warning("all used")
    return Answer(os.getpid(), ctx.attempt, saved or 0, doubled, ctx.metadata["tag"])


@app.agent_loop(max_iterations=5, isolate="process")
def counts(ctx: AgentContext[int], n: int) -> int | Continue[int]:
    """A loop of plain functions in processes."""
    total = (ctx.checkpoint or 0) + n
    ctx.emit(total).wait()
    return total if ctx.iteration == 3 else Continue(total)


@app.task(isolate="process")
def large(n: int) -> str:
    """A result that does not fit in a message."""
    return "x" * n


@app.task(isolate="process")
def pid(leak: bool = False) -> int:
    """The process that it runs in; one that leaves a thread behind is not used again."""
    if leak:
        threading.Thread(target=_gone.wait, daemon=True).start()
    return os.getpid()


app.add(WorkflowBuilder("unchecked").task("only", task="pid").build())


@app.task(isolate="process")
async def waits(ctx: Context) -> None:
    """Waits to be cancelled."""
    note(ctx, "start")
    try:
        await asyncio.sleep(600)
    finally:
        note(ctx, "end")


# -- in the worker ---------------------------------------------------------------------------------


@app.task
def calm(n: int) -> int:
    """Something that others have to do meanwhile."""
    return n


@app.task
async def blocks(ctx: Context, seconds: float) -> str:
    """Blocks the event loop, and with it every handler of the worker."""
    note(ctx, "start")
    time.sleep(seconds)
    note(ctx, "end")
    return "done"


@app.task(timeout="300ms")
async def swallows(ctx: Context) -> None:
    """Takes being cancelled for a mistake of somebody else."""
    note(ctx, "start")
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            note(ctx, "heard")


@app.task
def leaks(ctx: Context, threads: int) -> None:
    """Leaves threads behind that nobody ends."""
    for _ in range(threads):
        threading.Thread(target=idle_for_ever, daemon=True).start()


def idle_for_ever() -> None:
    """What a leaked thread does."""
    _gone.wait()
