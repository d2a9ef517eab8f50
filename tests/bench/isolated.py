"""``python -m tests.bench.isolated``: what ``isolate="process"`` costs a task. One JSON line per figure."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from dagnats import App, Client
from dagnats.jetstream.outside import JetStream
from tests.support.broker import Broker
from tests.support.processes import fleet

app = App("isolated-bench")
RUNS, AT_ONCE = 400, 40


@app.task
async def plain(text: str) -> str:
    """Nothing, on the worker's loop."""
    return text


@app.task(isolate="process")
async def isolated(text: str) -> str:
    """Nothing, in a process of its own."""
    return text


async def alone(client: Client, task: str, payload: str) -> float:
    """Milliseconds from start to result, one run after another: the median."""
    took: list[float] = []
    for _ in range(100):
        began = time.perf_counter()
        await (await client.start(task, payload)).result(30)
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


async def many(client: Client, task: str, payload: str) -> float:
    """Runs per second, some at once."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with gate:
            await (await client.start(task, payload)).result(60)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(RUNS):
            group.create_task(one())
    return RUNS / (time.perf_counter() - began)


async def main() -> None:
    """Both kinds of tasks in the same minute on the same processes."""
    broker = Broker().start()
    with tempfile.TemporaryDirectory() as folder:
        try:
            async with fleet(broker, Path(folder), app="tests.bench.isolated", concurrency=AT_ONCE):
                outside = await JetStream.open(broker.url, name="bench")
                client = Client(outside)
                began = time.perf_counter()
                await (await client.start("isolated", "first")).result(60)
                print(f'{{"figure": "first isolated run", "s": {time.perf_counter() - began:.2f}}}')
                for size in (256, 64 * 1024):
                    for task in ("plain", "isolated"):
                        await many(client, task, "x" * size)
                        ms, rate = (
                            await alone(client, task, "x" * size),
                            await many(client, task, "x" * size),
                        )
                        print(
                            f'{{"figure": "{task}, {size} B", "ms": {ms:.2f}, "runs_per_s": {rate:.0f}}}',
                            flush=True,
                        )
                await outside.close()
        finally:
            broker.remove()


if __name__ == "__main__":
    asyncio.run(main())
