"""What must hold of limits, by the logs: never more than there is, nobody without leave, nothing left behind."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator

from msgspec import Struct

from dagnats.core.entities import Demand, GateAsked, GateLeft
from dagnats.core.events import Event, GateGranted, GateRefused
from dagnats.core.limiting import is_gate
from dagnats.memory.world import World
from dagnats.ports import Entry
from dagnats.wire.codec import event_of, is_fact, run_of

FIRST = "!run/0"  # what a run asks with that was not opened again
Ticket = tuple[str, str]  # run, ticket
Meter = tuple[str, str, str]  # kind, path, key


class Passage(Struct):
    """One gate, as it goes through its logs."""

    gate: str
    asked: dict[Ticket, GateAsked] = {}
    held: dict[Ticket, tuple[Demand, ...]] = {}
    over: set[Ticket] = set()
    since: dict[Meter, int] = {}
    spent: dict[Meter, int] = {}


class Remembering(World):
    """A world whose logs are cut, as they are, and which knows what they began with all the same."""

    def remove(self, run: str, up_to_seq: int, marks_kept: int = 0) -> None:
        """Remove, and remember."""
        before = self.history(run, 0)
        super().remove(run, up_to_seq, marks_kept)
        left = {each.seq for each in self.history(run, 0)}
        self.removed[run] += [each for each in before if each.seq not in left]

    @functools.cached_property
    def removed(self) -> defaultdict[str, list[Entry]]:
        """What was removed, by who it was about."""
        return defaultdict(list)


def problems(world: Remembering) -> Iterator[str]:
    """Everything that does not hold."""
    events: defaultdict[str, list[tuple[str, Event]]] = defaultdict(list)
    for (_, owner), log in world._histories.items():
        for entry in [*world.removed[owner], *log]:
            gate = owner if is_gate(owner) else ""
            if not is_fact(entry) or not (gate or b'"type":"gate.' in entry.payload):
                continue
            event = event_of(entry)
            if isinstance(event.fact, GateAsked | GateLeft | GateGranted | GateRefused):
                events[gate or event.fact.gate].append((run_of(entry.subject), event))
    for gate, found in events.items():
        passage = Passage(gate)
        for run, event in sorted(found, key=lambda each: each[1].seq):
            yield from _follow(passage, run, event)
        for ticket in passage.asked.keys() - passage.over:
            yield f"{gate} was asked by {ticket}, which never left"
        for ticket in passage.held:
            yield f"{gate} is still held by {ticket}"


def _follow(passage: Passage, run: str, event: Event) -> Iterator[str]:
    fact = event.fact
    match fact:
        case GateAsked():
            passage.asked[fact.run, fact.ticket] = fact
            for demand in fact.demands:
                passage.since.setdefault(_meter(demand), event.at_ms)
        case GateGranted():
            yield from _granted(passage, (run, fact.ticket), event.at_ms)
        case GateRefused():
            passage.over.add((run, fact.ticket))
        case GateLeft():
            key = fact.run, fact.ticket
            held = passage.held.pop(key, None)
            passage.over.add(key)
            heir = fact.heir, FIRST
            if fact.heir and held and heir not in passage.over:
                passage.held[heir] = held


def _granted(passage: Passage, key: Ticket, at_ms: int) -> Iterator[str]:
    if key in passage.held or key in passage.over:  # told again
        return
    if key not in passage.asked:
        yield f"{passage.gate} let {key} through, which had not asked"
        return
    demands = passage.held[key] = passage.asked[key].demands
    for demand in demands:
        meter = _meter(demand)
        if demand.kind == "rate":
            spent = passage.spent[meter] = passage.spent.get(meter, 0) + demand.cost
            waited = (at_ms - passage.since[meter]) * demand.limit / demand.period_ms
            if spent > (demand.burst or demand.limit) + waited:
                yield f"{passage.gate} let {spent} through of {demand} by {at_ms}"
            continue
        used = sum(
            each.cost for held in passage.held.values() for each in held if _meter(each) == meter
        )
        if used > demand.limit:
            yield f"{passage.gate} let {key} through, and {used} are held of {demand}"


def _meter(demand: Demand) -> Meter:
    return demand.kind, demand.path, demand.key
