"""A kind of trigger of its own: it counts, and says which process does."""

import asyncio
import os

from dagnats import App

app = App("external")


@app.task
async def note(given: dict) -> dict:
    """Give back what it is given."""
    return given


@app.trigger_type(
    "count",
    config_schema={
        "type": "object",
        "required": ["pause"],
        "properties": {"pause": {"type": "number"}},
    },
    payload_schema={"type": "object", "required": ["n"]},
)
async def count(trigger) -> None:
    """From the first on, again from the first in each life."""
    n = 0
    while True:
        await trigger.fire({"n": n, "pid": os.getpid()}, key=str(n))
        n += 1
        await asyncio.sleep(trigger.config["pause"])
