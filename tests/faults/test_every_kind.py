"""A run with a step of every kind, and a SIGKILL between any two of its facts: the same comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dagnats import Client
from dagnats.core.events import ApprovalDecided, SignalReceived
from dagnats.jetstream.outside import JetStream
from dagnats.ports import Append
from dagnats.scheduler.control import Trees
from dagnats.wire import subjects
from dagnats.wire.codec import encode, is_fact
from tests.faults.every_kind import EVERY
from tests.support.broker import Broker
from tests.support.deployment import eventually
from tests.support.processes import Fleet, fleet

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]

PARTS = 3


class People:
    """Whoever approves, sends signals and publishes events, as soon as a run can use them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._log = client.outside.log
        self._answering: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Answer each question."""
        await self._client.outside.notices.listen("every.ask", self._asked)

    def _asked(self, _subject: str, payload: bytes, _reply: str) -> None:
        told = msgspec.json.decode(payload)
        fact = ApprovalDecided(ticket=told["ticket"], approved=True, by="test")
        place = subjects.partition_of(told["run_id"], self._log.partitions)
        subject = subjects.fact(place, told["run_id"], "client")
        task = asyncio.ensure_future(self._append(subject, encode(fact)))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _append(self, subject: str, payload: bytes) -> None:
        await self._log.append([Append(subject, payload)])

    async def provide(self, run: str) -> None:
        """Signals and an event, ahead of time: they are kept."""
        place = subjects.partition_of(run, self._log.partitions)
        for name, value in (("go", 1), ("more", 100)):
            fact = SignalReceived(name=name, payload=msgspec.Raw(msgspec.json.encode(value)))
            await self._append(subjects.signal(place, run, name), encode(fact))
        await self._append(subjects.inbox("paid"), msgspec.json.encode({"id": run}))


async def facts_of(client: Client, run: str) -> int:
    """How many facts a run has."""
    return sum(is_fact(entry) for entry in await client.outside.log.history(run))


async def begin(client: Client, people: People, run: str) -> Any:
    """Start a run, with everything it will ask for."""
    handle = await client.start(EVERY, {"items": [1, 2, 3], "id": run, "n": 5}, id=run)
    await people.provide(run)
    return handle


@asynccontextmanager
async def scene(tmp_path: Path) -> AsyncIterator[tuple[Fleet, Client, People]]:
    """Two schedulers, a worker, another for the agents' group, a client, and people."""
    broker = Broker().start()
    try:
        made = fleet(broker, tmp_path, app="tests.faults.every_kind", schedulers=2, concurrency=20)
        async with made as processes:
            await processes.start_worker("--group", "agent").ready()
            outside = await JetStream.open(broker.url, name="test")
            client = Client(outside)
            people = People(client)
            await people.listen()
            await client.policy.grant("every")
            yield processes, client, people
            await client.close()
    finally:
        broker.remove()


def kill_scheduler(processes: Fleet) -> None:
    """One of the two dies, and another is started."""
    victim = processes.schedulers[0]
    processes.gone(victim)
    victim.kill()
    processes.start_scheduler()


def kill_worker(processes: Fleet) -> None:
    """The worker dies, and another is started."""
    victim = processes.workers[0]
    processes.gone(victim)
    victim.kill()
    processes.start_worker()


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, PARTS))]
)
@pytest.mark.parametrize("kill", [kill_scheduler, kill_worker])
async def test_killed_between_any_two_facts(tmp_path, kill, part):
    """Whoever dies, and wherever in the run: it completes, and gives what it gives undisturbed."""
    async with scene(tmp_path) as (processes, client, people):
        undisturbed = await begin(client, people, "undisturbed")
        expected = await undisturbed.result(60)
        facts = await facts_of(client, "undisturbed")
        assert facts >= 30
        assert set(expected["end"]) == {"plan", "loop", "paid", "sub", "more", "away", "make"}

        for cut in range(1 + part, facts, PARTS):
            run = f"cut{cut}"
            handle = await begin(client, people, run)
            await eventually(lambda run=run, cut=cut: reached(client, run, cut), 60)
            kill(processes)
            output = await handle.result(60)
            output["end"]["paid"] = {"id": "undisturbed"}

            assert output == expected, f"cut {cut}"
            tree = await Trees(client.outside).read(run)
            assert (len(tree.definitions), len(tree.recent)) == (1, 1), f"cut {cut}"


async def reached(client, run, cut):
    """Whether so many facts are in the log."""
    return await facts_of(client, run) >= cut
