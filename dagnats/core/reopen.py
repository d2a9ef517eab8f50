"""Opening a run again: a failed one at the step that failed, one that its budget ended where it was.

What was done stays done.

The step that failed, and those that were cut off by its failure, begin a new attempt with their whole retry
budget; what had not begun waits as before. The run's own time begins anew.
"""

from __future__ import annotations

from msgspec.structs import replace

from dagnats.core import settle, spending
from dagnats.core.draft import Draft
from dagnats.core.events import BudgetRaised, RetryRequested
from dagnats.core.graph import NOWHERE, Graph, Node
from dagnats.core.model import ABSENT
from dagnats.core.run import Run
from dagnats.core.state import (
    BUDGET_EXCEEDED,
    CANCELLED,
    FAILED,
    NOBODY,
    PENDING,
    RUNNING,
    SATISFIED,
    SKIPPED,
    WAITING,
    StepState,
)


def refusal(run: Run) -> str:
    """Why a run cannot be opened again; empty when it can."""
    if not run.closed:
        return f"it is {run.status}"
    if run.status == BUDGET_EXCEEDED and run.over is not None and run.over.gate:
        return ""
    if run.status == BUDGET_EXCEEDED:
        return f"its budget is used up; give it more with `dagnats run raise {run.id}`"
    if run.status != FAILED:
        return f"it is {run.status}, and only failed runs can go on from where they failed"
    if run.graph is None:
        return "its definition is gone"
    if run.failed_at == NOBODY and run.error and run.error.failure == "invalid_input":
        return "its input does not fit its workflow"
    return ""


def opens(run: Run, fact: RetryRequested | BudgetRaised) -> Run | None:
    """The run, to be opened again; None when it cannot, or was opened by another request."""
    if fact.epoch != run.epoch + 1:
        return None
    if isinstance(fact, BudgetRaised):
        if run.status != BUDGET_EXCEEDED or spending.refusal(run, fact.step):
            return None
        run = spending.raised(run, fact)
    elif refusal(run):
        return None
    return replace(run, epoch=fact.epoch, opened=fact.epoch)


def waiting(run: Run) -> Run:
    """A run that is opened again, as it waits to be let in; it keeps how it had ended until then."""
    return replace(
        run, status=PENDING, closed_ms=0, abandoned=False, armed_ms=0, deadline_ms=0, output=ABSENT, asked=True,
    )  # fmt: skip


def resumed(run: Run, graph: Graph, at_ms: int) -> Draft:
    """A run that is opened again goes on, still to be settled."""
    limit = graph.workflow.timeout_ms
    opened = replace(
        run, status=RUNNING, error=None, failed_at=NOBODY, output=ABSENT, closed_ms=0, abandoned=False,
        armed_ms=0, line=(), active=0, over=None, deadline_ms=at_ms + limit if limit else 0,
    )  # fmt: skip
    draft = Draft(spending.clock_started(opened, at_ms), graph, at_ms)
    failed_at = _causes(run, graph)
    begin = [node for node in graph.nodes if _revive(draft, run, node, failed_at)]
    for node in graph.nodes:
        state = draft[node.position]
        if node.position in draft.changed and state.status == PENDING and not state.spent:
            left = sum(draft[parent].status not in SATISFIED for parent in node.parents)
            draft.changed[node.position] = replace(state, blockers=left)
    draft.open = sum(_counts(node, draft[node.position]) for node in graph.nodes)
    for node in begin:
        settle.enter(draft, node)
    for node in graph.nodes:
        if _may_begin(draft, node):
            settle.ready(draft, node)
    return draft


def _causes(run: Run, graph: Graph) -> set[int]:
    """The step that failed, and the steps that failed because it did."""
    found: set[int] = set()
    position = run.failed_at
    while position != NOWHERE:
        found.add(position)
        position = graph.nodes[position].owner
    return found


def _revive(draft: Draft, run: Run, node: Node, causes: set[int]) -> bool:
    """Undo a step's end; whether it is to be entered anew."""
    state = run.steps[node.position]
    if node.owner != NOWHERE and not _owner_goes_on(draft, node):
        return False
    if node.aux and state.status == SKIPPED:
        draft.changed[node.position] = replace(state, status=PENDING, ended_ms=0)
        return False
    if state.status != CANCELLED and node.position not in causes:
        return False
    again = replace(
        state, status=PENDING, error=None, ended_ms=0, due_ms=0, bound_ms=0, parked=NOBODY, cause=NOBODY,
    )  # fmt: skip
    if state.owned is not None:
        draft.changed[node.position] = replace(again, status=WAITING)
        return False
    draft.changed[node.position] = replace(again, spent=state.attempt)
    return state.attempt > 0


def _owner_goes_on(draft: Draft, node: Node) -> bool:
    """Whether a step's owner still has it: items and plans' steps; a handler makes its calls anew."""
    own = draft[node.owner].owned
    if own is None or draft[node.owner].status != WAITING:
        return False
    return own.first <= node.position < own.first + own.count


def _counts(node: Node, state: StepState) -> bool:
    """Whether a run with this step in this state is not complete."""
    if node.owner != NOWHERE or state.status in SATISFIED:
        return False
    return not node.aux or state.attempt > 0


def _may_begin(draft: Draft, node: Node) -> bool:
    """Whether a step waits for nothing but was never entered: the run ended in the same moment."""
    state = draft[node.position]
    if node.position not in draft.changed or state.status != PENDING or state.blockers:
        return False
    if node.owner != NOWHERE:
        own = draft[node.owner].owned
        return own is not None and node.position < own.first + own.started
    return not node.aux
