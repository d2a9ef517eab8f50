"""Sleeping: for a while, and until a time that the input names. No process waits meanwhile.

dagnats dev examples/sleeping.py      # in one terminal: a NATS server, a scheduler and a worker
python examples/sleeping.py           # in another
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from dagnats import App, sleep

app = App("sleeping")


@app.task
async def remind(text: str) -> str:
    """What is done in the end."""
    return f"remember: {text}"


@app.workflow
def reminder(text: str, at: str):
    """Sleep until then, and a moment longer."""
    woken = sleep(until=at)
    rested = sleep("200ms", after=woken)
    return remind(text, after=rested)


async def main() -> None:
    """In half a second."""
    async with app:
        at = datetime.now(UTC) + timedelta(seconds=0.5)
        print(await (await reminder.start("tea", at.isoformat())).result(30))


if __name__ == "__main__":
    asyncio.run(main())
