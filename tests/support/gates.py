"""A gate under a script: its log, what it said, and what must be true after every fact."""

from __future__ import annotations

from collections import Counter
from typing import Any

from dagnats.core.entities import Demand, GateAsked, GateCharged, GateLeft, GateRaised
from dagnats.core.events import Event, TimerFired
from dagnats.core.gates.commands import StopSpending
from dagnats.core.gates.gate import Gate
from dagnats.core.gates.meters import Meter, meter_of
from dagnats.core.model import SHARED_BUDGETS


class World:
    """A gate, its log, and what it said; time passes as the script says, and its timer fires when it is due."""

    def __init__(self, shape: list[dict[str, Any]]) -> None:
        self.shape = shape
        self.gate = Gate("gate=task=x")
        self.events: list[Event] = []
        self.said: list[list[Any]] = []
        self.now = 1_000_000
        self.spent: Counter[tuple[Meter, int]] = (
            Counter()
        )  # by budget and the beginning of its period

    def tell(self, fact: Any) -> list[Any]:
        """One more fact."""
        event = Event(len(self.events) + 1, self.now, fact)
        self.events.append(event)
        before = dict(self.gate.holders)
        self._count(fact)
        self.said.append(self.gate.fold(event))
        self._check_budgets(before)
        self.check()
        return self.said[-1]

    def _count(self, fact: Any) -> None:
        """What the fact adds to budgets, worked out anew."""
        holding = self.gate.holders.get((getattr(fact, "run", ""), getattr(fact, "ticket", "")))
        if not isinstance(fact, GateCharged | GateLeft) or holding is None:
            return
        for demand in holding.demands:
            if demand.is_budget and demand.cost:
                place = ("usd", "tokens").index(demand.kind)
                more = max(0, fact.spent[place] - holding.spent[place])
                self.spent[meter_of(demand), self._since(demand)] += more

    def _since(self, demand: Demand) -> int:
        return self.now // demand.period_ms * demand.period_ms if demand.period_ms else 0

    def _check_budgets(self, before: dict[Any, Any]) -> None:
        """Nobody is let in when a budget is used up; when it is exceeded, who spends is told, and is told once."""
        gate = self.gate
        for key, holding in gate.holders.items():
            inherited = (
                isinstance(self.events[-1].fact, GateLeft) and self.events[-1].fact.heir == key[0]
            )
            if key not in before and not inherited:
                assert all(
                    gate.meters.left(meter_of(demand), gate.as_of_ms) > 0
                    for demand in holding.demands if demand.is_budget
                )  # fmt: skip
        stopped = [
            (each.run, each.ticket) for each in self.said[-1] if isinstance(each, StopSpending)
        ]
        assert len(stopped) == len(set(stopped))
        for meter, account in gate.meters.accounts.items():
            assert account.spent == self.spent[meter, account.since_ms]
            exceeded = account.spent > gate.meters.rules[meter[:2]].limit + account.more
            assert account.over or not exceeded

    def ask(self, run: str, rank: int, keys: dict[str, str], cost: int) -> list[Any]:
        """A ticket asks."""
        demands = tuple(
            Demand(
                **each, key=keys[each["path"]] if "path" in each else "",
                cost=cost % 2 if each["kind"] in SHARED_BUDGETS else min(cost, each["limit"] or 1),
            )
            for each in self.shape
        )  # fmt: skip
        return self.tell(GateAsked(run=run, ticket="a/1/0", rank_ms=rank, demands=demands))

    def raise_(self, key: str, more: int) -> None:
        """Somebody adds to each budget that there is for a key."""
        for each in self.shape:
            if each["kind"] in SHARED_BUDGETS:
                path = each.get("path", "")
                self.tell(
                    GateRaised(kind=each["kind"], path=path, key=key if path else "", more=more)
                )

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
