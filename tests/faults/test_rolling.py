"""SIGTERM under load: every process is replaced by another, one at a time."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.load import Scene, scene
from tests.support.deployment import eventually
from tests.support.processes import Program

pytestmark = [pytest.mark.faults]


async def replaced(s: Scene, old: Program) -> None:
    """A new one works before the old one is told to end; it ends well, and says nothing bad."""
    is_worker = old in s.fleet.workers
    await (s.fleet.add_worker() if is_worker else s.fleet.add_scheduler())
    s.fleet.gone(old)
    old.terminate()
    assert await old.ended() == 0, old.text
    assert "Traceback" not in old.text, old.text


async def test_a_rolling_restart_goes_unnoticed(broker, tmp_path):
    """Two schedulers and two workers are replaced under load: no run fails, nothing runs twice."""
    async with scene(broker, tmp_path, schedulers=2) as s:
        loading = asyncio.gather(s.load.start(200, 6), s.load.start(20, 6, workflow="loop"))
        await eventually(lambda: len(s.load.executions()) > 20)
        for old in s.random.sample([*s.fleet.workers, *s.fleet.schedulers], 4):
            await replaced(s, old)
        await loading
        await s.load.complete()
        assert await s.load.judge() == {}


async def test_everything_stopped_at_once_and_started_again(broker, tmp_path):
    """All processes are told to end in the middle of the load; their successors do the rest."""
    async with scene(broker, tmp_path, schedulers=2) as s:
        await s.load.start(100)
        await eventually(lambda: len(s.load.executions()) > 50)
        before = [*s.fleet.everybody]
        for program in before:
            program.terminate()
        for program in before:
            assert await program.ended() == 0, program.text
        assert s.load.open_runs() > 0, "there has to be something left to do"
        await asyncio.gather(s.fleet.add_scheduler(), s.fleet.add_worker())
        await s.load.complete()
        assert await s.load.judge() == {}
