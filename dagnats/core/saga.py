"""Compensation: a run that fails undoes what it has done, step by step in reverse order of definition.

Each completed step with ``compensate`` is undone by that step, which is told what to undo and why. The run
ends ``compensated``, or ``compensate_failed`` when one of them fails for good. What is still open when it
begins is cancelled: its tickets belong to an epoch that is over.
"""

from __future__ import annotations

from msgspec.structs import replace

from dagnats.core.draft import Draft
from dagnats.core.graph import NOWHERE, Node
from dagnats.core.inputs import undo_input
from dagnats.core.run import Saga
from dagnats.core.state import (
    CANCELLED,
    COMPENSATE_FAILED,
    COMPENSATED,
    COMPLETED,
    FAILED,
    OPEN,
    PENDING,
    StepError,
)


def begun(draft: Draft, error: StepError, position: int) -> bool:
    """Whether there is something to undo; if not, the run ends here."""
    if draft.run.saga is not None:
        draft.end(COMPENSATE_FAILED, error, position)
        return False
    left = tuple(
        node.position
        for node in reversed(draft.graph.nodes)
        if node.compensator != NOWHERE and draft[node.position].status == COMPLETED
    )
    if not left:
        draft.end(FAILED, error, position)
        return False
    _cancel_open(draft)
    draft.run = replace(
        draft.run, saga=Saga(left, position, error), epoch=draft.run.epoch + 1, deadline_ms=0
    )
    return True


def _cancel_open(draft: Draft) -> None:
    """Everything that is under way ends; steps that only run on failure stay as they are."""
    draft.worklist.clear()
    draft.open = 0
    for node in draft.graph.nodes:
        state = draft[node.position]
        if state.status in OPEN and not (node.aux and state.status == PENDING):
            draft.changed[node.position] = replace(
                state, status=CANCELLED, due_ms=0, bound_ms=0, ended_ms=draft.at_ms
            )


def next_undo(draft: Draft) -> Node:
    """The step that undoes what is to be undone next, with its input."""
    undoing = draft.run.saga
    assert undoing is not None  # noqa: S101  (asked only while compensation is under way)
    original = undoing.left[0]
    node = draft.graph.nodes[draft.graph.nodes[original].compensator]
    told = undo_input(draft.graph, original, undoing.trigger, undoing.error, draft)
    draft.changed[node.position] = replace(draft[node.position], input=told)
    draft.open = 1
    return node


def undone(draft: Draft) -> None:
    """One more is undone; with the last one the run ends."""
    undoing = draft.run.saga
    assert undoing is not None  # noqa: S101  (asked only while compensation is under way)
    left = undoing.left[1:]
    draft.run = replace(draft.run, saga=replace(undoing, left=left))
    if not left:
        draft.end(COMPENSATED, undoing.error)
