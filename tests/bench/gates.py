"""Gates: grants a second, what asking costs, fairness between keys, and how exactly a rate is kept."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

import uvloop

from dagnats.client import Client, Handle
from dagnats.jetstream.outside import JetStream
from dagnats.task import Task
from tests.bench.tasks import fair, hot, keyed, noop, paced

KEYS = 1_000
TENANTS = 10
RATE = 50
RATE_S = 60
IN_FLIGHT = 1_000


async def alone(client: Client, task: Task[..., Any]) -> float:
    """Milliseconds of one run, when there is no other."""
    took: list[float] = []
    for _ in range(60):
        began = time.perf_counter()
        handle = await client.start(task.definition(), "x")
        await handle.result(60)
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took[10:])


async def started(client: Client, task: Task[..., Any], inputs: list[Any]) -> list[Handle[Any]]:
    """Runs with these inputs, started some hundred at a time."""
    definition, handles = task.definition(), []
    for first in range(0, len(inputs), 200):
        some = inputs[first : first + 200]
        handles += await asyncio.gather(*(client.start(definition, each) for each in some))
    return handles


async def per_second(client: Client, task: Task[..., Any], inputs: list[Any]) -> float:
    """Runs a second, with a bounded number in flight."""
    slots, definition = asyncio.Semaphore(IN_FLIGHT), task.definition()

    async def one(given: Any) -> None:
        async with slots:
            handle = await client.start(definition, given)
            await handle.result(120)

    began = time.perf_counter()
    await asyncio.gather(*map(one, inputs))
    return len(inputs) / (time.perf_counter() - began)


async def jain(client: Client, runs: int) -> float:
    """Jain's index of what tenants get while all of them wait; those who asked first have most to do."""
    share = max(10, runs // (TENANTS * (TENANTS + 1) // 2))
    waiting = [
        {"tenant": str(tenant)}
        for tenant in range(TENANTS)
        for _ in range(share * (TENANTS - tenant))
    ]
    handles = await started(client, fair, waiting)
    since = time.time()
    times = await asyncio.gather(*(handle.result(120) for handle in handles))
    ran: dict[str, list[float]] = {}
    for order, at in zip(waiting, times, strict=True):
        ran.setdefault(order["tenant"], []).append(at)
    until = min(max(each) for each in ran.values())
    got = [sum(since <= at < until for at in each) for each in ran.values()]
    return sum(got) ** 2 / (TENANTS * sum(share**2 for share in got))


async def rate(client: Client) -> float:
    """How much of a rate came through, over a minute in which more waited."""
    handles = await started(client, paced, ["x"] * (RATE * (RATE_S + 2)))
    times = sorted([await handle.result(RATE_S * 2) for handle in handles])
    began = times[0] + 1
    return sum(began <= at < began + RATE_S for at in times) / (RATE * RATE_S)


async def measure(url: str, runs: int) -> dict[str, float]:
    """All figures."""
    client = Client(await JetStream.open(url, name="bench", ensure=False))
    orders = [{"tenant": str(number % KEYS)} for number in range(runs)]
    figures = {
        "free_ms": alone(client, noop),
        "alone_ms": alone(client, hot),
        "free_per_s": per_second(client, noop, ["x"] * runs),
        "hot_per_s": per_second(client, hot, ["x"] * runs),
        "keyed_per_s": per_second(client, keyed, orders),
        "jain": jain(client, runs),
        "rate": rate(client),
    }
    found: dict[str, float] = {}
    for name, figure in figures.items():
        found[name] = await figure
        print(name, found[name], file=sys.stderr, flush=True)
    await client.close()
    return found


if __name__ == "__main__":
    print(json.dumps(uvloop.run(measure(sys.argv[1], int(sys.argv[2])))))
