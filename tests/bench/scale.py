"""Does a step cost more beside very many finished or waiting runs? ``scale URL FINISHED PARKED PID PID``.

Steps a second are compared, before and after; and the memory of the scheduler and the server, for each waiting run.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import psutil
import uvloop

from dagnats.client import Client
from dagnats.jetstream.outside import JetStream
from dagnats.limits import RUN_IDLE_MS
from tests.bench.load import PAYLOAD, load
from tests.bench.tasks import app

AT_ONCE = 500
IDLE_S = RUN_IDLE_MS / 1000 + 15  # until quiet runs have left the scheduler's memory


async def start_many(client: Client, workflow: str, given: Any, count: int, *, wait: bool) -> None:
    """So many runs, some hundred at a time."""
    definition = app.workflows()[workflow]
    slots = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with slots:
            handle = await client.start(definition, given)
            if wait:
                await handle.result(300)

    for first in range(0, count, 10_000):
        await asyncio.gather(*(one() for _ in range(min(10_000, count - first))))


async def steps(url: str) -> float:
    """Steps a second, of chains."""
    return (await load(url, "chain-5", PAYLOAD, 1_000, 500))["runs_per_s"] * 5


def used_mb(pid: int) -> float:
    """Memory of a process that is its own."""
    return psutil.Process(pid).memory_full_info().uss / 2**20


async def measure(url: str, finished: int, parked: int, scheduler: int, server: int) -> Any:
    """All figures."""
    client = Client(await JetStream.open(url, name="bench", ensure=False))
    await steps(url)
    figures = {"steps_before": await steps(url)}
    began = time.perf_counter()
    await start_many(client, "noop", PAYLOAD, finished, wait=True)
    figures["finished_per_s"] = finished / (time.perf_counter() - began)
    figures["steps_beside_finished"] = await steps(url)
    await asyncio.sleep(IDLE_S)
    scheduler_mb, server_mb = used_mb(scheduler), used_mb(server)
    await start_many(client, "wait", None, parked, wait=False)
    await asyncio.sleep(IDLE_S)
    figures["scheduler_bytes_per_parked"] = (used_mb(scheduler) - scheduler_mb) * 2**20 / parked
    figures["server_bytes_per_parked"] = (used_mb(server) - server_mb) * 2**20 / parked
    figures["steps_beside_parked"] = await steps(url)
    await client.close()
    return figures


if __name__ == "__main__":
    _, url_, finished_, parked_, scheduler_, server_ = sys.argv
    print(
        json.dumps(
            uvloop.run(measure(url_, int(finished_), int(parked_), int(scheduler_), int(server_)))
        )
    )
