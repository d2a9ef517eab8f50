"""What moving a run costs, and what runs that were moved cost the server: its memory, its disk, a look at one.

``python -m tests.bench.retention [RUNS [SETTLE_S]]`` (20,000), one JSON line per figure. The server remembers message
ids for two minutes: with 130 seconds to settle after each wave, its memory is what is kept. Histories are written as
a run of five steps leaves them; then the real owner of each partition moves them, wave by wave.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import uvloop
from msgspec import Raw

from dagnats import archive
from dagnats.clock import SystemClock
from dagnats.core.events import RunStarted, StepSucceeded
from dagnats.jetstream.outside import JetStream
from dagnats.ports import Append
from dagnats.scheduler.archiver import Archiver, Retention
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import ClosedMark, TaskMessage
from tests.support.broker import Broker

STEPS = 5
WAVES = 4
TEXT = Raw(json.dumps("x" * 256).encode())


def say(figure: str, value: float, unit: str, **more: Any) -> None:
    """One figure as a JSON line."""
    print(
        json.dumps({"figure": figure, "value": round(value, 3), "unit": unit, **more}), flush=True
    )


def history(run: str, partition: int) -> list[Append]:
    """The messages of a run of five steps."""
    started = RunStarted(workflow="chain", definition="d" * 32, input=TEXT)
    client, worker = (subjects.fact(partition, run, author) for author in ("client", "worker"))
    found = [Append(client, encode(started), f"{run}:start")]
    for step in range(STEPS):
        ticket = f"s{step}/1/0"
        message = TaskMessage(
            ticket=ticket, run=run, step=f"s{step}", task="hop", workflow="chain", answer_to=worker,
            nonce="0" * 32, input=TEXT,
        )  # fmt: skip
        answer = StepSucceeded(ticket=ticket, nonce="0" * 32, output=TEXT)
        # On a subject that no queue takes: nobody is there to work.
        found.append(
            Append(subjects.mark(partition, run, "task"), encode(message), f"{run}/{ticket}")
        )
        found.append(Append(worker, encode(answer), f"{run}/{ticket}:done"))
    mark = ClosedMark(status="completed", workflow="chain", output=TEXT, started_ms=1, closed_ms=2)
    return [*found, Append(subjects.mark(partition, run, "closed"), encode(mark), f"{run}:closed")]


def rss_mb(broker: Broker) -> float:
    """The server's memory."""
    assert broker.process is not None
    status = Path(f"/proc/{broker.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


async def size_of(outside: JetStream, stream: str) -> tuple[int, int, int]:
    """Messages, bytes and subjects of a stream."""
    state = (await outside.link.api(f"STREAM.INFO.{stream}"))["state"]
    return state["messages"], state["bytes"], state.get("num_subjects", 0)


async def fill(outside: JetStream, first: int, count: int) -> None:
    """So many finished runs."""
    total = outside.log.partitions
    for at in range(first, first + count, 200):
        batch: list[Append] = []
        for number in range(at, min(at + 200, first + count)):
            run = f"run-{number:08d}"
            batch += history(run, subjects.partition_of(run, total))
        await outside.log.append(batch)


async def move(outside: JetStream) -> float:
    """Every partition's owner moves what there is; seconds."""
    began = time.perf_counter()
    for partition in range(outside.log.partitions):
        retention = Retention(after_ms=1, pause_ms=0)
        owner = Archiver(partition, outside, SystemClock(), lambda: True, retention, {})
        while await owner.turn():
            pass
    return time.perf_counter() - began


async def look(outside: JetStream, runs: int) -> tuple[float, float]:
    """Milliseconds of reading an archived run, and of looking for one that is nowhere (medians)."""
    found: list[float] = []
    missed: list[float] = []
    for number in range(0, runs, max(1, runs // 200)):
        began = time.perf_counter()
        entries = await archive.history(outside, f"run-{number:08d}")
        found.append((time.perf_counter() - began) * 1000)
        assert len(entries) == 2 * STEPS + 2
        began = time.perf_counter()
        assert await archive.find(outside, f"nobody-{number}") is None
        missed.append((time.perf_counter() - began) * 1000)
    return statistics.median(found), statistics.median(missed)


async def main(runs: int, settle_s: float) -> None:
    """Fill and move in waves; say what each left."""
    broker = Broker().start()
    try:
        outside = await JetStream.open(broker.url, name="bench", partitions=16)
        each = runs // WAVES
        for wave in range(WAVES):
            await fill(outside, wave * each, each)
            _, hot_bytes, hot_subjects = await size_of(outside, subjects.EVENTS)
            full = rss_mb(broker)
            took = await move(outside)
            kept = (wave + 1) * each
            say("moving a finished run of five steps", took / each * 1000, "ms", archived=kept)
            left, left_bytes, _ = await size_of(outside, subjects.EVENTS)
            _, packed, _ = await size_of(outside, subjects.ARCHIVE)
            _, records, places = await size_of(outside, subjects.ARCHIVED)
            say(
                "the log before a wave moves",
                hot_bytes / each,
                "bytes/run",
                subjects=hot_subjects,
                server_mb=round(full, 1),
            )
            say("the log after it", left_bytes, "bytes", messages=left)
            say("the archive", (packed + records) / kept, "bytes/run", places=places)
            await asyncio.sleep(settle_s)
            say("server memory, all of them archived", rss_mb(broker), "MB", archived=kept)
            found, missed = await look(outside, kept)
            say("reading an archived run", found, "ms", archived=kept)
            say("looking for a run that is nowhere", missed, "ms", archived=kept)
        await outside.close()
    finally:
        broker.remove()


if __name__ == "__main__":
    _, runs_, settle_, *_ = [*sys.argv, "20000", "0"] if len(sys.argv) < 2 else [*sys.argv, "0"]
    uvloop.run(main(int(runs_), float(settle_)))
