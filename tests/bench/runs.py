"""What single runs cost: until a handler begins, for each item of a map, for each step of a very long run, in bytes."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from itertools import pairwise

import uvloop

from dagnats.client import Client
from dagnats.jetstream.outside import JetStream
from dagnats.wire import subjects
from tests.bench.load import PAYLOAD
from tests.bench.tasks import app

TURNS = 10_000
PART = 500  # compared are so many of the first and of the last turns


class Bench:
    """A client of a deployment that is up."""

    def __init__(self, outside: JetStream) -> None:
        self.outside = outside
        self.client = Client(outside)

    async def run(self, workflow: str, given: object) -> object:
        """What a run gives."""
        handle = await self.client.start(app.workflows()[workflow], given)
        return await handle.result(300)

    async def begins(self) -> dict[str, float]:
        """From the call of ``start`` to the first line of the handler; one machine, one clock."""
        took: list[float] = []
        for _ in range(220):
            began = time.time()
            took.append((await self.run("clock", PAYLOAD) - began) * 1000)  # type: ignore[operator]
        cuts = statistics.quantiles(took[20:], n=100)
        return {"begin_ms_p50": cuts[49], "begin_ms_p99": cuts[98]}

    async def items(self, count: int) -> float:
        """Items of a map a second."""
        began = time.perf_counter()
        await self.run("each", [PAYLOAD] * count)
        return count / (time.perf_counter() - began)

    async def turns(self) -> dict[str, float]:
        """Milliseconds of a turn, among the first and the last of a run's."""
        at = await self.run("long", TURNS)
        took = [b - a for a, b in pairwise(at)]  # type: ignore[index,arg-type]
        first, last = took[10:PART], took[-PART:]
        return {
            "turn_ms_first": statistics.median(first) * 1000,
            "turn_ms_last": statistics.median(last) * 1000,
        }

    async def stored(self, workflow: str, given: object, runs: int) -> float:
        """Bytes that the log keeps of a run."""

        async def size() -> int:
            info = await self.outside.link.api(f"STREAM.INFO.{subjects.EVENTS}")
            return int(info["state"]["bytes"])

        before = await size()
        await asyncio.gather(*(self.run(workflow, given) for _ in range(runs)))
        return (await size() - before) / runs


async def measure(url: str) -> dict[str, float]:
    """All figures."""
    bench = Bench(await JetStream.open(url, name="bench", ensure=False))
    figures = await bench.begins()
    figures["map_1000_per_s"] = statistics.median([await bench.items(1_000) for _ in range(3)])
    figures["map_10000_per_s"] = await bench.items(10_000)
    figures |= await bench.turns()
    figures["bytes_per_step"] = await bench.stored("chain-5", PAYLOAD, 100) / 5
    figures["bytes_per_turn"] = await bench.stored("spin", 50, 2) / 50
    await bench.outside.close()
    return figures


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(sys.argv[1]))))
