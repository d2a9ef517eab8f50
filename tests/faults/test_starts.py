"""Processes that start while the server does not answer: they say so once, and go on by themselves."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from dagnats import Client
from dagnats.jetstream.outside import JetStream
from tests.faults.load import APP, Load, scene
from tests.faults.tasks import LEDGER
from tests.support.broker import Broker
from tests.support.deployment import eventually
from tests.support.processes import Fleet, Program, fleet, pause
from tests.support.stalling import Stalling, stalling

pytestmark = [pytest.mark.faults]

STALL_S = 8  # longer than a request (5 s) and than it takes to notice a silent connection
WAITS = "waiting for the NATS server"

# Moments of a start, by what is sent in them: connecting, judging the server, looking at the streams, registering,
# the catalogue, the connection for leases, listening, and the queues.
OF_A_WORKER = (
    b"CONNECT", b"$JS.API.INFO", b"STREAM.INFO.DAGNATS_TIMERS", b"STREAM.INFO.OBJ_dagnats_blobs",
    b"GET.KV_dagnats_definitions", b"$KV.dagnats_definitions.name.chain", b"$KV.dagnats_tasks.hop", b"faults-leases",
    b"SUB dagnats.ask.*", b"SUB dagnats.live.handover", b"worker+hop+_.dagnats", b"worker+turn+_.dagnats",
)  # fmt: skip
OF_A_SCHEDULER = (
    b"CONNECT", b"STREAM.CREATE.DAGNATS_PROBE", b"STREAM.CREATE.DAGNATS_EVENTS", b"STREAM.CREATE.OBJ_dagnats_blobs",
    b"GET.KV_dagnats_secrets", b"$KV.dagnats_secrets.nonce", b"KV_dagnats_control", b"DAGNATS_INBOX.follow",
    b"$KV.dagnats_leases.partition", b"SUB dagnats.desk", b"GET.KV_dagnats_leases", b"DAGNATS_EVENTS.scheduler-",
)  # fmt: skip


async def test_a_server_that_is_stopped(broker, tmp_path):
    """SIGSTOP of nats-server before scheduler and worker start: both wait, say so once, and work when it goes on."""
    await (await JetStream.open(broker.url)).close()
    broker.process.send_signal(signal.SIGSTOP)
    await started_without(broker, tmp_path, lambda: broker.process.send_signal(signal.SIGCONT))


async def test_a_server_that_is_not_there_yet(broker, tmp_path):
    """The same with a server that is started later."""
    broker.kill()
    await started_without(broker, tmp_path, broker.start)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "moments", [OF_A_WORKER[0::2], pytest.param(OF_A_WORKER[1::2], marks=pytest.mark.slow)]
)
async def test_a_server_that_stalls_while_a_worker_starts(broker, tmp_path, moments):
    """Whatever they are about: they do not end, say at most once that they wait, and do what comes, once."""
    async with fleet(broker, tmp_path, app=APP, workers=0), AsyncExitStack() as stack:
        starting = [
            await held_up(stack, broker, tmp_path / f"{number}", Fleet.start_worker, moment)
            for number, moment in enumerate(moments)
        ]
        for program, way in starting:
            await goes_on(program, way)
        await works(broker, tmp_path)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "moments",
    [
        OF_A_SCHEDULER[0::3],
        *(pytest.param(OF_A_SCHEDULER[n::3], marks=pytest.mark.slow) for n in (1, 2)),
    ],
)
async def test_a_server_that_stalls_while_a_scheduler_starts(tmp_path, moments):
    """On servers that have no streams yet: each makes all that is missing, whenever it was held up."""
    async with AsyncExitStack() as stack:
        starting = []
        for number, moment in enumerate(moments):
            broker = Broker().start()
            stack.callback(broker.remove)
            own = tmp_path / f"{number}"
            held = await held_up(stack, broker, own, Fleet.start_scheduler, moment)
            starting.append((broker, own, *held))
        for broker, own, program, way in starting:
            await goes_on(program, way)
            async with fleet(broker, own, app=APP, schedulers=0, **{LEDGER: f"{own}/ledger"}):
                await works(broker, own)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"jetstream": False}, "JetStream is not enabled"),
        ({"config": 'authorization { user: "a", password: "b" }'}, "refuses these credentials"),
    ],
)
async def test_a_server_that_will_never_do(tmp_path, options, says):
    """Nobody waits for it: the processes end at once, and say what is wrong."""
    broker = Broker(**options).start()
    made = Fleet(broker, tmp_path, APP, {})
    try:
        for program in (made.start_scheduler(), made.start_worker()):
            assert await program.ended() == 1
            assert says in program.text
            assert WAITS not in program.text
    finally:
        made.close()
        broker.remove()


async def started_without(broker: Broker, directory: Path, bring: Callable[[], object]) -> None:
    """Start scheduler and worker while there is no server; bring it, and have them work."""
    made = Fleet(broker, directory, APP, {LEDGER: str(directory / "ledger")})
    starting = [made.start_scheduler(), made.start_worker()]
    try:
        for program in starting:
            await eventually(lambda program=program: WAITS in program.text or not program.alive, 30)
        await pause(STALL_S)
        await asyncio.to_thread(bring)
        for program in starting:
            await program.ready()
            assert program.text.count(WAITS) == 1, program.text
        await works(broker, directory)
    finally:
        made.close()


async def held_up(
    stack: AsyncExitStack,
    broker: Broker,
    own: Path,
    start: Callable[[Fleet], Program],
    moment: bytes,
) -> tuple[Program, Stalling]:
    """Start a process with a directory of its own, on a way that stalls at a moment."""
    way = await stack.enter_async_context(stalling(broker, moment, STALL_S))
    own.mkdir()
    made = Fleet(way, own, APP, {LEDGER: str(own.parent / "ledger")})
    stack.callback(made.close)
    return start(made), way


async def goes_on(program: Program, way: Stalling) -> None:
    """Wait for the end of the stall; the process works then, and has said what it should."""
    async with asyncio.timeout(60):
        await way.over.wait()
    await program.ready()
    assert program.text.count(WAITS) <= 1, program.text
    assert "cannot work" not in program.text


async def works(broker: Broker, directory: Path) -> None:
    """Runs complete, and nothing is done twice."""
    outside = await JetStream.open(broker.url, name="test")
    try:
        load = Load(Client(outside), directory / "ledger", 0)
        await load.start(20)
        await load.complete()
        assert await load.judge() == {}
    finally:
        await outside.close()


# nats-py leaves a socket behind when a server takes the connection and never says anything.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_server_that_is_stopped_under_load(broker, tmp_path):
    """SIGSTOP of nats-server while everything is at work, longer than every request waits: all of it goes on."""
    async with scene(broker, tmp_path, schedulers=2) as s:
        await s.load.start(60)
        broker.process.send_signal(signal.SIGSTOP)
        await pause(STALL_S + 4)
        broker.process.send_signal(signal.SIGCONT)
        await s.load.start(20)
        await s.load.complete(60)
        await s.load.judge()
        assert all(program.alive for program in s.fleet.everybody)
    gc.collect()  # so that it is found here
