"""Handlers that block, ignore and leak inside the worker itself: it keeps what it holds, says who, and ends in time.

Seen failing: with the lease keeper's ``_extend`` left out, ``_name_blocker`` left out, ``call.stop`` without
``_abandon``, without ``LastResort``, and without ``ThreadWatch.look``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from dagnats.errors import RunFailed
from tests.faults.test_isolation import Stage, stage
from tests.support.deployment import eventually
from tests.support.processes import pause

pytestmark = [pytest.mark.faults]

__all__ = ["stage"]


async def test_a_blocked_loop_keeps_its_tickets_and_is_named(stage: Stage):
    """Longer than two leases, with another worker waiting for the ticket: it runs once, here."""
    handle = await stage.client.start("blocks", 12.0)
    await eventually(stage.notes)
    await stage.fleet.start_worker("--task", "blocks").ready()
    assert not stage.pids("end"), "the other has to be there in time"

    assert await handle.result(40) == "done"
    assert stage.pids() == stage.pids("end") == [stage.worker.pid]
    assert "the event loop has been blocked for" in stage.worker.text
    assert "by blocks (hostile.py:" in stage.worker.text
    await stage.goes_on()


async def test_a_worker_that_dies_while_blocked_loses_its_ticket_to_another(stage: Stage):
    """The lease that was kept ends with the process."""
    handle = await stage.client.start("blocks", 4.0)
    await eventually(stage.notes)
    other = await stage.fleet.add_worker()
    await eventually(lambda: "by blocks (hostile.py:" in stage.worker.text)
    stage.worker.kill()

    assert await handle.result(40) == "done"
    assert stage.pids("end") == [other.pid]


async def test_a_blocked_worker_ends_when_told_to(stage: Stage):
    """SIGTERM does not wait for the loop; a second one shortens it; the ticket moves."""
    await stage.client.start("blocks", 600.0)
    await eventually(lambda: "by blocks (hostile.py:" in stage.worker.text)
    stage.worker.terminate()
    await pause(1)  # two that wait are one
    assert stage.worker.alive
    stage.worker.terminate()

    assert await stage.worker.ended(within=25) == 0
    assert "it ends without what still runs. It was in blocks (hostile.py:" in stage.worker.text
    other = await stage.fleet.add_worker()
    await eventually(lambda: stage.pids()[1:] == [other.pid])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_handler_that_swallows_its_cancellation(stage: Stage, number: signal.Signals):
    """Its step times out all the same, it is named, others work, and the worker ends soon when told to."""
    handle = await stage.client.start("swallows")
    with pytest.raises(RunFailed, match="timeout"):
        await handle.result(40)
    assert "heard" in [what for *_, what in stage.notes()]
    assert "swallows of run" in stage.worker.text
    await stage.goes_on()

    stage.worker.signal(number)
    assert await stage.worker.ended(within=15) == 0


async def test_threads_that_are_left_behind_are_named(stage: Stage):
    """In the log and for doctor: how many, and in which line; the worker works, and ends."""
    await stage.gives("leaks", 120)

    await eventually(lambda: "threads that handlers have started still run" in stage.worker.text)
    assert "120 of them in idle_for_ever (hostile.py:" in stage.worker.text
    environment = {**os.environ, "DAGNATS_URL": stage.fleet.broker.url}

    async def told() -> bool:
        command = [sys.executable, "-m", "dagnats", "doctor", "--json"]
        asked = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE
        )
        text = (await asked.communicate())[0].decode()
        return "runs 120 threads that its handlers have left, most in idle_for_ever" in text

    await eventually(told, 30)
    await stage.goes_on()
    stage.worker.terminate()
    assert await stage.worker.ended(within=15) == 0
