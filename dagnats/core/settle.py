"""What follows from a state, until nothing moves: ready, skipped, recovered, failed, undone, closed.

Rules that are nowhere else:

* a step is ready when every parent is completed, skipped or recovered;
* ``skip_if`` true or ``when`` false skips it; skipping by condition does not cascade;
* a failed step with ``on_failure`` waits for that step; when it completes, the failed step is
  *recovered* and what depends on it is *bypassed*: skipped, and so is everything below;
* a step that another one owns (an item, a step of a plan, a durable call) reports to its owner, done or
  failed, and ends with it;
* any other failure ends the run, or has it undone (``core.saga``); open steps are cancelled, their
  tickets abandoned;
* a run with no open step is completed. One place ends runs: ``close``.
"""

from __future__ import annotations

from msgspec import Raw
from msgspec.structs import replace

from dagnats.core import admission, saga, signals, spending
from dagnats.core.conditions import holds
from dagnats.core.draft import Draft, Ending
from dagnats.core.graph import NOWHERE, Node
from dagnats.core.inputs import run_output, step_input
from dagnats.core.kinds import KINDS
from dagnats.core.model import ABSENT
from dagnats.core.run import Run
from dagnats.core.schemas import schema_violation
from dagnats.core.scope import Next
from dagnats.core.state import (
    CANCELLED,
    COMPLETED,
    FAILED,
    NOBODY,
    OPEN,
    PENDING,
    QUEUED,
    RECOVERED,
    SATISFIED,
    SKIPPED,
    StepError,
    StepState,
)  # fmt: skip
from dagnats.core.templates import PathMissing


def begin(draft: Draft) -> None:
    """The run starts: its roots are ready."""
    for position in draft.graph.roots:
        ready(draft, draft.graph.nodes[position])


def settle(draft: Draft) -> None:
    """Follow every consequence of what has moved; cost is that of the edges touched."""
    while draft.ending is None:
        while draft.worklist and draft.ending is None:
            _settle_one(draft, draft.worklist.pop())
        if draft.ending is None and admission.in_line(draft):
            admission.fill(draft)
            if draft.worklist:  # one could not say what it asks of its gate
                continue
        if draft.ending is not None or draft.open:
            spending.settled(draft)
            return
        _complete(draft)


def _settle_one(draft: Draft, position: int) -> None:
    node, state = draft.graph.nodes[position], draft[position]
    if state.owned or state.calls:
        cancel(draft, draft.owned(position))
    if node.owner != NOWHERE and state.status != CANCELLED:
        if state.status in SATISFIED:
            _release_children(draft, node)
        _report(draft, node)
    elif state.status == FAILED:
        _failed(draft, node, state)
    elif state.status in SATISFIED:
        _satisfied(draft, node)


# -- entering --------------------------------------------------------------------------------------


def ready(draft: Draft, node: Node) -> None:
    """All parents are satisfied: bypass, skip or enter."""
    state = draft[node.position]
    for parent in node.parents:
        if _bypasses(draft[parent]):
            over = replace(state, status=SKIPPED, bypassed=True, ended_ms=draft.at_ms)
            draft.put(node.position, over)
            return
    step = node.step
    if step.skip_if is not None or step.when is not None:
        lookup = draft.lookup()
        skip = step.skip_if is not None and holds(step.skip_if, lookup)
        if skip or (step.when is not None and not holds(step.when, lookup)):
            draft.put(node.position, replace(state, status=SKIPPED, ended_ms=draft.at_ms))
            return
    if node.fallible_input:
        try:
            step_input(draft.graph, node, draft, draft.run.input)
        except PathMissing as missing:
            error = StepError(f'input of step "{step.id}": {missing}', "invalid_input")
            draft.put(
                node.position, replace(state, status=FAILED, error=error, ended_ms=draft.at_ms)
            )
            return
    enter(draft, node)


def _bypasses(parent: StepState) -> bool:
    return parent.status == RECOVERED or parent.bypassed


def enter(draft: Draft, node: Node) -> None:
    """The step begins, whatever its conditions."""
    move(draft, node, KINDS[node.step.kind].enter(draft.scope(node)))
    if node.step.kind == "wait_for_signal":
        signals.awaited(draft, node)


def move(draft: Draft, node: Node, following: Next) -> None:
    """Move a step; what its owned steps may now begin, begins."""
    position = node.position
    was = draft[position]
    before = was.owned
    draft.move(position, following)
    if node.gate or draft.graph.workflow.max_steps or draft.run.over:
        admission.hold(draft, node, was)
    after = draft.changed[position].owned
    if after is None or after is before:
        return
    for position in range(
        after.first + (before.started if before else 0), after.first + after.started
    ):
        child = draft[position]
        if child.status == PENDING and not child.blockers:
            ready(draft, draft.graph.nodes[position])


def cancel(draft: Draft, positions: list[int]) -> None:
    """These steps are not wanted any more."""
    for position in positions:
        state = draft[position]
        if state.status in OPEN:
            draft.put(position, cancelled(state, draft.at_ms))


def cancelled(state: StepState, at_ms: int) -> StepState:
    """A step that is not wanted any more."""
    return replace(state, status=CANCELLED, due_ms=0, bound_ms=0, ended_ms=at_ms)


# -- leaving ---------------------------------------------------------------------------------------


def _report(draft: Draft, node: Node) -> None:
    """Tell the owner of a step that it is done, or has failed for good."""
    owner = draft.graph.nodes[node.owner]
    state = draft[node.owner]
    if state.status not in OPEN:
        return
    move(draft, owner, KINDS[owner.step.kind].on_owned(draft.scope(owner), node.position))
    if node.position in state.calls and state.status == QUEUED:
        draft.told.append(node.position)


def _satisfied(draft: Draft, node: Node) -> None:
    draft.open -= 1
    if node.aux and draft.run.saga is not None:
        saga.undone(draft)
        if draft.ending is None:
            enter(draft, saga.next_undo(draft))
        return
    if node.aux:
        _recover(draft, node)
    _release_children(draft, node)


def _release_children(draft: Draft, node: Node) -> None:
    for child in node.children:
        state = draft[child]
        if state.status != PENDING:
            continue
        draft.changed[child] = state = replace(state, blockers=state.blockers - 1)
        if state.blockers == 0:
            ready(draft, draft.graph.nodes[child])


def _failed(draft: Draft, node: Node, state: StepState) -> None:
    handler = draft.graph.nodes[node.handler] if node.handler != NOWHERE else None
    if handler is not None and draft[handler.position].status == PENDING:
        draft.open += 1
        enter(draft, handler)
        return
    message = state.error.message if state.error else "failed"
    failure = state.error.failure if state.error else "failed"
    fail(
        draft, StepError(f'step "{node.step.id}": {message}', failure), _cause(draft, node.position)
    )


def _cause(draft: Draft, position: int) -> int:
    """The step whose own failure it was: an item, a plan's step, or the step itself."""
    while draft[position].cause != NOBODY:
        position = draft[position].cause
    return position


def _recover(draft: Draft, handler: Node) -> None:
    for node in draft.graph.nodes:
        if node.handler != handler.position:
            continue
        state = draft[node.position]
        if state.status == FAILED:
            draft.put(node.position, replace(state, status=RECOVERED))


def fail(draft: Draft, error: StepError, position: int = NOBODY) -> None:
    """The one way for a run to fail: undo what can be undone, else end."""
    if saga.begun(draft, error, position):
        enter(draft, saga.next_undo(draft))


# -- ending ----------------------------------------------------------------------------------------


def _complete(draft: Draft) -> None:
    """Nothing is open any more: the run's output is made."""
    draft.output, problem = _output(draft)
    if problem:
        fail(draft, StepError(f"output of the run: {problem}", "invalid_output"))
    else:
        draft.end(COMPLETED)


def close(draft: Draft, ending: Ending) -> Run:
    """End the run: the only place that does, whatever the ending."""
    status, error, failed_at = ending
    abandoned = False
    for (
        position
    ) in draft.worklist:  # failed in the same moment: cut off, so that the run can be opened again
        if draft[position].status == FAILED:
            draft.changed[position] = cancelled(draft[position], draft.at_ms)
    for node in draft.graph.nodes:
        state = draft[node.position]
        if state.status not in OPEN:
            continue
        abandoned = abandoned or state.status == QUEUED
        unused = node.aux and state.status == PENDING
        over = cancelled(state, draft.at_ms)
        draft.changed[node.position] = replace(over, status=SKIPPED) if unused else over
    output = draft.output if status == COMPLETED else ABSENT
    return draft.result(
        status=status, error=error, output=output, failed_at=failed_at, abandoned=abandoned,
        closed_ms=draft.at_ms, armed_ms=0, saga=None, waits={}, wall_due_ms=0,
    )  # fmt: skip


def _output(draft: Draft) -> tuple[Raw, str]:
    """What the run gives back; or nothing, and why it cannot be that."""
    try:
        output = run_output(draft.graph, draft, draft.run.input)
    except PathMissing as missing:
        return ABSENT, str(missing)
    violation = schema_violation(draft.graph.workflow.output_schema, output)
    return (ABSENT, violation) if violation else (output, "")
