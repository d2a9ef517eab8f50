"""Schedules: how long after its instant a run's first fact is in the log.

A hundred triggers of the same second: the worst there is for lateness.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from datetime import datetime

import msgspec
import uvloop

from dagnats.client import Client
from dagnats.core.triggers.model import Cron, Trigger
from dagnats.jetstream.outside import JetStream
from dagnats.wire import subjects

TRIGGERS = 100


async def measure(url: str, seconds: float) -> dict[str, float]:
    """All figures, in milliseconds."""
    outside = await JetStream.open(url, name="bench", ensure=False)
    client = Client(outside)
    given = {"on": Cron("@every 1s"), "workflow": "noop", "input": {"$input": "timestamp"}}
    triggers = [Trigger(id=f"bench-{number}", **given) for number in range(TRIGGERS)]
    for trigger in triggers:
        await client.set_trigger(trigger)
    await asyncio.sleep(seconds)
    for trigger in triggers:
        await client.delete_trigger(trigger.id)
    late: list[float] = []
    async for page in outside.log.newest(subjects.STARTS):
        for entry in page:
            fact = msgspec.json.decode(entry.payload)
            if "dagnats.trigger" in fact.get("metadata", {}):
                instant = datetime.fromisoformat(fact["input"]).timestamp() * 1000
                late.append(entry.at_ms - instant)
    await outside.close()
    cuts = statistics.quantiles(late, n=100)
    return {"runs": len(late), "ms_p50": cuts[49], "ms_p99": cuts[98]}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(sys.argv[1], float(sys.argv[2])))))
