"""A saved fold: everything of a run but its graph, which its definition's hash brings back."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from dagnats.core.graph import Graph, Grown, grow
from dagnats.core.model import ABSENT, NOTHING_USED, Budget, Usage
from dagnats.core.run import Over, Run, Saga
from dagnats.core.state import StepError, StepState
from dagnats.core.table import Table

VERSION = 2


class Snapshot(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The stored form. Unknown versions are not read: the run is folded from its log instead."""

    version: int
    id: str
    status: str
    seq: int
    facts: int
    steps: list[StepState]
    open: int
    workflow: str
    definition: str
    input: Raw
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


_COPIED = tuple(name for name in Snapshot.__struct_fields__ if name not in ("version", "steps"))
_decoder = msgspec.json.Decoder(Snapshot)


def save(run: Run) -> bytes:
    """A run's snapshot as JSON."""
    values = {name: getattr(run, name) for name in _COPIED}
    return msgspec.json.encode(Snapshot(version=VERSION, steps=list(run.steps), **values))


def read(data: bytes) -> Snapshot | None:
    """A stored snapshot; None when it is not one this version can use."""
    try:
        snapshot = _decoder.decode(data)
    except (ValueError, RecursionError):
        return None
    return snapshot if snapshot.version == VERSION else None


def restore(snapshot: Snapshot, graph: Graph | None) -> Run | None:
    """The run of a snapshot; None when there is no graph or it does not fit: fold the log instead."""
    if graph is None:
        return None
    for grown in snapshot.growth:
        if grown.owner >= len(graph.nodes):
            return None
        graph = grow(graph, grown)
    if len(snapshot.steps) not in (0, len(graph.nodes)):
        return None
    values = {name: getattr(snapshot, name) for name in _COPIED}
    return Run(graph=graph, steps=Table[StepState].of(snapshot.steps), **values)
