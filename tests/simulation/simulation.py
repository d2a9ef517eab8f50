"""A world under attack: runs, schedulers and workers, with everything that can happen to them.

First a hostile phase, in which a seeded die decides who does what and what breaks; then a calm one, in
which time jumps to whatever is due next until all has come to rest. Then ``checks`` looks at what is left.
"""

from __future__ import annotations

import random
from types import SimpleNamespace
from unittest.mock import patch

import msgspec

from dagnats.client import Client
from dagnats.memory.clock import VirtualClock
from dagnats.memory.outside import Memory
from dagnats.ports import Append, Stored
from dagnats.scheduler import gates, partition, triggers, watching
from dagnats.wire import subjects
from tests.simulation.authors import place_of_author
from tests.simulation.hands import Gremlin, Slow, Turn
from tests.simulation.holding import Remembering
from tests.simulation.people import People
from tests.simulation.processes import SimScheduler
from tests.simulation.runs import RUNS_PER_WORLD, Runs
from tests.simulation.triggers import Triggers
from tests.simulation.workers import SimWorker

PARTITIONS = 3
ACTIONS_PER_RUN = 40
TRIGGERED = 0.25  # of the worlds have triggers
SNAPSHOT_EVERY_FACTS = 2
ROUNDS_MAX = 2_000
STEPS_MAX = 100_000
_owner = msgspec.json.Decoder(dict[str, str])


class Wrong(AssertionError):
    """Something that must hold did not."""


class Simulation:
    """One world, from its seed to its rest."""

    def __init__(self, seed: int, *, tracing: bool = False) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.clock = VirtualClock()
        self.gremlin = Gremlin(self.rng)
        self.world = Remembering(self.clock, PARTITIONS, self.gremlin)
        self.client = Client(Memory(self.world, "client"), self.clock)
        self.runs = Runs(self.world, self.client, self.rng, seed)
        self.ledger: list[tuple[str, str]] = []
        self.planted: set[str] = set()
        self.schedulers: list[SimScheduler] = []
        self.workers: list[SimWorker] = []
        self.trace: list[str] | None = [] if tracing else None
        self.calm_ms = 0
        self.processes = 0
        self.parking = self.rng.choice((0.0, 0.02, 0.3))
        self.triggers = Triggers(self.client, self.rng, self.clock.wall_ms)
        self.people = People(self.client, self.rng, self.runs.everyone, self.planted)

    def note(self, what: str) -> None:
        """Remember something for the trace of a failing seed."""
        if self.trace is not None:
            self.trace.append(f"{self.clock.monotonic_ms() - 1_000_000:>10.0f}  {what}")

    def play(self) -> None:
        """Both phases.

        Raises:
            Wrong: something went wrong on the way, or it does not come to rest.
        """
        with (
            patch.object(partition, "SNAPSHOT_EVERY_FACTS", SNAPSHOT_EVERY_FACTS),
            patch.object(triggers, "TRIGGER_SAVED_FACTS", SNAPSHOT_EVERY_FACTS),
            patch.object(gates, "GATE_SAVED_FACTS", SNAPSHOT_EVERY_FACTS),
            patch.object(watching, "asyncio", SimpleNamespace(Lock=Turn)),
        ):
            if self.rng.random() < TRIGGERED:
                self.triggers.begin()
            for _ in range(2):
                self._new_scheduler()
                self._new_worker()
            for _ in range(RUNS_PER_WORLD * ACTIONS_PER_RUN):
                self._act()
            while self.runs.started < RUNS_PER_WORLD:
                self.note(self.runs.start())
            _calm(self)

    # -- processes ---------------------------------------------------------------------------------

    def _name(self, role: str) -> str:
        self.processes += 1
        self.note(f"new {role}{self.processes}")
        return f"{role}{self.processes}"

    def _new_scheduler(self) -> None:
        name = self._name("scheduler")

        def wrote(message: Append, stored: Stored, late: bool) -> None:
            self._wrote(scheduler, message, stored, late)

        slow = Slow(self.world, name, self.clock, self.rng, wrote)
        scheduler = SimScheduler(name, slow, self.parking)
        self.schedulers.append(scheduler)

    def _new_worker(self) -> None:
        memory = Memory(self.world, self._name("worker"))
        self.workers.append(
            SimWorker(memory, self.rng, self.runs.script, self.ledger, self.planted)
        )

    def _wrote(self, writer: SimScheduler, message: Append, stored: Stored, late: bool) -> None:
        """Whoever writes for a partition holds it, and nobody else does."""
        if self.trace is not None:
            what = "again " if stored.duplicate else "late " if late else ""
            self.note(f"{writer.name} stored {what}{stored.seq} {message.subject} {message.msg_id}")
        place = place_of_author(message, PARTITIONS)
        if late or place is None:
            return
        holders = [s.name for s in self.schedulers if s.leases.fence(place)()]
        record = self.world.buckets[subjects.LEASES].keys.get(f"partition.{place}")
        owner = _owner.decode(record[0])["owner"] if record else ""
        if holders != [writer.name] or owner != writer.name:
            raise Wrong(
                f"{writer.name} wrote {message.subject}; partition {place} is {owner!r}'s, "
                f"and {holders} hold it"
            )

    # -- the hostile phase -------------------------------------------------------------------------

    def _act(self) -> None:
        fate = self.rng.random()
        if fate < 0.55:
            self._schedule()
        elif fate < 0.80:
            self._work()
        elif fate < 0.92:
            self._pass(self.rng.choice((5, 50, 200, 400, 600)))
        elif fate < 0.93:
            self._pass(self.rng.choice((2_000, 6_000, 31_000, 31_000, 125_000)))
        elif fate < 0.96:
            self.note(self.runs.start())
        elif fate < 0.978:
            self.people.step()
        elif fate < 0.98:
            self.triggers.step()
        elif fate < 0.998:
            _strike(self)

    def _schedule(self) -> None:
        awake = [each for each in self.schedulers if not each.stopped()]
        if awake:
            scheduler = self.rng.choice(awake)
            for _ in range(self.rng.choice((3, 10, 40, 100))):
                if not scheduler.busy:
                    break
                self._step(scheduler)

    def _step(self, scheduler: SimScheduler) -> None:
        scheduler.step()
        if scheduler.bugs:
            raise Wrong(f"{scheduler.name} ran into {scheduler.bugs}")

    def _work(self) -> None:
        worker = self.rng.choice(self.workers)
        for _ in range(self.rng.randint(1, 4)):
            if not worker.step(calm=False):
                self.note("a worker was killed")
                worker.memory.crash()
                self.workers.remove(worker)
                self._new_worker()
                break

    def _pass(self, ms: float) -> None:
        self.note(f"{ms} ms pass")
        self.clock.advance(ms)
        self.world.fire_due()

    def end(self) -> None:
        """Let go of every coroutine."""
        for scheduler in self.schedulers:
            scheduler.kill()


def _strike(sim: Simulation) -> None:
    """Something happens to a scheduler."""
    victim = sim.rng.choice(sim.schedulers)
    fate = sim.rng.random()
    now = sim.clock.monotonic_ms()
    sim.note(f"{victim.name} is struck: {fate:.2f}")
    if fate < 0.4:
        length = sim.rng.choice((400, 1_700, 3_000, 3_000, 8_000, 40_000))
        victim.stopped_until_ms = now + length
    elif fate < 0.55:
        victim.slow.cut_until_ms = now + sim.rng.choice((300, 1_000, 2_500))
    elif fate < 0.7:
        if len(sim.schedulers) < 3:
            sim._new_scheduler()
    else:
        if fate < 0.8 and victim.slow.cut_until_ms <= now and not victim.stopped():
            victim.leave()
        else:
            victim.kill()
        sim.schedulers.remove(victim)
        if not sim.schedulers or sim.rng.random() < 0.7:
            sim._new_scheduler()


def _calm(sim: Simulation) -> None:
    sim.note("calm")
    sim.gremlin.calm = True
    for scheduler in sim.schedulers:
        scheduler.stopped_until_ms = scheduler.slow.cut_until_ms = 0
        scheduler.slow.hesitation = 0.01
    _settle(sim)
    sim.calm_ms = sim.clock.wall_ms()
    sim.people.everything()
    owned = False
    for _ in range(ROUNDS_MAX):
        _settle(sim)
        if owned:  # everything that was published has been heard
            sim.triggers.end()
        owned = _owned(sim)
        if _at_rest(sim):
            return
        sim._pass(_wait_ms(sim))
    raise Wrong(f"it does not come to rest: {sim.runs.still_open()}")


def _settle(sim: Simulation) -> None:
    """Let everybody do what can be done now."""
    moved = True
    while moved:
        moved = False
        for worker in sim.workers:
            worker.step(calm=True)
            while worker.busy:
                moved = True
                worker.step(calm=True)
        for scheduler in sim.schedulers:
            left = STEPS_MAX
            while scheduler.busy:
                moved = True
                sim._step(scheduler)
                left -= 1
                if not left:
                    raise Wrong(f"{scheduler.name} is busy for ever: {sim.runs.still_open()}")


def _wait_ms(sim: Simulation) -> float:
    """Until the next thing that is due; a moment when partitions wait for an owner."""
    if not _owned(sim) or any(cursor.waiting for cursor in sim.world.cursors.values()):
        return 400
    due = sim.world.until_due_ms()
    if due is None:
        raise Wrong(f"nothing is due, and not all is done: {sim.runs.still_open()}")
    return max(1.0, due)


def _owned(sim: Simulation) -> bool:
    held = {p for each in sim.schedulers if each.leases.valid() for p in each.leases.held}
    return len(held) == PARTITIONS


def _at_rest(sim: Simulation) -> bool:
    if any(line.tickets for line in sim.world.queue._lines.values()):
        return False
    if any(cursor._floor < len(cursor._facts) for cursor in sim.world.cursors.values()):
        return False
    if any("start=" in timer for timer in sim.world.timers._armed):
        return False
    return _owned(sim) and sim.triggers.ended and not sim.runs.still_open()
