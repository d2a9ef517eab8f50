"""A gate as bytes: what cannot be worked out again."""

from __future__ import annotations

import heapq
from collections import deque
from typing import Final

import msgspec
from msgspec import Struct

from dagnats.core.gates.gate import Gate
from dagnats.core.gates.holders import Holding
from dagnats.core.gates.lines import Line, Ticket, Waiting
from dagnats.core.gates.meters import Account, Bucket, Meter, Rule, meter_of

VERSION: Final = 2
_READ: Final = (1, 2)  # the first knew no accounts


class Saved(Struct, frozen=True, kw_only=True):
    """The stored form. ``stuck`` keeps whose turn it is. Unknown versions are not read: the log is folded instead."""

    version: int
    id: str
    seq: int
    facts: int
    at_ms: int
    armed_ms: int
    rules: list[tuple[str, str, Rule]]
    holders: list[Holding]
    waiting: list[Waiting]
    claims: list[tuple[Meter, list[tuple[Ticket, int]]]]
    buckets: list[tuple[Meter, Bucket]]
    paused: list[tuple[Meter, int]]
    stuck: list[tuple[Meter, list[Line]]]
    waking: list[tuple[Meter, int]]
    accounts: list[tuple[Meter, Account]] = []


_decoder = msgspec.json.Decoder(Saved)


def save(gate: Gate) -> bytes:
    """A gate as JSON. It is tidied on the way, which is all that bounds how many keys it remembers."""
    meters, lines = gate.meters, gate.lines
    meters.tidy(gate.at_ms)
    saved = Saved(
        version=VERSION, id=gate.id, seq=gate.seq, facts=gate.facts, at_ms=gate.at_ms, armed_ms=gate.armed_ms,
        rules=[(*name, rule) for name, rule in meters.rules.items()],
        holders=list(gate.holders.values()),
        waiting=list(lines.waiting.values()),
        claims=[(meter, list(claims.items())) for meter, claims in gate.claims.of.items()],
        buckets=list(meters.buckets.items()),
        paused=list(meters.paused.items()),
        stuck=[(meter, list(stuck)) for meter, stuck in lines.stuck.items()],
        waking=list(gate.waking.items()),
        accounts=list(meters.accounts.items()),
    )  # fmt: skip
    return msgspec.json.encode(saved)


def restore(data: bytes) -> Gate | None:
    """A stored gate; None when it is not one that this version can use."""
    try:
        saved = _decoder.decode(data)
    except (ValueError, RecursionError):
        return None
    if saved.version not in _READ:
        return None
    gate = Gate(saved.id)
    gate.seq, gate.facts = saved.seq, saved.facts
    gate.at_ms, gate.armed_ms = saved.at_ms, saved.armed_ms
    gate.claims.of = {meter: dict(claims) for meter, claims in saved.claims}
    gate.waking = dict(saved.waking)
    gate.wakes = sorted((due, meter) for meter, due in saved.waking)
    meters, lines = gate.meters, gate.lines
    meters.rules = {(kind, path): rule for kind, path, rule in saved.rules}
    meters.buckets, meters.paused = dict(saved.buckets), dict(saved.paused)
    meters.accounts = dict(saved.accounts)
    lines.stuck = {meter: deque(stuck) for meter, stuck in saved.stuck}
    lines.lines = {line: [] for _, stuck in saved.stuck for line in stuck}
    lines.place = {line: meter for meter, stuck in saved.stuck for line in stuck}
    for waiting in saved.waiting:
        lines.waiting[waiting.key] = waiting
        heapq.heappush(lines.lines[waiting.line], waiting)
    for holding in saved.holders:
        gate.holders[holding.run, holding.ticket] = holding
        for demand in holding.demands:
            if demand.kind == "slots":
                meter = meter_of(demand)
                meters.used[meter] = meters.used.get(meter, 0) + demand.cost
    return gate
