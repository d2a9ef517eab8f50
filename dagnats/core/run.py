"""What a run is at one moment: the fold of its facts so far."""

from __future__ import annotations

from msgspec import Raw, Struct

from dagnats.core.graph import Graph, Grown
from dagnats.core.model import ABSENT, NOTHING_USED, Budget, Usage
from dagnats.core.state import CLOSED, UNSTARTED, StepError, StepState
from dagnats.core.table import Table


class Saga(Struct, frozen=True, omit_defaults=True):
    """Compensation under way: the positions of what is still to be undone, next first, and why."""

    left: tuple[int, ...]
    trigger: int
    error: StepError


class Over(Struct, frozen=True, omit_defaults=True):
    """A budget that is exceeded: the loop's at ``step``, or the run's; ``what`` is a field of ``Budget``.

    What is under way may end until ``until_ms``; nothing new begins. ``gate``: it is one that runs share there, and
    ``reason`` what the gate said.
    """

    step: str
    what: str
    until_ms: int
    gate: str = ""
    reason: str = ""


class Run(Struct, frozen=True, kw_only=True):
    """One execution of a workflow.

    ``seq`` is the last folded sequence, ``open`` counts steps that must still be satisfied, ``armed_ms``
    is when the run's one timer fires (0: none is armed), ``facts`` how many facts were folded,
    ``worker`` is whom a sticky run is bound to, ``failed_at`` the position of the step whose failure closed
    the run (-1: none did), ``abandoned`` that it closed while tickets were out.

    ``epoch`` counts how often its tickets were all taken back: by re-opening it, and when compensation
    began; ``opened`` is the epoch in which it was last re-opened (0: never was). ``growth`` is what was added
    to its graph, ``planned`` how many steps by planners. ``signals`` were sent and not consumed, ``waits``
    are the positions that wait for one, by name. ``next_input`` is what its successor begins with,
    ``forked`` the run and place whose history it shares. ``asked`` says that the gate of its workflow knows of
    it, ``priority`` by how many seconds it goes before others. ``line`` are the positions that wait for room
    among the steps that the run may have under way, ``active`` how many are.

    ``budget`` is the run's own, ``raised`` what was added to budgets since, by step ("" for the run's). ``usage`` is
    what its own handlers reported, by model in ``models``; ``elsewhere`` what was used before it, in the runs that
    it continues, and in its children. ``cap`` is what was left to its parent, which is told what it uses. ``over`` is
    the budget that is exceeded, ``wall_due_ms`` when the time of its own is over. ``accounts`` are the gates that count
    what it uses through its parent; ``ceilings``, for each budget that it shares, what it could use in all when it was
    let in.
    """

    id: str
    graph: Graph | None = None
    status: str = UNSTARTED
    seq: int = 0
    facts: int = 0
    steps: Table[StepState] = Table((), 0)
    open: int = 0
    workflow: str = ""
    definition: str = ""
    input: Raw = Raw(b"null")
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    started_ms: int = 0
    deadline_ms: int = 0
    armed_ms: int = 0
    worker: str = ""
    closed_ms: int = 0
    output: Raw = ABSENT
    error: StepError | None = None
    failed_at: int = -1
    abandoned: bool = False
    parent: str = ""
    parent_ticket: str = ""
    detached: bool = False
    root: str = ""
    depth: int = 0
    previous: str = ""
    chain: int = 0
    epoch: int = 0
    opened: int = 0
    growth: tuple[Grown, ...] = ()
    planned: int = 0
    signals: dict[str, tuple[Raw, ...]] = {}
    waits: dict[str, tuple[int, ...]] = {}
    saga: Saga | None = None
    next_input: Raw = ABSENT
    forked: str = ""
    asked: bool = False
    priority: int = 0
    line: tuple[int, ...] = ()
    active: int = 0
    budget: Budget | None = None
    raised: dict[str, Budget] = {}
    usage: Usage = NOTHING_USED
    models: dict[str, Usage] = {}
    elsewhere: Usage = NOTHING_USED
    cap: Budget | None = None
    over: Over | None = None
    wall_due_ms: int = 0
    accounts: tuple[str, ...] = ()
    ceilings: tuple[int, ...] = ()

    @property
    def spent(self) -> Usage:
        """All that its budget counts."""
        return self.usage + self.elsewhere if self.elsewhere is not NOTHING_USED else self.usage

    @property
    def closed(self) -> bool:
        """Whether the run has ended."""
        return self.status in CLOSED
