"""What a worker is given for a ticket: one builder for every dispatch, first or repeated, of whatever kind."""

from __future__ import annotations

from msgspec import Raw

from dagnats.core.budgets import allowances
from dagnats.core.calls import call_key
from dagnats.core.graph import Node
from dagnats.core.inputs import NULL, step_input
from dagnats.core.run import Run
from dagnats.core.state import OPEN, StepState, ticket_text
from dagnats.core.templates import PathMissing
from dagnats.errors import InvariantBroken
from dagnats.wire import subjects
from dagnats.wire.messages import CallResult, TaskMessage, nonce


def ticket_message(run: Run, position: int, secret: bytes, partition: int) -> TaskMessage:
    """The ticket in force of a step, with everything its handler may need."""
    if run.graph is None:
        raise InvariantBroken(f"run {run.id} has a ticket without a definition (seq {run.seq})")
    node, state = run.graph.nodes[position], run.steps[position]
    step, loop = node.step, node.step.loop
    policy = step.retry or run.graph.workflow.default_retry
    ticket = ticket_text(step.id, state)
    return TaskMessage(
        ticket=ticket,
        run=run.id,
        step=step.id,
        task=step.task,
        workflow=run.workflow,
        answer_to=subjects.fact(partition, run.id, "worker"),
        nonce=nonce(secret, run.id, ticket),
        input=_input(run, node),
        attempt=state.attempt,
        attempts=(policy.attempts if policy else 1) + state.spent,
        iteration=state.iteration,
        max_iterations=loop.max_iterations if loop else 0,
        loop=loop is not None,
        checkpoint=state.checkpoint,
        timeout_ms=_timeout_ms(step.timeout_ms, state),
        metadata=step.metadata,
        run_metadata=run.metadata,
        sticky=run.graph.workflow.sticky,
        worker=run.worker,
        error=state.error.message if state.error else "",
        budget_warn_at=loop.budget_warn_at if loop else 0,
        budget_force_at=loop.budget_force_at if loop else 0,
        budgets=tuple(allowances(run, run.graph, run.steps, position, hints=True)),
        kind=step.kind,
        calls=tuple(recorded_calls(run, state)),
        epoch=run.epoch,
        history=run.facts,
        parent=run.parent,
        root=run.root if run.root != run.id else "",
    )


def _timeout_ms(timeout_ms: int, state: StepState) -> int:
    """How long the execution may take: its own limit, or what is left of the loop's."""
    if not state.bound_ms:
        return timeout_ms
    left = max(1, state.bound_ms - state.since_ms)
    return min(timeout_ms, left) if timeout_ms else left


def recorded_calls(run: Run, state: StepState) -> list[CallResult]:
    """The durable calls of an iteration that are settled, for a handler that runs again."""
    graph = run.graph
    if graph is None:
        return []
    newest: dict[int, CallResult] = {}
    for position in state.calls:
        child = run.steps[position]
        if child.status not in OPEN:
            result = call_result(graph.nodes[position], child)
            newest[result.n] = result
    return list(newest.values())


def call_result(node: Node, state: StepState) -> CallResult:
    """How a durable call ended, as its caller is told."""
    number = node.step.id.partition("~")[0].rsplit(".", 1)[-1]
    return CallResult(
        n=int(number),
        step=node.step.id,
        status=state.status,
        key=call_key(node.step, state.input),
        output=state.output,
        error=state.error.message if state.error else "",
        failure=state.error.failure if state.error else "",
    )


def _input(run: Run, node: Node) -> Raw:
    """A step's input; a step that failed because it has none is dead-lettered without."""
    if run.graph is None:
        return NULL
    try:
        return step_input(run.graph, node, run.steps, run.input)
    except PathMissing:
        return NULL
