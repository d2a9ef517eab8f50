"""A run's one timer: what is due when it fires, and when it must fire next."""

from __future__ import annotations

from collections.abc import Iterable

from dagnats.core import durations, settle, spending
from dagnats.core.draft import Draft
from dagnats.core.kinds import KINDS
from dagnats.core.run import Run
from dagnats.core.state import OPEN, StepError, StepState


def fired(draft: Draft) -> None:
    """Do everything that is due."""
    run = draft.run
    if run.deadline_ms and draft.at_ms >= run.deadline_ms:
        limit = durations.text_of_ms(draft.graph.workflow.timeout_ms)
        settle.fail(draft, StepError(f"timeout: the run took longer than {limit}", "timeout"))
        return
    spending.timed(draft)
    for node in draft.graph.nodes:
        state = run.steps[node.position]
        if state.status in OPEN and 0 < state.own_due_ms <= draft.at_ms:
            settle.move(draft, node, KINDS[node.step.kind].on_due(draft.scope(node)))


def next_due(run: Run, states: Iterable[StepState]) -> int:
    """The earliest moment at which a run, with these steps, needs the engine; 0 for never."""
    dues = [due for state in states if (due := state.deadline_ms)]
    if run.deadline_ms:
        dues.append(run.deadline_ms)
    if run.wall_due_ms:
        dues.append(run.wall_due_ms)
    if run.over is not None:
        dues.append(run.over.until_ms)
    return min(dues) if dues else 0
