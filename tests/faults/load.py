"""Runs that go on while processes die, and the judgement over what became of them."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from dagnats import Client
from dagnats.core.events import Event, StepContinued, StepFailed, StepSucceeded
from dagnats.core.machine import advance, in_force, new_run
from dagnats.core.state import COMPLETED
from dagnats.errors import CodecError
from dagnats.jetstream.outside import JetStream
from dagnats.ports import Entry
from dagnats.wire.codec import event_of, is_fact, kind_of
from tests.faults.tasks import LEDGER, STEPS, TICKETS
from tests.support.broker import Broker
from tests.support.cluster import Cluster
from tests.support.processes import Fleet, fleet

APP = "tests.faults.tasks"


class Executions(Struct):
    """What the ledger says about one ticket: the processes that began it, and how many ends there were."""

    pids: list[int] = []
    ends: int = 0


class Load:
    """Runs of a known shape, started one after another."""

    def __init__(self, client: Client, ledger: Path, seed: int) -> None:
        self.client = client
        self.random = random.Random(seed)
        self.started: dict[str, tuple[str, int]] = {}
        self._ledger = ledger

    async def start(
        self, runs: int, over: float = 0.0, workflow: str = "chain", run_id: str | None = None
    ) -> None:
        """Start runs, spread over some seconds."""
        for number in range(runs):
            handle = await self.client.start(workflow, number, id=run_id)
            self.started[handle.run_id] = (workflow, number)
            await asyncio.sleep(over / runs)

    async def complete(self, within: float = 60) -> None:
        """Wait until every run has ended, and look at what each gave."""
        async with asyncio.timeout(within):
            for run_id, (_, number) in self.started.items():
                output = await self.client.handle(run_id).result(within)
                assert output == number + STEPS, f"run {run_id} gave {output}"

    def open_runs(self) -> int:
        """How many runs have not executed their last step, as far as the ledger says."""
        executions = self.executions()
        return sum(
            (run, TICKETS[workflow][-1]) not in executions
            for run, (workflow, _) in self.started.items()
        )

    def executions(self) -> dict[tuple[str, str], Executions]:
        """The ledger, by run and ticket."""
        found: dict[tuple[str, str], Executions] = defaultdict(Executions)
        for line in self._ledger.read_text().splitlines() if self._ledger.exists() else ():
            run, ticket, pid, what = line.split()
            if what == "start":
                found[run, ticket].pids.append(int(pid))
            else:
                found[run, ticket].ends += 1
        return found

    # -- judging -----------------------------------------------------------------------------------

    async def judge(self) -> dict[tuple[str, str], Executions]:
        """Check that every run completed, each ticket with one outcome and none lost; what ran twice."""
        executions = self.executions()
        for run_id, (workflow, _) in self.started.items():
            await self._judge_run(run_id, TICKETS[workflow])
            for ticket in TICKETS[workflow]:
                assert executions[run_id, ticket].ends >= 1, f"{ticket} of {run_id} never ran"
        expected = {(r, t) for r, (workflow, _) in self.started.items() for t in TICKETS[workflow]}
        assert set(executions) == expected, "something ran that nobody asked for"
        return {ticket: e for ticket, e in executions.items() if len(e.pids) > 1}

    async def _judge_run(self, run_id: str, tickets: tuple[str, ...]) -> None:
        entries = await self.client.outside.log.history(run_id)
        dispatched = [given_of(entry)[0] for entry in entries if kind_of(entry.subject) == "task"]
        assert sorted(dispatched) == sorted(tickets), f"run {run_id} dispatched {dispatched}"
        closed = [entry for entry in entries if entry.subject.endswith(".closed")]
        assert len(closed) == 1, f"run {run_id} was closed {len(closed)} times"
        honoured, status = await self._fold(run_id, entries)
        assert status == COMPLETED
        assert sorted(honoured) == sorted(tickets), f"run {run_id} honoured {honoured}"
        assert (await self.client.run(run_id)).status == COMPLETED

    async def _fold(self, run_id: str, entries: list[Entry]) -> tuple[list[str], str]:
        """The tickets whose outcome moved the run, in order, and the run's status at the end."""
        nonces = dict(given_of(e) for e in entries if kind_of(e.subject) == "task")
        events: list[Event] = []
        for entry in entries:
            if is_fact(entry):
                with suppress(CodecError):  # poison, that schedulers leave out as well
                    events.append(event_of(entry))
        run = new_run(run_id, await self.client.registry.graph(events[0].fact.definition))
        honoured: list[str] = []
        for event in events:
            fact, before = event.fact, run
            if isinstance(fact, StepSucceeded | StepContinued | StepFailed):
                assert fact.nonce == nonces[fact.ticket]
                assert not isinstance(fact, StepFailed), f"{fact.ticket} of {run_id}: {fact.error}"
            run, _ = advance(run, event)
            moved = (run.steps, run.status) != (before.steps, before.status)
            if isinstance(fact, StepSucceeded | StepContinued):
                assert moved == in_force(before, fact.ticket)
                honoured += [fact.ticket] if moved else []
        return honoured, run.status


def given_of(entry: Entry) -> tuple[str, str]:
    """A dispatch's ticket and nonce."""
    body = msgspec.json.decode(entry.payload)
    return body["ticket"], body["nonce"]


class Scene(Struct):
    """A fleet under load, and the chance of this test."""

    load: Load
    fleet: Fleet
    random: random.Random
    broker: Broker | Cluster


@asynccontextmanager
async def scene(
    broker: Broker | Cluster,
    directory: Path,
    *,
    schedulers: int = 1,
    workers: int = 2,
    seed: int = 0,
    **environment: str,
) -> AsyncIterator[Scene]:
    """Processes at work on a broker, and a client to load them with. The seed is printed."""
    seed = seed or secrets.randbelow(1_000_000)
    print(f"seed {seed}")
    ledger = directory / "ledger"
    environment[LEDGER] = str(ledger)
    made = fleet(broker, directory, app=APP, schedulers=schedulers, workers=workers, **environment)
    async with made as processes:
        outside = await JetStream.open(broker.url, name="test")
        try:
            chance = random.Random(seed)
            yield Scene(Load(Client(outside), ledger, seed), processes, chance, broker)
        finally:
            await outside.close()
