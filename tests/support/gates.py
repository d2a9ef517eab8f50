"""A gate under a script: its log, what it said, and what must be true after every fact."""

from __future__ import annotations

from collections import Counter
from typing import Any

from dagnats.core.entities import Demand, GateAsked
from dagnats.core.events import Event, TimerFired
from dagnats.core.gates.gate import Gate
from dagnats.core.gates.meters import Meter, meter_of


class World:
    """A gate, its log, and what it said; time passes as the script says, and its timer fires when it is due."""

    def __init__(self, shape: list[dict[str, Any]]) -> None:
        self.shape = shape
        self.gate = Gate("gate=task=x")
        self.events: list[Event] = []
        self.said: list[list[Any]] = []
        self.now = 1_000_000

    def tell(self, fact: Any) -> list[Any]:
        """One more fact."""
        event = Event(len(self.events) + 1, self.now, fact)
        self.events.append(event)
        self.said.append(self.gate.fold(event))
        self.check()
        return self.said[-1]

    def ask(self, run: str, rank: int, keys: dict[str, str], cost: int) -> list[Any]:
        """A ticket asks."""
        demands = tuple(
            Demand(
                **each, key=keys[each["path"]] if "path" in each else "",
                cost=min(cost, each["limit"] or 1),
            )
            for each in self.shape
        )  # fmt: skip
        return self.tell(GateAsked(run=run, ticket="a/1/0", rank_ms=rank, demands=demands))

    def wait(self, ms: int) -> None:
        """Time passes."""
        until = self.now + ms
        while self.gate.armed_ms and self.gate.armed_ms <= until:
            self.now = max(self.now, self.gate.armed_ms)
            self.tell(TimerFired(due_ms=self.gate.armed_ms))
        self.now = until

    def check(self) -> None:
        """What is true after every fact."""
        gate = self.gate
        used: Counter[Meter] = Counter()
        for holding in gate.holders.values():
            for demand in holding.demands:
                if demand.kind == "slots":
                    used[meter_of(demand)] += demand.cost
        assert dict(used) == gate.meters.used  # the sum over owners is the count
        for meter, count in used.items():
            limit = gate.meters.rules[meter[:2]].limit
            assert not limit or count <= limit
        stuck = [line for lines in gate.lines.stuck.values() for line in lines]
        assert sorted(stuck) == sorted(gate.lines.lines)  # each line is stuck exactly once
        assert all(line in gate.lines.stuck[at] for line, at in gate.lines.place.items())
        for meter, lines in gate.lines.stuck.items():
            alive = [first for line in lines if (first := self._first(line)) is not None]
            if alive:
                self._waits_for_something(meter, alive[0])
        if gate.holders or gate.waking:
            assert gate.armed_ms

    def _first(self, line: Any) -> Any:
        there = [each for each in self.gate.lines.waiting.values() if each.line == line]
        return min(there, default=None)

    def _waits_for_something(self, meter: Meter, first: Any) -> None:
        """Nobody waits for nothing, and what comes with time alone is looked for in time."""
        cost = next(demand.cost for demand in first.demands if meter_of(demand) == meter)
        assert self.gate.meters.short(meter, cost, self.gate.at_ms)
        due = self.gate.meters.due_ms(meter, cost, self.gate.at_ms)
        assert not due or self.gate.waking[meter] <= due
