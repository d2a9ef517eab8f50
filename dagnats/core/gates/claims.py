"""Limits that nobody waits for (singletons, refusals): who has them, or will, and how much of them."""

from __future__ import annotations

from dagnats.core.entities import Demand
from dagnats.core.gates.lines import Ticket
from dagnats.core.gates.meters import Meter, meter_of


class Claims:
    """For each such meter the tickets in the order in which they came, those that wait for something else included."""

    def __init__(self) -> None:
        self.of: dict[Meter, dict[Ticket, int]] = {}

    def make(self, demands: tuple[Demand, ...], key: Ticket) -> None:
        """A ticket is let in, at once or later."""
        for demand in demands:
            if demand.kind == "slots" and demand.mode != "wait":
                self.of.setdefault(meter_of(demand), {})[key] = demand.cost

    def drop(self, demands: tuple[Demand, ...], key: Ticket) -> None:
        """It is over."""
        for meter in map(meter_of, demands):
            claims = self.of.get(meter, {})
            if claims.pop(key, None) is not None and not claims:
                del self.of[meter]

    def inherit(self, demands: tuple[Demand, ...], key: Ticket, heir: Ticket) -> None:
        """A run goes on as another."""
        for meter in map(meter_of, demands):
            claims = self.of.get(meter, {})
            if key in claims:
                claims[heir] = claims.pop(key)

    def over(self, demand: Demand) -> bool:
        """Whether there is no room for one more."""
        return sum(self.of.get(meter_of(demand), {}).values()) + demand.cost > demand.limit
