"""Clocks of workers and schedulers that are off by an hour, and jump: nothing fires early or late.

Seen failing: with facts that have the scheduler's time instead of the log's, and with a doctor that compares what a
worker's clock says with its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from datetime import UTC, datetime

import pytest

from dagnats import Client
from dagnats.jetstream.outside import JetStream
from tests.faults.tasks import LEDGER
from tests.support.deployment import eventually
from tests.support.processes import fleet
from tests.support.strangers import CLOCK, strange

pytestmark = [pytest.mark.faults]

HOUR_S = 3_600
SLEEP_S = 2.0
LATE_S = 30  # a busy machine; the clocks are off by much more


async def test_clocks_that_are_off_and_jump(broker, tmp_path):
    """A sleep, a retry and a time-out between workers an hour ahead and behind; one clock jumps all the time."""
    clocks = {name: tmp_path / name for name in ("ahead", "behind", "jumps")}
    for name, seconds in (("ahead", HOUR_S), ("behind", -HOUR_S), ("jumps", 0)):
        clocks[name].write_text(str(seconds))
    ledger = {LEDGER: str(tmp_path / "ledger")}
    made = fleet(broker, tmp_path, app="tests.faults.timed", schedulers=0, workers=0, **ledger)
    async with made as processes:
        for name in ("ahead", "behind"):
            with strange(processes, **{CLOCK: str(clocks[name])}):
                await processes.add_worker()
        with strange(processes, **{CLOCK: str(clocks["jumps"])}):
            await processes.add_scheduler()
        outside = await JetStream.open(broker.url, name="test")
        jumping = asyncio.get_running_loop().create_task(jump(clocks["jumps"]))
        try:
            began = datetime.now(UTC).timestamp()
            runs = [await Client(outside).start("timed", number) for number in range(10)]
            for number, run in enumerate(runs):
                assert await run.result(90) == number
                await on_time(run, began)
            await eventually(lambda: both_are_seen(broker.url), 30)
        finally:
            jumping.cancel()
            await outside.close()
        for program in processes.everybody:
            assert program.alive, program.text
        workers = {worker for _, worker, _ in ends(tmp_path / "ledger")}
        assert workers == {p.pid for p in processes.workers}, "both have to have worked"


async def jump(clock) -> None:
    """Put the clock somewhere else, again and again."""
    while True:
        clock.write_text(str(random.uniform(-HOUR_S, HOUR_S)))
        await asyncio.sleep(0.1)


def ends(ledger) -> list[tuple[str, int, str]]:
    """Run, process and word of each line."""
    lines = [line.split() for line in ledger.read_text().splitlines()]
    return [(run, int(pid), what) for run, _, pid, what in lines]


async def on_time(run, began: float) -> None:
    """By the log's clock: slept as long as was said, retried after its delay, timed out after its time."""
    at: dict[tuple[str, str, int], float] = {}
    for event in await run.history():
        at.setdefault((event.type, event.step, event.attempt), seconds_of(event.at))
    slept = at["step.dispatched", "late", 1] - at["step.succeeded", "early", 1]
    assert SLEEP_S <= slept < SLEEP_S + LATE_S
    waited = at["step.dispatched", "late", 2] - at["step.failed", "late", 1]
    assert 1 <= waited < 1 + LATE_S
    shown = await run.status()
    assert abs(seconds_of(shown.created_at) - began) < LATE_S, "times shown are the log's"


def seconds_of(text: str) -> float:
    """Unix time of what is shown."""
    return datetime.fromisoformat(text).timestamp()


async def both_are_seen(url: str) -> bool:
    """Doctor counts workers whose clocks are an hour off."""
    command = [sys.executable, "-m", "dagnats", "doctor", "--json"]
    environment = {**os.environ, "DAGNATS_URL": url}
    asked = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE
    )
    checks = json.loads((await asked.communicate())[0])["checks"]
    return any(c["check"] == "workers" and c["detail"].startswith("2 alive") for c in checks)
