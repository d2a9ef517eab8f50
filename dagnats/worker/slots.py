"""Dividing a worker's free slots among its queues, so that it never holds more tickets than it can run."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Demand(Struct):
    """One queue: how many tickets are asked for already, and how many were last seen waiting.

    ``most`` is how many it can have out at a time (0: any number).
    """

    requested: int = 0
    backlog: int = 0
    most: int = 0


def allot(free: int, demands: Sequence[Demand], turn: int = 0) -> list[int]:
    """How many more tickets to ask each queue for; the sum is at most ``free``.

    Queues with nothing asked for come first, one slot each, beginning at ``turn`` so that all have
    their chance when slots are fewer than queues. What is left goes where tickets are known to wait,
    and else evenly; but a queue with a bound gets no more than what waits.
    """
    count = len(demands)
    grants = [0] * count
    order = [(turn + offset) % count for offset in range(count)]
    for index in order:
        if free and not demands[index].requested:
            grants[index] += 1
            free -= 1
    hungry = [i for i in order if _wanted(demands[i], grants[i]) > 0]
    while free and hungry:
        share = max(1, free // len(hungry))
        for index in list(hungry):
            wanted = _wanted(demands[index], grants[index])
            given = min(share, wanted, free)
            grants[index] += given
            free -= given
            if given == wanted:
                hungry.remove(index)
    unbounded = [index for index in order if not demands[index].most]
    for place, index in enumerate(unbounded):
        share = free // (len(unbounded) - place)
        grants[index] += share
        free -= share
    return grants


def _wanted(demand: Demand, granted: int) -> int:
    """How many more tickets are known to wait, and can come."""
    waiting = min(demand.backlog, demand.most) if demand.most else demand.backlog
    return waiting - demand.requested - granted
