"""What ``test_18_routing`` runs in processes of their own: steps that note who ran them, and when."""

from __future__ import annotations

import os
import time
from pathlib import Path

from dagnats import App, Context

app = App("routing")


def note(*words: object) -> None:
    """One line of the record (one short append is atomic)."""
    with Path(os.environ["ROUTING_RECORD"]).open("a") as record:
        record.write(" ".join(map(str, (*words, os.getpid()))) + "\n")


@app.task
def where(ctx: Context, n: int) -> int:
    """Say where a step runs."""
    note(ctx.run_id, ctx.step_id)
    time.sleep(0.005)
    return n + 1


@app.workflow(sticky="soft")
def together(n: int) -> int:
    """Three steps that prefer one worker."""
    return where(where(where(n)))


@app.task(singleton=True)
def alone(n: int) -> int:
    """Say when it begins and when it ends."""
    note("begin", n)
    time.sleep(0.02)
    note("end", n)
    return n
