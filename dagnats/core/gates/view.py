"""What people see of a gate: its limits, who has what since when, who waits and where in the line."""

from __future__ import annotations

from msgspec import Struct

from dagnats.core import durations
from dagnats.core.amounts import usd_of
from dagnats.core.gates.gate import Gate
from dagnats.core.gates.holders import Holding
from dagnats.core.gates.lines import Line, Waiting
from dagnats.core.gates.meters import Meter
from dagnats.core.limiting import gate_name
from dagnats.core.model import SHARED_BUDGETS
from dagnats.core.views import text_of_time

_SHOWN_MAX = 100


class LimitView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One limit, for one key where it has one: what is ``used``, or ``left`` of a rate; ``resumes_at`` when paused.

    A budget is of US dollars or tokens; ``raised`` is what was added to it, ``anew_at`` when its next period begins.
    """

    kind: str
    limit: float
    path: str = ""
    key: str = ""
    period: str = ""
    used: float = 0
    left: int | None = None
    resumes_at: str = ""
    raised: float = 0
    anew_at: str = ""


class HolderView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A ticket that was let through."""

    run_id: str
    ticket: str
    since: str
    keys: dict[str, str] = {}


class WaitingView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A ticket that waits; ``position`` from 1 among those with the same keys."""

    run_id: str
    ticket: str
    since: str
    position: int
    keys: dict[str, str] = {}


class GateView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A gate as it is now. Of very many, the first are listed; the counts are whole."""

    gate: str
    kind: str
    name: str
    limits: list[LimitView]
    holding: int = 0
    waiting: int = 0
    holders: list[HolderView] = []
    line: list[WaitingView] = []


def view_gate(gate: Gate) -> GateView:
    """A gate for people."""
    kind, name = gate_name(gate.id)
    return GateView(
        gate=gate.id,
        kind=kind,
        name=name,
        limits=_limits(gate),
        holding=len(gate.holders),
        waiting=len(gate.lines.waiting),
        holders=[
            HolderView(
                run_id=held.run,
                ticket=held.ticket,
                since=text_of_time(held.since_ms),
                keys=_keys(held),
            )
            for held in list(gate.holders.values())[:_SHOWN_MAX]
        ],
        line=[
            WaitingView(
                run_id=first.run,
                ticket=first.ticket,
                since=text_of_time(first.asked_ms),
                position=position,
                keys=_keys(first),
            )
            for first, position in _in_order(gate)[:_SHOWN_MAX]
        ],
    )


def _keys(ticket: Holding | Waiting) -> dict[str, str]:
    return {demand.path: demand.key for demand in ticket.demands if demand.path}


def _in_order(gate: Gate) -> list[tuple[Waiting, int]]:
    """Who waits, as they will be let through if each line is: the first of each, then the second of each."""
    lines: dict[Line, list[Waiting]] = {}
    for ticket in sorted(gate.lines.waiting.values()):
        lines.setdefault(ticket.line, []).append(ticket)
    placed = [(ticket, place) for line in lines.values() for place, ticket in enumerate(line, 1)]
    return sorted(placed, key=lambda each: (each[1], each[0]))


def place_of(gate: Gate, run: str, ticket: str) -> int:
    """The position of a ticket, from 1, among those with the same keys; 0 when it does not wait."""
    asked = gate.lines.waiting.get((run, ticket))
    if asked is None:
        return 0
    return sum(other <= asked for other in gate.lines.waiting.values() if other.line == asked.line)


def _limits(gate: Gate) -> list[LimitView]:
    meters = [(kind, path, "") for kind, path in gate.meters.rules if not path]
    known = gate.meters
    touched = {*known.used, *known.buckets, *known.accounts, *known.paused, *gate.lines.stuck}
    meters += sorted(meter for meter in touched if meter[1])
    return [_view_limit(gate, meter) for meter in meters[:_SHOWN_MAX]]


def _view_limit(gate: Gate, meter: Meter) -> LimitView:
    if meter[0] in SHARED_BUDGETS:
        return _view_budget(gate, meter)
    rule = gate.meters.rules[meter[:2]]
    rate = meter[0] == "rate"
    bucket = gate.meters.buckets.get(meter)
    paused = gate.meters.paused.get(meter, 0)
    left = (bucket.level // rule.period_ms if bucket else rule.burst) if rate else None
    return LimitView(
        kind=meter[0],
        limit=rule.limit,
        path=meter[1],
        key=meter[2],
        period=durations.text_of_ms(rule.period_ms) if rate else "",
        used=gate.meters.used.get(meter, 0),
        left=left,
        resumes_at=text_of_time(paused) if paused > gate.at_ms else "",
    )


def _view_budget(gate: Gate, meter: Meter) -> LimitView:
    rule = gate.meters.rules[meter[:2]]
    account = gate.meters.account(meter, gate.at_ms)
    shown = usd_of if meter[0] == "usd" else int
    paused = gate.meters.paused.get(meter, 0)
    return LimitView(
        kind=meter[0],
        limit=shown(rule.limit),
        path=meter[1],
        key=meter[2],
        period=durations.text_of_ms(rule.period_ms) if rule.period_ms else "",
        used=shown(account.spent),
        raised=shown(account.more),
        anew_at=text_of_time(account.since_ms + rule.period_ms) if rule.period_ms else "",
        resumes_at=text_of_time(paused) if paused > gate.at_ms else "",
    )
