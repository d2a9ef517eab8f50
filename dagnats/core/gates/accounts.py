"""Budgets that runs share: what those that a gate has let in use together, of so much in a period, or ever.

Runs tell what they have used in all, so that telling it twice changes nothing. When it is too much, all that spend of
the same are told; who comes then waits for the next period, or until somebody adds to the budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from dagnats.core import durations
from dagnats.core.amounts import words_of
from dagnats.core.entities import NOTHING_SPENT, Demand, GateRaised, Spent, spent_of
from dagnats.core.gates.commands import GrantTicket, StopSpending
from dagnats.core.gates.holders import Holding
from dagnats.core.gates.lines import Ticket
from dagnats.core.gates.meters import Meter, Meters, meter_of
from dagnats.core.model import SHARED_BUDGETS


class Spenders(Protocol):
    """What is needed of a gate."""

    id: str
    seq: int
    at_ms: int
    meters: Meters
    holders: dict[Ticket, Holding]


def grant(gate: Spenders, key: Ticket, demands: tuple[Demand, ...]) -> GrantTicket:
    """A run is let in, and told what is left of each budget that it shares."""
    shared = [meter_of(demand) for demand in demands if demand.is_budget]
    return GrantTicket(
        gate.id, *key, tuple(gate.meters.left(meter, gate.at_ms) for meter in shared)
    )


def charge(gate: Spenders, key: Ticket, spent: Spent) -> Iterator[StopSpending]:
    """A run has used so much by now, in all."""
    holding = gate.holders.get(key)
    if holding is None or spent == NOTHING_SPENT:
        return
    before = holding.spent
    holding.spent = max(before[0], spent[0]), max(before[1], spent[1])
    for demand in holding.demands:
        if demand.is_budget and demand.cost:
            more = spent_of(demand.kind, holding.spent) - spent_of(demand.kind, before)
            yield from _spend(gate, meter_of(demand), more)


def _spend(gate: Spenders, meter: Meter, more: int) -> Iterator[StopSpending]:
    account = gate.meters.account(meter, gate.at_ms)
    account.spent += more
    if account.over or gate.meters.left(meter, gate.at_ms) >= 0:
        return
    account.over = True
    reason = used_up(gate.meters, meter, gate.at_ms)
    for key, holding in gate.holders.items():
        if any(meter_of(demand) == meter and demand.cost for demand in holding.demands):
            yield StopSpending(gate.id, *key, meter[0], reason, gate.seq)


def raised(gate: Spenders, fact: GateRaised) -> Meter | None:
    """Somebody adds to a budget; which it is, if there is such a one."""
    meter = fact.kind, fact.path, fact.key
    if fact.kind not in SHARED_BUDGETS or meter[:2] not in gate.meters.rules or fact.more <= 0:
        return None
    account = gate.meters.account(meter, gate.at_ms)
    account.more += fact.more
    account.over = account.over and gate.meters.left(meter, gate.at_ms) < 0
    return meter


def refusal(gate: Spenders, meter: Meter) -> tuple[str, int]:
    """Why nobody is let in who does not wait, and after how long that changes by itself."""
    if gate.meters.left(meter, gate.at_ms) > 0:
        return "", 0
    due = gate.meters.due_ms(meter, 1, gate.at_ms)
    return used_up(gate.meters, meter, gate.at_ms), due - gate.at_ms if due else 0


def used_up(meters: Meters, meter: Meter, at_ms: int) -> str:
    """That a budget is, for people."""
    kind, path, key = meter
    rule, account = meters.rules[meter[:2]], meters.account(meter, at_ms)
    field = "usd_nano" if kind == "usd" else kind
    most, spent = words_of(field, rule.limit + account.more), words_of(field, account.spent)
    per = f" in {durations.text_of_ms(rule.period_ms)}" if rule.period_ms else ""
    whose = f" of {path} {key}" if path else ""
    return f"the shared budget{whose} is used up: {spent} used of {most}{per}"


# -- for people --------------------------------------------------------------------------------------


def budget_path(gate: Spenders, kind: str, key: str, path: str) -> str | None:
    """The key of the one budget that somebody means; None when there is none, or there are several."""
    keyed = bool(key)
    found = [
        known for budget, known in gate.meters.rules
        if budget == kind and bool(known) == keyed and path in ("", known)
    ]  # fmt: skip
    return found[0] if len(found) == 1 and (keyed or not path) else None


def no_budget(gate: Spenders, name: str, kind: str, key: str, path: str) -> str:
    """That there is no such budget, and which there are."""
    wanted = f" by {path}" if path else ""
    whose = " for a key" if key else " for all together"
    there = [
        f"{budget} for each {known} (say whose: key)" if known else f"{budget} for all together"
        for budget, known in gate.meters.rules
        if budget in SHARED_BUDGETS
    ]
    has = f"there is: {', '.join(there)}" if there else "no run that shares one has asked it yet"
    return f"the gate of {name} has no single budget in {kind}{wanted}{whose}; {has}"
