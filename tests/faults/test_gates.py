"""Limits while processes die: the holder of a slot, the owner of the gate, the server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import Struct

from dagnats import Client
from dagnats.client import Handle
from dagnats.jetstream.outside import JetStream
from tests.faults.gated import AT_ONCE, PER_TENANT, REPORTS, TOKENS
from tests.faults.tasks import LEDGER
from tests.scenarios.gates_support import empty
from tests.support.broker import Broker
from tests.support.deployment import eventually
from tests.support.processes import Fleet, fleet

pytestmark = [pytest.mark.faults]

RUNS, TENANTS = 60, 2  # three at once are two of one tenant


class Scene(Struct):
    """A fleet, its client, and the file in which executions are noted."""

    broker: Broker
    fleet: Fleet
    client: Client
    ledger: Path

    def lines(self) -> list[list[str]]:
        """The ledger, in the order in which things happened."""
        text = self.ledger.read_text() if self.ledger.exists() else ""
        return [line.split() for line in text.splitlines()]

    def died(self, pid: int) -> None:
        """Note that a process is gone, and what it was running with it."""
        with self.ledger.open("a") as file:
            file.write(f"- - {pid} died\n")

    def most(self) -> tuple[int, int]:
        """The most tickets that ever were inside at once: altogether, and of one tenant.

        A delivery that was lost with the server may run a ticket a second time: beside the first, in the same place, or
        after it, when its answer is stored and the place is another's. That second end counts for nothing.
        """
        inside: dict[tuple[str, int], tuple[str, str]] = {}
        over: set[str] = set()
        altogether = one = 0
        for run, ticket, pid, what in self.lines():
            act, _, tenant = what.partition("-")
            if act == "died":
                inside = {key: who for key, who in inside.items() if key[1] != int(pid)}
            elif act == "end":
                over.add(f"{run} {ticket}")
                inside.pop((f"{run} {ticket}", int(pid)), None)
            elif f"{run} {ticket}" not in over:
                inside[f"{run} {ticket}", int(pid)] = (f"{run} {ticket}", tenant)
            tickets = set(inside.values())
            altogether = max(altogether, len(tickets))
            one = max(one, max(Counter(tenant for _, tenant in tickets).values(), default=0))
        return altogether, one

    async def run_all(self, workflow: str, kill: Callable[[], object], kills: int) -> list[Handle]:
        """Start everything, kill as often, let everything end."""
        handles = [
            await self.client.start(workflow, {"n": n, "tenant": n % TENANTS}) for n in range(RUNS)
        ]
        for number in range(1, kills + 1):
            enough = number * RUNS // (kills + 2)
            await eventually(lambda enough=enough: len(self.lines()) // 2 >= enough, 30)
            kill()
        async with asyncio.timeout(60):
            outputs = [await handle.result(60) for handle in handles]
        assert outputs == list(range(RUNS))
        return handles

    async def endure(self, kill: Callable[[], object], kills: int) -> None:
        """Nothing was over a limit, and nothing is left."""
        await self.run_all("narrow", kill, kills)
        altogether, one = self.most()
        assert altogether == AT_ONCE  # it was reached, and never more
        assert one == PER_TENANT
        await eventually(lambda: empty(self.client, "task", "narrow"), 20)

    def kill_a_worker(self) -> None:
        """And start another."""
        victim = self.fleet.workers[0]
        self.fleet.gone(victim)
        victim.kill()
        self.died(victim.pid)
        self.fleet.start_worker()

    def kill_a_scheduler(self) -> None:
        """And start another."""
        victim = self.fleet.schedulers[0]
        self.fleet.gone(victim)
        victim.kill()
        self.fleet.start_scheduler()

    def kill_the_server(self) -> None:
        """And start it again."""
        self.broker.kill()
        self.broker.start()

    async def used(self) -> dict[str, float]:
        """What the gate says that each tenant has used."""
        gate = await self.client.gate("workflow", "costly")
        return {limit.key: limit.used for limit in gate.limits if limit.key}


@asynccontextmanager
async def scene(broker: Broker, directory: Path, *, schedulers: int) -> AsyncIterator[Scene]:
    """A fleet with two workers, each of which alone could break the limits."""
    ledger = directory / "ledger"
    made = fleet(
        broker, directory, app="tests.faults.gated", schedulers=schedulers, workers=2,
        **{LEDGER: str(ledger)},
    )  # fmt: skip
    async with made as processes:
        outside = await JetStream.open(broker.url, name="gates")
        try:
            yield Scene(broker, processes, Client(outside), ledger)
        finally:
            await outside.close()


async def test_holders_killed(broker, tmp_path):
    """S339. A worker that holds slots dies: its tickets run again with the places that they have."""
    async with scene(broker, tmp_path, schedulers=1) as s:
        await s.endure(s.kill_a_worker, kills=3)


async def test_owners_of_the_gate_killed(broker, tmp_path):
    """A scheduler that owns the gate dies: the next one knows who is inside and who waits."""
    async with scene(broker, tmp_path, schedulers=2) as s:
        await s.endure(s.kill_a_scheduler, kills=3)


async def test_the_server_killed(broker, tmp_path):
    """The server dies: what a gate let in is in its log, and nobody is let in twice."""
    async with scene(broker, tmp_path, schedulers=2) as s:
        await s.endure(s.kill_the_server, kills=2)


@pytest.mark.parametrize("killed", ["a_worker", "a_scheduler", "the_server"])
async def test_what_tenants_use_is_counted_once(broker, tmp_path, killed):
    """Whoever dies: the gate's count is what the runs have used, and each report of a ticket counts once."""
    async with scene(broker, tmp_path, schedulers=2) as s:
        handles = await s.run_all("costly", getattr(s, f"kill_{killed}"), kills=3)
        spent = Counter[str]()
        for n, handle in enumerate(handles):
            spent[str(n % TENANTS)] += (await handle.status()).usage.output_tokens
        assert spent == Counter(
            {str(t): RUNS // TENANTS * 2 * REPORTS * TOKENS for t in range(TENANTS)}
        )

        async def same() -> bool:
            return await s.used() == dict(spent)

        await eventually(same)
