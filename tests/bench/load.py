"""The client's side of a benchmark: start runs of a workflow, wait for them, print figures as JSON."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

import uvloop

from dagnats.client import Client
from dagnats.jetstream.outside import JetStream
from tests.bench.tasks import app

PAYLOAD = "x" * 256


async def load(
    url: str, workflow: str, payload: Any, runs: int, in_flight: int
) -> dict[str, float]:
    """Runs a second, and milliseconds a run (median and 99th percentile)."""
    client = Client(await JetStream.open(url, name="bench", ensure=False))
    definition = app.workflows()[workflow]
    slots = asyncio.Semaphore(in_flight)
    took: list[float] = []

    async def one() -> None:
        async with slots:
            began = time.perf_counter()
            handle = await client.start(definition, payload)
            await handle.result(120)
            took.append(time.perf_counter() - began)

    await one()
    took.clear()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(runs):
            group.create_task(one())
    elapsed = time.perf_counter() - began
    await client.close()
    took.sort()
    return {
        "runs_per_s": runs / elapsed,
        "ms_p50": statistics.median(took) * 1000,
        "ms_p99": took[min(len(took) - 1, int(len(took) * 0.99))] * 1000,
    }


if __name__ == "__main__":
    _, url_, workflow_, payload_, runs_, in_flight_ = sys.argv
    print(
        json.dumps(
            uvloop.run(load(url_, workflow_, json.loads(payload_), int(runs_), int(in_flight_)))
        )
    )
