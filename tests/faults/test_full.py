"""No room left, in the log, the server or the disk: loud, harmless, and over as soon as there is room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dagnats import Handle
from dagnats.core.state import COMPLETED
from dagnats.errors import NoRoom, OutsideError, PublishFailed, RunAlreadyStarted
from dagnats.ports import Append
from dagnats.wire import subjects
from tests.faults.load import Scene, scene
from tests.faults.tasks import LEDGER
from tests.support.broker import Broker
from tests.support.deployment import eventually
from tests.support.disk import small_disk
from tests.support.processes import fleet

pytestmark = [pytest.mark.faults]

LEFT_BYTES = 400_000  # for some hundred starts
STARTS_MAX = 20_000
BALLAST = "BALLAST"


async def limit_log(s: Scene, more: int) -> None:
    """Let the log grow by so many bytes, or without end (-1)."""
    link = s.load.client.outside.link
    found = await link.api(f"STREAM.INFO.{subjects.EVENTS}")
    size = found["state"]["bytes"] + more if more >= 0 else -1
    await link.api(f"STREAM.UPDATE.{subjects.EVENTS}", {**found["config"], "max_bytes": size})


async def test_a_full_log_is_survived(broker, tmp_path):
    """At its limit starts are refused with the reason; given room, what was started completes, once."""
    async with scene(broker, tmp_path, schedulers=1) as s:
        await s.load.start(20)
        await limit_log(s, 20_000)
        with pytest.raises(PublishFailed, match="no room left"):
            await s.load.start(1_000)
        await eventually(lambda: any("no room left" in p.text for p in s.fleet.everybody))
        with pytest.raises(PublishFailed, match="no room left"):
            await s.load.start(1)
        await asyncio.sleep(1)  # everybody tries again and again meanwhile
        assert s.load.open_runs() > 0
        await limit_log(s, -1)
        await s.load.start(20)
        await s.load.complete(30)
        assert await s.load.judge() == {}
        assert all(program.alive for program in s.fleet.everybody)


async def test_a_full_server_is_survived(tmp_path):
    """S417. The same at the limit of the whole server, ``max_file_store``: leases and timers cannot be written either.

    What was armed stays, and fires.
    """
    broker = Broker(config="jetstream { max_file_store: 80MB }").start()
    try:
        async with timers_kept(broker, tmp_path) as s:
            await fill_server(s, LEFT_BYTES)
            refused, problem = await start_until_refused(s)
            assert isinstance(problem, NoRoom)
            await eventually(lambda: any("no room left" in p.text for p in s.fleet.workers))
            await eventually(lambda: any("no room left" in p.text for p in s.fleet.schedulers))
            assert s.load.open_runs() > 0
            await s.load.client.outside.link.api(f"STREAM.DELETE.{BALLAST}")
            await goes_on(s, refused)
    finally:
        broker.remove()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", [pytest.param("tmpfs", marks=pytest.mark.slow), "ext4"])
async def test_a_full_disk_is_survived_by_a_restart(tmp_path, kind):
    """nats-server stores nothing more once a write failed, even when there is room again: it has to be restarted."""
    said = tmp_path / "nats-server.log"
    with small_disk(tmp_path, kind) as disk:
        broker = Broker(
            store=disk.path,
            config=f'log_file: "{said}"\njetstream {{ max_file_store: 1GB }}\n',
        ).start()
        try:
            async with timers_kept(broker, tmp_path) as s:
                disk.fill(LEFT_BYTES)
                refused, problem = await start_until_refused(s)
                assert "disk" in problem.message, "what to look at is said"
                assert "no space left on device" in said.read_text()
                await eventually(lambda: any("disk" in p.text for p in s.fleet.workers), 20)
                await eventually(lambda: any("disk" in p.text for p in s.fleet.schedulers), 20)
                assert s.load.open_runs() > 0
                disk.free()
                with pytest.raises(OutsideError):
                    await s.load.start(1, run_id=refused)
                broker.stop()
                broker.start()
                await goes_on(s, refused)
        finally:
            broker.remove()


@asynccontextmanager
async def timers_kept(broker: Broker, directory: Path) -> AsyncIterator[Scene]:
    """A scene beside which a run sleeps for some seconds; at the end it must have gone on, once."""
    ledger = {LEDGER: str(directory / "ledger-of-timed")}
    (directory / "timed").mkdir()
    async with scene(broker, directory, schedulers=1) as s:
        timed = fleet(broker, directory / "timed", app="tests.faults.timed", schedulers=0, **ledger)
        async with timed:
            sleeping = await s.load.client.start("timed", 7)
            await eventually(lambda: sleeps(sleeping))
            yield s
            assert await sleeping.result(30) == 7


async def sleeps(run: Handle) -> bool:
    """Whether the step before the sleep is done."""
    return [step.status for step in (await run.status()).steps if step.id == "early"] == [COMPLETED]


async def fill_server(s: Scene, leave_bytes: int) -> None:
    """Have a stream that is none of ours take what the server may store, but for about so much."""
    outside = s.load.client.outside
    await outside.link.api(f"STREAM.CREATE.{BALLAST}", {"name": BALLAST, "subjects": [BALLAST]})
    with pytest.raises(NoRoom):
        while True:
            [last] = await outside.log.append([Append(BALLAST, bytes(leave_bytes), "")])
    await outside.link.api(f"STREAM.MSG.DELETE.{BALLAST}", {"seq": last.seq})


async def start_until_refused(s: Scene) -> tuple[str, OutsideError]:
    """Start runs while there is room; the id of the one that was refused, and why."""
    for number in range(STARTS_MAX):
        try:
            await s.load.start(1, run_id=f"full-{number}")
        except OutsideError as problem:
            return f"full-{number}", problem
    raise AssertionError("there is room without end")


async def goes_on(s: Scene, refused: str) -> None:
    """What was refused is started again, unless it was stored all the same; everything completes, once."""
    try:
        await s.load.start(1, run_id=refused)
    except RunAlreadyStarted:
        s.load.started[refused] = ("chain", 0)
    await s.load.start(20)
    await s.load.complete(60)
    await s.load.judge()
    assert all(program.alive for program in s.fleet.everybody)
