"""Token streams: how long from ``emit`` to a subscriber, and how much a tight loop streams.

The worker and the reader share a machine, so the clock in each chunk is the reader's own.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time

import uvloop

from dagnats.client import Client, Handle
from dagnats.jetstream.outside import JetStream
from tests.bench.tasks import app

Took = list[float]


async def heard(handle: Handle[None], after: int = 0) -> Took:
    """Seconds from each chunk's emit until it is here; not of those before the reader had come."""
    return [time.time() - chunk.data async for chunk in handle.stream() if chunk.n >= after]


async def latency(client: Client, streams: int, chunks: int, per_s: int) -> Took:
    """Of so many streams at once, each at so many chunks a second."""
    given = {"chunks": chunks, "pause_s": 1 / per_s}
    task = app.workflows()["speak"]
    handles = [await client.start(task, given) for _ in range(streams)]
    readings = await asyncio.gather(*(heard(handle, chunks // 5) for handle in handles))
    return sorted(took for reading in readings for took in reading)


async def measure(url: str, streams: int, per_s: int) -> dict[str, float]:
    """All figures."""
    client = Client(await JetStream.open(url, name="bench", ensure=False))
    await latency(client, 1, 10, 1_000)
    alone = await latency(client, 1, 1_000, per_s)
    many = await latency(client, streams, 500, per_s)
    began = time.perf_counter()
    tight = await latency(client, 1, 100_000, 0x7FFFFFFF)
    elapsed = time.perf_counter() - began
    await client.close()
    return {
        "ms_p50": statistics.median(alone) * 1000,
        "ms_p99": alone[int(len(alone) * 0.99)] * 1000,
        "many_ms_p50": statistics.median(many) * 1000,
        "many_ms_p99": many[int(len(many) * 0.99)] * 1000,
        "chunks_per_s": len(tight) / elapsed,
    }


if __name__ == "__main__":
    _, url_, streams_, per_s_ = sys.argv
    print(json.dumps(uvloop.run(measure(url_, int(streams_), int(per_s_)))))
