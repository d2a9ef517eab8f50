"""Handlers in processes of their own: they crash, hang and leak, and the worker goes on.

Seen failing: with ``process.ran < ISOLATED_TICKETS_MAX`` turned round, without ``start_new_session``, without
``die_with_parent`` in the process, without ``kill_deaf``, and with ``_waits`` not counted.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from dagnats import Client
from dagnats.errors import RunFailed
from dagnats.jetstream.outside import JetStream
from tests.faults.hostile import Answer
from tests.faults.tasks import LEDGER
from tests.support.broker import Broker
from tests.support.deployment import eventually
from tests.support.processes import Fleet, Program, fleet

pytestmark = [pytest.mark.faults]

APP = "tests.faults.hostile"


class Stage:
    """A worker with hostile handlers, and a client."""

    def __init__(self, client: Client, processes: Fleet, ledger: Path) -> None:
        self.client = client
        self.fleet = processes
        self._ledger = ledger

    @property
    def worker(self) -> Program:
        """The first worker."""
        return self.fleet.workers[0]

    def notes(self) -> list[list[str]]:
        """Run, ticket, process and word of each line of the ledger."""
        return (
            [x.split() for x in self._ledger.read_text().splitlines()]
            if self._ledger.exists()
            else []
        )

    def pids(self, word: str = "start") -> list[int]:
        """The processes that wrote a word, in order."""
        return [int(pid) for _, _, pid, what in self.notes() if what == word]

    async def fails(self, task: str, given: object) -> RunFailed:
        """Start a run that fails; how."""
        handle = await self.client.start(task, given)
        with pytest.raises(RunFailed) as failed:
            await handle.result(40)
        return failed.value

    async def gives(self, task: str, given: object = None) -> object:
        """Start a run; what it gives."""
        return await (await self.client.start(task, given)).result(40)

    async def goes_on(self, worker: Program | None = None) -> None:
        """The worker lives, and works."""
        assert await self.gives("calm", 7) == 7
        assert (worker or self.worker).alive


@asynccontextmanager
async def staged(broker: Broker, directory: Path, concurrency: int) -> AsyncIterator[Stage]:
    """One scheduler and one worker."""
    ledger = directory / "ledger"
    made = fleet(broker, directory, app=APP, concurrency=concurrency, **{LEDGER: str(ledger)})
    async with made as processes:
        outside = await JetStream.open(broker.url, name="test")
        try:
            yield Stage(Client(outside), processes, ledger)
        finally:
            await outside.close()


@pytest.fixture
async def stage(broker, tmp_path) -> AsyncIterator[Stage]:
    """A worker with a slot for each of its queues, so that each is looked at all the time."""
    async with staged(broker, tmp_path, 24) as made:
        yield made


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("how", "said"),
    [("segfault", "killed by SIGSEGV"), ("exit", "exit code 3"), ("kill", "killed by SIGKILL")],
)
async def test_a_crash_costs_one_attempt(stage, how, said):
    """The step fails with what happened, and is tried again whatever the policy retries on."""
    after = await stage.gives("crashes_once", how)
    failed = await stage.fails("crashes", how)

    assert after not in (stage.worker.pid, stage.pids()[0])
    assert said in str(failed), failed
    assert said in stage.worker.text
    if how == "segfault":
        assert "in crash (hostile.py:" in str(failed)
    await stage.goes_on()


@pytest.mark.parametrize("how", ["sleeps", "holds"])
async def test_a_handler_that_does_not_stop_is_killed(stage, how):
    """When its time is over, and it does not hear, even while it holds the interpreter's lock."""
    failed = await stage.fails("ignores", how)

    assert "timeout" in str(failed)
    assert "was told to stop (timeout) and did not" in stage.worker.text
    assert "in ignores (hostile.py:" in stage.worker.text
    await eventually(lambda: gone(stage.pids()[0]))
    await stage.goes_on()


async def test_everything_that_a_context_has_works(stage):
    """Checkpoints, heartbeats, streams, durable calls of isolated tasks, signals, metadata, the log."""
    handle = await stage.client.start("uses", 3)
    answer = await handle.result(40)

    assert {**answer, "pid": 0} == {
        "pid": 0, "attempt": 1, "saved": 4, "doubled": 12, "tag": "blue",
    }  # fmt: skip
    assert set(answer) == set(Answer.__struct_fields__)
    assert [chunk.data async for chunk in handle.stream()] == [0, 1, 2]
    assert "all used" in stage.worker.text
    assert await stage.gives("counts", 2) == 8
    assert len(await stage.gives("large", 2_000_000)) == 2_000_000


@pytest.mark.slow
async def test_waiting_isolated_handlers_do_not_lock_out_what_they_wait_for(broker, tmp_path):
    """More of them than there are processes wait for tasks that need a process, too."""
    async with staged(broker, tmp_path, 2) as stage:
        runs = [await stage.client.start("uses", 1) for _ in range(6)]

        for run in runs:
            assert (await run.result(60))["doubled"] == 4


async def test_processes_are_used_again_unless_a_thread_is_left_behind(stage):
    """One after another in the same process; what leaks is replaced, and named."""
    first = await stage.gives("pid", False)
    again = await stage.gives("pid", True)
    other = await stage.gives("pid", False)

    assert first == again != other
    assert "pid of run" in stage.worker.text
    assert "left 1 threads running" in stage.worker.text
    await eventually(lambda: gone(first))


async def test_a_cancelled_run_stops_its_process_in_good_order(stage):
    """The handler's ``finally`` runs, and the process is used again."""
    handle = await stage.client.start("waits")
    await eventually(stage.pids)
    await handle.cancel()
    await eventually(lambda: stage.pids("end"))

    assert await stage.gives("pid", False) == stage.pids()[0]


async def test_input_that_does_not_fit_is_refused_as_ever(stage):
    """The process reads it; nothing crashes."""
    handle = await stage.client.start("unchecked", {"leak": []})
    with pytest.raises(RunFailed, match="input of"):
        await handle.result(40)
    await stage.goes_on()


@pytest.mark.parametrize("holds", [False, True])
async def test_nothing_is_left_of_a_worker_that_is_killed(stage, holds):
    """Its processes end with it, even while a handler holds the interpreter's lock; another goes on."""
    await stage.client.start("starts_others", holds)
    await eventually(stage.notes)
    [pid] = [int(pid) for _, _, pid, what in stage.notes() if what.startswith("sleep:")]
    assert not gone(pid)
    stage.worker.kill()

    await eventually(lambda: gone(pid))
    for _, _, _, what in stage.notes():
        os.kill(int(what.removeprefix("sleep:")), signal.SIGKILL)  # the limit that is documented


async def test_a_stopping_worker_kills_what_its_handlers_have_started(stage):
    """SIGTERM, and no patience: the handler is told, killed, and what it started with it; its ticket moves."""
    handle = await stage.client.start("starts_others", False)
    await eventually(stage.notes)
    [[_, _, pid, what]] = stage.notes()
    started = int(what.removeprefix("sleep:"))
    stage.worker.terminate()
    await eventually(lambda: "waiting up to" in stage.worker.text)
    stage.worker.terminate()
    assert await stage.worker.ended() == 0

    await eventually(lambda: gone(int(pid)) and gone(started))
    other = await stage.fleet.add_worker()
    await eventually(lambda: len(stage.notes()) > 1)
    await handle.cancel()
    await stage.goes_on(other)
