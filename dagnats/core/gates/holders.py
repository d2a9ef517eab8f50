"""Who a gate has let through."""

from __future__ import annotations

from msgspec import Struct

from dagnats.core.entities import NOTHING_SPENT, Demand, Spent


class Holding(Struct, omit_defaults=True):
    """A ticket that was let through, and when its run was last asked whether it needs that still.

    ``spent``: what is counted of what its run has used.
    """

    run: str
    ticket: str
    since_ms: int
    checked_ms: int
    demands: tuple[Demand, ...]
    spent: Spent = NOTHING_SPENT
