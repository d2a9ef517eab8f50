"""SIGKILL at random moments under load: workers, schedulers, the server, all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.faults.load import Executions, Scene, scene

pytestmark = [pytest.mark.faults]

CONCURRENCY = 4  # of the workers that a fleet starts
RUNS, LOOPS = 200, 20


async def endure(s: Scene, kill: Callable[[], Awaitable[None]], kills: int, seconds: float) -> None:
    """Load for some seconds, and so many kills at random moments of them; then let everything finish."""
    loading = asyncio.gather(
        s.load.start(RUNS, seconds), s.load.start(LOOPS, seconds, workflow="loop")
    )
    moments = sorted(s.random.uniform(0.1, seconds) for _ in range(kills))
    began = time.monotonic()
    for moment in moments:
        await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
        await kill()
    await loading
    await s.load.complete()


def report(what: str, doubled: dict[tuple[str, str], Executions]) -> None:
    """Say how much ran more than once."""
    print(f"{what}: {sum(len(e.pids) - 1 for e in doubled.values())} executions more than needed")


async def test_workers_killed_at_random(broker, tmp_path):
    """Only what a worker was running when it was killed runs again; no step counts twice, none is lost."""
    async with scene(broker, tmp_path) as s:
        killed: list[int] = []

        async def kill() -> None:
            victim = s.random.choice(s.fleet.workers)
            s.fleet.gone(victim)
            s.fleet.start_worker()
            victim.kill()
            killed.append(victim.pid)

        await endure(s, kill, kills=6, seconds=5)
        doubled = await s.load.judge()
        report("workers killed", doubled)
        for ticket, executions in doubled.items():
            *before, _ = executions.pids
            assert set(before) <= set(killed), f"{ticket} ran twice, and nobody had died"
        for pid in killed:
            assert sum(pid in e.pids[:-1] for e in doubled.values()) <= CONCURRENCY


async def test_schedulers_killed_at_random(broker, tmp_path):
    """A scheduler's death makes nothing run twice."""
    async with scene(broker, tmp_path) as s:

        async def kill() -> None:
            victim = s.random.choice(s.fleet.schedulers)
            s.fleet.gone(victim)
            s.fleet.start_scheduler()
            victim.kill()

        await endure(s, kill, kills=5, seconds=6)
        assert await s.load.judge() == {}


async def test_one_of_two_schedulers_killed(broker, tmp_path):
    """The one that is left does the rest, and nothing runs twice."""
    async with scene(broker, tmp_path, schedulers=2) as s:

        async def kill() -> None:
            victim = s.random.choice(s.fleet.schedulers)
            s.fleet.gone(victim)
            victim.kill()

        await endure(s, kill, kills=1, seconds=4)
        assert await s.load.judge() == {}


async def test_two_of_three_schedulers_killed_one_after_the_other(broker, tmp_path):
    """The last one does the rest, and nothing runs twice."""
    async with scene(broker, tmp_path, schedulers=3) as s:

        async def kill() -> None:
            victim = s.random.choice(s.fleet.schedulers)
            s.fleet.gone(victim)
            victim.kill()

        await endure(s, kill, kills=2, seconds=5)
        assert len(s.fleet.schedulers) == 1
        assert await s.load.judge() == {}


async def test_the_server_killed_at_random(broker, tmp_path):
    """The server dies three times under load: what was confirmed is there, and everybody goes on."""
    async with scene(broker, tmp_path) as s:

        async def kill() -> None:
            broker.kill()
            await asyncio.sleep(s.random.uniform(0, 0.5))
            broker.start()

        await endure(s, kill, kills=3, seconds=5)
        report("server killed", await s.load.judge())
        assert all(program.alive for program in s.fleet.everybody)


async def mixed(s: Scene, kills: int, seconds: float) -> None:
    """Everything dies, in any order."""

    async def kill() -> None:
        kind = s.random.choice(["worker", "worker", "scheduler", "scheduler", "server"])
        if kind == "server":
            s.broker.kill()
            await asyncio.sleep(s.random.uniform(0, 0.3))
            s.broker.start()
            return
        of_kind = s.fleet.workers if kind == "worker" else s.fleet.schedulers
        victim = s.random.choice(of_kind)
        s.fleet.gone(victim)
        victim.kill()
        s.fleet.start_worker() if kind == "worker" else s.fleet.start_scheduler()

    await endure(s, kill, kills, seconds)
    report("everything killed", await s.load.judge())


async def test_everything_killed_at_random(broker, tmp_path):
    """Workers, schedulers and the server die in turn; every run completes, once."""
    async with scene(broker, tmp_path, schedulers=2) as s:
        await mixed(s, kills=10, seconds=8)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("round_", range(5))
async def test_everything_killed_for_long(broker, tmp_path, round_):
    """The same for a minute at a time."""
    async with scene(broker, tmp_path, schedulers=2, workers=3) as s:
        await mixed(s, kills=60, seconds=60)
