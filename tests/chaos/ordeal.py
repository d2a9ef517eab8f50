"""The ordeal: load, kills every few seconds, and the count of what became of it."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter, defaultdict
from pathlib import Path

import msgspec
from msgspec import Struct

from dagnats import Client
from dagnats.jetstream.outside import JetStream
from dagnats.wire.codec import kind_of
from tests.chaos.tasks import LONGEST, STEPS
from tests.faults.tasks import LEDGER
from tests.support.broker import Broker
from tests.support.processes import Fleet, fleet

WORKERS, CONCURRENCY = 3, 8
OPEN_MAX = 2 * WORKERS * CONCURRENCY  # runs in flight: more than there are slots


class Plan(Struct, frozen=True):
    """How long there are kills, how far apart they are at the most, and how long a handler takes at the most."""

    seconds: float
    every_s: float
    longest_s: float
    seed: int


class Figures(Struct):
    """What came of it. ``lost``: tickets without an end, or runs without the right output.

    ``doubled``: outcomes that moved a run a second time, as tickets dispatched more than once or runs
    closed more than once. ``repeated``: executions beyond the first, each after a kill. ``takeovers_s``:
    from the kill of a worker to the next start of each ticket that it held.
    """

    runs: int = 0
    effects: int = 0
    kills: int = 0
    lost: int = 0
    doubled: int = 0
    repeated: int = 0
    unexplained: int = 0
    takeovers_s: list[float] = []

    def text(self) -> str:
        """One line for people."""
        waits = sorted(self.takeovers_s) or [0.0]
        return (
            f"runs {self.runs}, effects {self.effects}, kills {self.kills}, lost {self.lost}, "
            f"doubled outcomes {self.doubled}, repeated executions {self.repeated} "
            f"(unexplained {self.unexplained}), "
            f"take-over p50 {waits[len(waits) // 2]:.2f} s, max {waits[-1]:.2f} s"
        )


class Line(Struct, frozen=True):
    """A line of the ledger."""

    pid: int
    what: str
    at: float


def ledger_of(path: Path) -> dict[tuple[str, str], list[Line]]:
    """The ledger by run and ticket, in the order of writing."""
    found: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for text in path.read_text().splitlines() if path.exists() else ():
        run, ticket, pid, what, at = text.split()
        found[run, ticket].append(Line(int(pid), what, float(at)))
    return found


async def endure(broker: Broker, directory: Path, plan: Plan) -> Figures:
    """Run the plan on a broker, wait until every run has ended, and count."""
    chance = random.Random(plan.seed)
    ledger = directory / "ledger"
    settings = {LEDGER: str(ledger), LONGEST: str(plan.longest_s)}
    made = fleet(
        broker, directory, app="tests.chaos.tasks", workers=WORKERS, concurrency=CONCURRENCY,
        **settings,
    )  # fmt: skip
    async with made as processes:
        outside = await JetStream.open(broker.url, name="chaos")
        try:
            client = Client(outside)
            killed: dict[int, float] = {}
            started: dict[str, int] = {}
            ending = time.monotonic() + plan.seconds
            # A run's steps queue behind those of others, and a killed step starts from its beginning.
            patience = 30 + 4 * STEPS * plan.longest_s
            async with asyncio.TaskGroup() as group:
                group.create_task(_load(client, started, ending, patience))
                group.create_task(_kill(processes, chance, plan, killed, ending))
            wrong = [
                run for run, n in started.items()
                if await client.handle(run).result(patience) != n + STEPS
            ]  # fmt: skip
            return await _count(client, ledger_of(ledger), [*started], killed, len(wrong))
        finally:
            await outside.close()


async def _load(client: Client, started: dict[str, int], ending: float, patience: float) -> None:
    """Keep so many runs in flight."""

    async def one_after_another() -> None:
        while time.monotonic() < ending:
            n = len(started)
            handle = await client.start("chaos", n)
            started[handle.run_id] = n
            await handle.result(patience)

    async with asyncio.TaskGroup() as group:
        for _ in range(OPEN_MAX):
            group.create_task(one_after_another())


async def _kill(
    processes: Fleet, chance: random.Random, plan: Plan, killed: dict[int, float], ending: float
) -> None:
    """SIGKILL a worker every few seconds; another takes its place."""
    while True:
        await asyncio.sleep(chance.uniform(plan.every_s / 3, plan.every_s))
        if time.monotonic() >= ending:
            return
        victim = chance.choice(processes.workers)
        processes.gone(victim)
        victim.kill()
        killed[victim.pid] = time.monotonic()
        await processes.add_worker()


async def _count(
    client: Client,
    ledger: dict[tuple[str, str], list[Line]],
    runs: list[str],
    killed: dict[int, float],
    wrong: int,
) -> Figures:
    figures = Figures(runs=len(runs), kills=len(killed), lost=wrong)
    for run in runs:
        entries = await client.outside.log.history(run)
        sent = Counter(
            msgspec.json.decode(e.payload)["ticket"]
            for e in entries
            if kind_of(e.subject) == "task"
        )
        closed = sum(entry.subject.endswith(".closed") for entry in entries)
        figures.doubled += sum(sent.values()) - len(sent) + max(0, closed - 1)
        for number in range(STEPS):
            _judge(figures, ledger.get((run, f"s{number}/1/0"), []), killed)
    return figures


def _judge(figures: Figures, lines: list[Line], killed: dict[int, float]) -> None:
    """One ticket: it needs an end, and each start beyond the first a worker that was killed."""
    starts = [line for line in lines if line.what == "start"]
    ends = sum(line.what == "end" for line in lines)
    figures.effects += ends
    figures.lost += ends == 0
    figures.repeated += max(0, len(starts) - 1)
    for before, after in itertools.pairwise(starts):
        if before.pid in killed:
            figures.takeovers_s.append(after.at - killed[before.pid])
        else:
            figures.unexplained += 1
