"""Forking: a new run that shares the history of another up to a step (and iteration), and goes on from there.

The state at that place travels in the new run's first fact, so that its history is whole without the other's.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from dagnats.core import admission, spending
from dagnats.core import snapshot as snapshots
from dagnats.core.budgets import replaced
from dagnats.core.events import RunStarted
from dagnats.core.graph import Graph
from dagnats.core.model import ABSENT, NOTHING_USED
from dagnats.core.run import Run
from dagnats.core.state import NOBODY, OPEN, PENDING, QUEUED, RUNNING, StepState
from dagnats.core.table import Table
from dagnats.core.timing import next_due


class Fork(Struct, frozen=True, omit_defaults=True):
    """Where a run branches off: ``at_ms`` is the log's time of that place."""

    run: str
    at: str
    at_ms: int
    state: Raw


_decoder = msgspec.json.Decoder(Fork)


def reached(run: Run, step: str, iteration: int) -> bool:
    """Whether a run has come to a step's iteration (from 0), and it is under way."""
    position = run.graph.index.get(step) if run.graph else None
    if position is None or position >= len(run.steps) or run.closed:
        return False
    state = run.steps[position]
    return state.status in OPEN and state.attempt > 0 and state.iteration == iteration


def taken(run: Run, step: str, iteration: int, at_ms: int, input: Raw = ABSENT) -> Raw:
    """The state of a run that has come to a step, to be begun from; ``input`` replaces the step's.

    Raises:
        ValueError: the step has begun to use its input already, as a map does.
    """
    assert run.graph is not None  # noqa: S101  (``reached`` says so)
    position = run.graph.index[step]
    state = run.steps[position]
    if input:
        if state.owned is not None or state.status != QUEUED:
            raise ValueError(
                f'step "{step}" takes its input as it begins; fork at a step with a handler, or at one before it'
            )
        state = replace(state, input=input)
    run = replace(run, steps=run.steps.replace({position: state}))
    return Raw(
        msgspec.json.encode(
            Fork(run.id, f"{step}@{iteration + 1}", at_ms, Raw(snapshots.save(run)))
        )
    )


def begun(run: Run, graph: Graph, fact: RunStarted, at_ms: int) -> Run | None:
    """A new run in the state that its first fact carries; None when that cannot be read."""
    try:
        fork = _decoder.decode(fact.fork)
    except msgspec.DecodeError:
        return None
    saved = snapshots.read(bytes(fork.state))
    base = snapshots.restore(saved, graph) if saved else None
    if base is None:
        return None
    later = at_ms - fork.at_ms
    limit = graph.workflow.timeout_ms
    moved = (_moved(state, later) for state in base.steps)
    steps = Table[StepState].of(admission.held(base.graph or graph, moved))
    begun_run = replace(
        base, id=run.id, seq=run.seq, facts=run.facts, status=RUNNING, steps=steps, input=fact.input,
        metadata=fact.metadata, tags=fact.tags, started_ms=at_ms, deadline_ms=at_ms + limit if limit else 0,
        armed_ms=0, closed_ms=0, error=None, failed_at=NOBODY, abandoned=False, epoch=0, opened=0,
        asked=False, priority=run.priority,
        parent="", parent_ticket="", detached=False, root=run.id, depth=0, previous="", chain=0,
        forked=f"{fork.run}@{fork.at}", usage=NOTHING_USED, models={}, elsewhere=NOTHING_USED, raised={},
        budget=replaced(graph.workflow.budget, fact.budget), cap=None, over=None, accounts=(), ceilings=(),
    )  # fmt: skip
    begun_run = spending.clock_started(replace(begun_run, wall_due_ms=0), at_ms)
    return replace(begun_run, armed_ms=next_due(begun_run, steps))


def _moved(state: StepState, later: int) -> StepState:
    """A step's waits, moved to the time at which the new run begins, which has used nothing."""
    if state.status == PENDING or state.status not in OPEN:
        return state if state.usage == NOTHING_USED else replace(state, usage=NOTHING_USED)
    return replace(
        state,
        usage=NOTHING_USED,
        due_ms=state.due_ms + later if state.due_ms else 0,
        bound_ms=state.bound_ms + later if state.bound_ms else 0,
        since_ms=state.since_ms + later if state.since_ms else 0,
        wall_due_ms=state.wall_due_ms + later if state.wall_due_ms else 0,
    )
