"""``python -m tests.chaos.soak [TASKS]``: very many tasks; memory, latency, and what is left behind."""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
from msgspec import Struct

from dagnats import Client
from dagnats.jetstream.outside import JetStream
from dagnats.wire import subjects
from tests.faults.tasks import LEDGER, STEPS
from tests.support.broker import Broker
from tests.support.deployment import eventually
from tests.support.processes import Fleet, fleet

TASKS = 1_000_000
OPEN_MAX, SLOTS = 100, 100
PARTS = 4  # compared are the second and the last: the first fills what is kept in memory


class Part(Struct):
    """One part of the soak: the processes' memory at its end, and how long its runs took."""

    memory_mb: dict[str, float]
    p50_ms: float
    files: dict[str, int]

    def text(self) -> str:
        """One line for people."""
        used = ", ".join(f"{name} {mb:.0f} MB" for name, mb in self.memory_mb.items())
        return f"{used}; p50 of a run {self.p50_ms:.0f} ms; files open {self.files}"


class Left(Struct):
    """What a deployment holds besides its log."""

    tickets: int
    timers: int
    consumers: int


async def left(outside: JetStream) -> Left:
    """Count it."""

    async def state(stream: str) -> dict[str, int]:
        return (await outside.link.api(f"STREAM.INFO.{stream}"))["state"]

    tasks, timers = await state(subjects.TASKS), await state(subjects.TIMERS)
    consumers = tasks["consumer_count"] + (await state(subjects.EVENTS))["consumer_count"]
    return Left(tasks["messages"], timers["messages"], consumers)


async def soak(broker: Broker, directory: Path, tasks: int) -> tuple[list[Part], Left, Left]:
    """Run so many tasks; the parts, and what was there before and after."""
    made = fleet(
        broker, directory, app="tests.faults.tasks", concurrency=SLOTS,
        **{LEDGER: str(directory / "ledger")},
    )  # fmt: skip
    async with made as processes:
        outside = await JetStream.open(broker.url, name="soak")
        try:
            client = Client(outside)
            await _runs(client, OPEN_MAX)
            before = await left(outside)
            parts = [await _part(client, processes, tasks // STEPS // PARTS) for _ in range(PARTS)]

            async def settled() -> bool:
                now = await left(outside)
                return now.tickets == now.timers == 0

            await eventually(settled)
            return parts, before, await left(outside)
        finally:
            await outside.close()


async def _part(client: Client, processes: Fleet, runs: int) -> Part:
    times = await _runs(client, runs)
    seen = {p.arguments[0]: psutil.Process(p.pid) for p in processes.everybody}
    return Part(
        {name: process.memory_info().rss / 2**20 for name, process in seen.items()},
        statistics.median(times),
        {name: process.num_fds() for name, process in seen.items()},
    )


async def _runs(client: Client, runs: int) -> list[float]:
    """How long each took, in milliseconds, with so many in flight."""
    times: list[float] = []
    numbers = iter(range(runs))

    async def one_after_another() -> None:
        for number in numbers:
            began = time.monotonic()
            handle = await client.start("chain", number)
            assert await handle.result(60) == number + STEPS
            times.append((time.monotonic() - began) * 1000)

    async with asyncio.TaskGroup() as group:
        for _ in range(OPEN_MAX):
            group.create_task(one_after_another())
    return times


def main() -> int:
    """Print each part, and what is left."""
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else TASKS
    broker = Broker().start()
    try:
        with tempfile.TemporaryDirectory(prefix="dagnats-soak-") as directory:
            parts, before, after = asyncio.run(soak(broker, Path(directory), tasks))
    finally:
        broker.remove()
    for part in parts:
        print(part.text())
    print(f"before {before}, after {after}")
    return int(before.consumers != after.consumers)


if __name__ == "__main__":
    sys.exit(main())
