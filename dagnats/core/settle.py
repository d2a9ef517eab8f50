"""What follows from a state, until nothing moves: ready, skipped, recovered, failed, closed.

Rules that are nowhere else:

* a step is ready when every parent is completed, skipped or recovered;
* ``skip_if`` true or ``when`` false skips it; skipping by condition does not cascade;
* a failed step with ``on_failure`` waits for that step; when it completes, the failed step is
  *recovered* and what depends on it is *bypassed*: skipped, and so is everything below;
* any other failure ends the run; open steps are cancelled, their tickets abandoned;
* a run with no open step is completed. One place ends runs: ``close``.
"""

from __future__ import annotations

from msgspec import Raw
from msgspec.structs import replace

from dagnats.core.conditions import holds
from dagnats.core.draft import Draft, Ending
from dagnats.core.graph import NOWHERE, Node
from dagnats.core.inputs import run_output, step_input
from dagnats.core.kinds import KINDS
from dagnats.core.model import ABSENT
from dagnats.core.run import Run
from dagnats.core.schemas import schema_violation
from dagnats.core.state import (
    CANCELLED,
    COMPLETED,
    FAILED,
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
    while draft.worklist and draft.ending is None:
        position = draft.worklist.pop()
        state = draft.state(position)
        if state.status == FAILED:
            _failed(draft, draft.graph.nodes[position], state)
        elif state.status in SATISFIED:
            _satisfied(draft, draft.graph.nodes[position])
    if draft.ending is None and draft.open == 0:
        draft.end(COMPLETED)


def ready(draft: Draft, node: Node) -> None:
    """All parents are satisfied: bypass, skip or enter."""
    state = draft.state(node.position)
    if any(_bypasses(draft.state(parent)) for parent in node.parents):
        draft.put(
            node.position, replace(state, status=SKIPPED, bypassed=True, ended_ms=draft.at_ms)
        )
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
            step_input(draft.graph, node, draft.run.steps.replace(draft.changed), draft.run.input)
        except PathMissing as missing:
            error = StepError(f'input of step "{step.id}": {missing}', "invalid_input")
            draft.put(
                node.position, replace(state, status=FAILED, error=error, ended_ms=draft.at_ms)
            )
            return
    draft.put(node.position, KINDS[step.kind].enter(draft.scope(node)))


def _bypasses(parent: StepState) -> bool:
    return parent.status == RECOVERED or parent.bypassed


def _satisfied(draft: Draft, node: Node) -> None:
    draft.open -= 1
    if node.aux:
        _recover(draft, node)
    for child in node.children:
        state = draft.state(child)
        if state.status != PENDING:
            continue
        draft.changed[child] = state = replace(state, blockers=state.blockers - 1)
        if state.blockers == 0:
            ready(draft, draft.graph.nodes[child])


def _failed(draft: Draft, node: Node, state: StepState) -> None:
    handler = draft.graph.nodes[node.handler] if node.handler != NOWHERE else None
    if handler is not None and draft.state(handler.position).status == PENDING:
        draft.open += 1
        draft.put(handler.position, KINDS[handler.step.kind].enter(draft.scope(handler)))
        return
    message = state.error.message if state.error else "failed"
    failure = state.error.failure if state.error else "failed"
    draft.end(FAILED, StepError(f'step "{node.step.id}": {message}', failure), node.position)


def _recover(draft: Draft, handler: Node) -> None:
    for node in draft.graph.nodes:
        if node.handler != handler.position:
            continue
        state = draft.state(node.position)
        if state.status == FAILED:
            draft.put(node.position, replace(state, status=RECOVERED))


def close(draft: Draft, ending: Ending) -> Run:
    """End the run: the only place that does, whatever the ending."""
    status, error, failed_at = ending
    abandoned = False
    for node in draft.graph.nodes:
        state = draft.state(node.position)
        if state.status not in OPEN:
            continue
        abandoned = abandoned or state.status == QUEUED
        unused = node.aux and state.status == PENDING
        ended = SKIPPED if unused else CANCELLED
        draft.changed[node.position] = replace(
            state, status=ended, due_ms=0, bound_ms=0, ended_ms=draft.at_ms
        )
    output = ABSENT
    if status == COMPLETED:
        output, problem = _output(draft)
        if problem:
            status, error = FAILED, StepError(f"output of the run: {problem}", "invalid_output")
    return draft.result(
        status=status, error=error, output=output, failed_at=failed_at, abandoned=abandoned,
        closed_ms=draft.at_ms, armed_ms=0,
    )  # fmt: skip


def _output(draft: Draft) -> tuple[Raw, str]:
    """What the run gives back; or nothing, and why it cannot be that."""
    try:
        output = run_output(draft.graph, draft.run.steps.replace(draft.changed), draft.run.input)
    except PathMissing as missing:
        return ABSENT, str(missing)
    violation = schema_violation(draft.graph.workflow.output_schema, output)
    return (ABSENT, violation) if violation else (output, "")
