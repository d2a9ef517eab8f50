"""The runs of a world: those that are started, their children, and those that continue them."""

from __future__ import annotations

import random
import zlib

import msgspec
from msgspec import Raw

from dagnats.client import Client
from dagnats.core.events import RunStarted
from dagnats.errors import PublishFailed, RunAlreadyStarted
from dagnats.memory.world import World
from dagnats.registry import Current
from dagnats.starting import append_start
from dagnats.wire import subjects
from tests.simulation.flows import FLOWS, Flow, child, flow
from tests.simulation.kinds import CHILDREN
from tests.simulation.limited import FAMILIES, MEMBERS, limited
from tests.simulation.processes import GRAPHS, drive
from tests.simulation.scripts import Script

RUNS_PER_WORLD = 12
LIMITED = 0.3  # of the worlds have runs and tasks under limits
_START = b'"type":"run.started"'


class Runs:
    """All there are, by what the log says; ``started`` counts those that were started here."""

    def __init__(self, world: World, client: Client, rng: random.Random, seed: int) -> None:
        self._world = world
        self._client = client
        self._rng = rng
        self._seed = seed
        self._chosen: list[Flow] = []
        self._family = rng.randrange(FAMILIES) if rng.random() < LIMITED else None
        client.registry._graphs = GRAPHS
        for number in range(CHILDREN):
            self._know(child(number))

    @property
    def started(self) -> int:
        """How many were started here."""
        return len(self._chosen)

    def _know(self, known: Flow) -> None:
        """Register a workflow, without the work of encoding it again."""
        GRAPHS[known.digest] = known.graph
        current = Current(known.workflow.name, known.digest)
        definitions = self._client.outside.documents(subjects.DEFINITIONS)
        key = f"name.{subjects.token(known.workflow.name)}"
        drive(definitions.put(key, msgspec.json.encode(current)))

    def start(self) -> str:
        """Start one more, or one again; what was done."""
        full = self.started >= RUNS_PER_WORLD
        again = self.started and (full or self._rng.random() < 0.1)
        number = self._rng.randrange(self.started) if again else self.started
        if not again:
            self._chosen.append(self._choose())
        chosen = self._chosen[number]
        GRAPHS[chosen.digest] = chosen.graph
        fact = RunStarted(
            workflow=chosen.workflow.name,
            definition=chosen.digest,
            input=Raw(b'{"n":%d}' % (number % 10)),
            start="again" if again else "first",
        )
        while True:
            try:
                outside, run = self._client.outside, f"run{number}"
                drive(append_start(outside, run, fact, idempotent=False, named=False))
            except PublishFailed:
                continue
            except RunAlreadyStarted:
                pass
            return f"start run{number} ({chosen.workflow.name})"

    def _choose(self) -> Flow:
        if self._family is None:
            return flow(self._rng.randrange(FLOWS))
        return limited(self._family, self._rng.randrange(MEMBERS))

    def everyone(self) -> list[str]:
        """Their ids."""
        return [
            run
            for (_, run), log in self._world._histories.items()
            if any(_START in entry.payload for entry in log)
        ]

    def still_open(self) -> list[str]:
        """Those that have not ended."""
        return [run for run in self.everyone() if drive(self._client.closed_mark(run)) is None]

    def script(self, run: str) -> Script:
        """What the handlers of a run do."""
        return Script(zlib.crc32(f"{self._seed} {run}".encode()))
