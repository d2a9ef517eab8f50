"""Who waits at a gate: in lines, one for each combination of keys.

Within a line the lowest rank goes first; lines take turns. A line whose first ticket is short of something is *stuck*
at that one meter, behind the lines that were there before, so that what comes free is looked for where it is missed and
nowhere else: a grant costs the logarithm of the line. The front of each is short of what it waits for.
"""

from __future__ import annotations

import heapq
from collections import deque

from msgspec import Struct

from dagnats.core.entities import NOTHING_SPENT, Demand, Spent
from dagnats.core.gates.meters import Meter, meter_of

Ticket = tuple[str, str]  # run, ticket
Line = tuple[Meter, ...]


class Waiting(Struct, order=True, omit_defaults=True):
    """A ticket in its line. Compared by rank, then by who asked first."""

    rank_ms: int
    seq: int
    run: str
    ticket: str
    asked_ms: int
    demands: tuple[Demand, ...]
    spent: Spent = NOTHING_SPENT

    @property
    def key(self) -> Ticket:
        """Which ticket of which run."""
        return self.run, self.ticket

    @property
    def line(self) -> Line:
        """The line that it stands in."""
        return tuple(meter_of(demand) for demand in self.demands)


class Lines:
    """All lines of one gate."""

    def __init__(self) -> None:
        self.waiting: dict[Ticket, Waiting] = {}
        self.lines: dict[Line, list[Waiting]] = {}
        self.stuck: dict[Meter, deque[Line]] = {}
        self.place: dict[Line, Meter] = {}  # where each line is stuck

    def add(self, asking: Waiting) -> None:
        """A ticket joins its line."""
        self.waiting[asking.key] = asking
        heapq.heappush(self.lines.setdefault(asking.line, []), asking)

    def withdraw(self, key: Ticket) -> Waiting:
        """A ticket waits no more; its line finds out when it comes to it."""
        return self.waiting.pop(key)

    def first(self, line: Line) -> Waiting | None:
        """Who is first in a line; None when it is empty, and then there is no such line any more."""
        queue = self.lines[line]
        while queue and self.waiting.get(queue[0].key) is not queue[0]:
            heapq.heappop(queue)
        if queue:
            return queue[0]
        del self.lines[line]
        return None

    def let_through(self, first: Waiting) -> None:
        """The first of a line waits no more."""
        heapq.heappop(self.lines[first.line])
        del self.waiting[first.key]

    def stick(self, meter: Meter, line: Line) -> None:
        """A line waits for a meter from now on, behind those that do already."""
        self.stuck.setdefault(meter, deque()).append(line)
        self.place[line] = meter

    def front(self, meter: Meter) -> Waiting | None:
        """The first ticket of the line that has waited for a meter longest; empty lines go."""
        queue = self.stuck.get(meter)
        while queue:
            first = self.first(queue[0])
            if first is not None:
                return first
            self.free(meter)
        return None

    def free(self, meter: Meter) -> None:
        """That line is not stuck any more."""
        queue = self.stuck[meter]
        del self.place[queue.popleft()]
        if not queue:
            del self.stuck[meter]
