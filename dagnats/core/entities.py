"""The facts of what is no run, and has a log of its own all the same: gates, scheduled starts, triggers."""

from __future__ import annotations

from typing import Final

from msgspec import Raw, Struct

from dagnats.core.model import ABSENT, SHARED_BUDGETS, Budget

Spent = tuple[int, int]  # billionths of a US dollar, tokens
NOTHING_SPENT: Final[Spent] = (0, 0)


def spent_of(kind: str, spent: Spent) -> int:
    """What counts for a budget in "usd", or in "tokens"."""
    return spent[SHARED_BUDGETS.index(kind)]


class Demand(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a ticket asks of one limit: a ``model.Limit`` with the value that the input has at its key, and the cost.

    Of a shared budget the cost is 1; or 0, when what the run uses is counted through the run that started it.
    """

    kind: str
    limit: int
    path: str = ""
    key: str = ""
    period_ms: int = 0
    burst: int = 0
    cost: int = 1
    mode: str = "wait"

    @property
    def is_budget(self) -> bool:
        """Whether it is a budget that runs share: counted is what they use, and not how many they are."""
        return self.kind in SHARED_BUDGETS


class GateAsked(Struct, frozen=True, kw_only=True, tag="gate.asked", omit_defaults=True):
    """A ticket asks a gate to be let through. The lowest ``rank_ms`` goes first among those that share their keys.

    ``spent`` is what its run had used before: that is counted already, or never will be.
    """

    run: str
    ticket: str
    rank_ms: int
    demands: tuple[Demand, ...] = ()
    spent: Spent = NOTHING_SPENT


class GateLeft(Struct, frozen=True, kw_only=True, tag="gate.left", omit_defaults=True):
    """A ticket needs a gate no more. Its keys are to rest for ``pause_ms``; its place is the ``heir`` run's.

    ``spent`` as in ``GateCharged``.
    """

    run: str
    ticket: str
    pause_ms: int = 0
    heir: str = ""
    spent: Spent = NOTHING_SPENT


class GateCharged(Struct, frozen=True, kw_only=True, tag="gate.charged", omit_defaults=True):
    """What the run of a ticket that was let through has used so far, in all."""

    run: str
    ticket: str
    spent: Spent


class GateRaised(Struct, frozen=True, kw_only=True, tag="gate.raised", omit_defaults=True):
    """Somebody adds to a shared budget: of a ``kind`` and a ``path``, for the ``key``; of a period, to this one."""

    kind: str
    more: int
    path: str = ""
    key: str = ""
    by: str = ""
    comment: str = ""


class GateReleased(Struct, frozen=True, kw_only=True, tag="gate.released", omit_defaults=True):
    """An operator takes away what a run has of a gate."""

    run: str
    reason: str = ""


class StartScheduled(Struct, frozen=True, kw_only=True, tag="start.scheduled", omit_defaults=True):
    """A run is to be started at ``run_at_ms`` (Unix time), with the workflow as it is registered then.

    ``definition`` is what it is started with when no workflow of that name is registered. ``start`` tells two
    requests for the same run apart.
    """

    workflow: str
    definition: str
    run_at_ms: int
    input: Raw = Raw(b"null")
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    key: str = ""
    start: str = ""
    priority: int = 0
    budget: Budget | None = None


class StartCancelled(Struct, frozen=True, kw_only=True, tag="start.cancelled", omit_defaults=True):
    """A scheduled start is not to be. ``request`` makes each request tell itself apart."""

    reason: str = ""
    request: str = ""


class TriggerSet(Struct, frozen=True, kw_only=True, tag="trigger.set", omit_defaults=True):
    """A trigger is to be as it is defined here, in the form of a file's trigger; absent, it is no more."""

    definition: Raw = ABSENT


class TriggerFired(Struct, frozen=True, kw_only=True, tag="trigger.fired", omit_defaults=True):
    """Something happened that a trigger waits for: a message, a request, or somebody fired it by hand.

    ``key`` tells it apart from everything else that fires the trigger. ``kind`` is what the envelope says it was,
    ``seq`` the place of a message in its stream. With a ``problem`` it starts nothing.

    For a trigger that holds events back: ``path`` is the key that was looked for, ``group`` the value there,
    ``ungrouped`` why there is none, ``size`` how many bytes the data are, wherever they are.
    """

    key: str
    kind: str
    data: Raw = ABSENT
    seq: int = 0
    problem: str = ""
    path: str = ""
    group: str = ""
    ungrouped: str = ""
    size: int = 0
