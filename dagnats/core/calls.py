"""Durable calls: steps that a running handler asks for, remembered by their order within its iteration.

A handler that runs again (after a crash, a time-out, being parked) asks again, and is given what was recorded.
A call that failed under an earlier attempt is made anew, and so is one whose place is taken by another call:
then the handler took another way than before.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from dagnats.core import settle
from dagnats.core.attempts import after_error, resumed
from dagnats.core.definition import read_step, write_step
from dagnats.core.draft import Draft
from dagnats.core.events import StepCalled, StepParked
from dagnats.core.graph import Graph, Node
from dagnats.core.kinds import CALL_NAMES
from dagnats.core.model import Step, Workflow
from dagnats.core.reader import Reader
from dagnats.core.scope import Growth, failed, waiting
from dagnats.core.state import CANCELLED, FAILED, OPEN, StepError, StepState
from dagnats.core.validate import problems_of
from dagnats.limits import CALLS_PER_ITERATION_MAX, GROWN_PER_RUN_MAX

_object = msgspec.json.Decoder(dict[str, Any])
_NOT_CALLED = ("respond",)


def called(draft: Draft, node: Node, fact: StepCalled) -> None:
    """A handler asks for a call."""
    state = draft[node.position]
    step, problem = _read(fact)
    known = recorded(draft.graph, state, fact.n)
    if known is not None and _same(draft, known, step, fact.input):
        before = draft[known]
        anew = before.status == CANCELLED or (
            before.status == FAILED and before.caller < state.attempt
        )
        if not anew:
            draft.changed[known] = replace(before, called_by=fact.worker)
            if before.status not in OPEN:
                draft.told.append(known)
            return
    refusal = _over_bounds(draft, state, fact.n)
    if refusal:
        error = StepError(refusal, "non_retriable")
        settle.move(draft, node, failed(draft.scope(node), error))
        return
    _make(draft, node, step, fact, problem)


def _read(fact: StepCalled) -> tuple[Step, str]:
    """The step that is asked for, and what is wrong with it."""
    reader = Reader()
    try:
        written = _object.decode(fact.step)
    except (msgspec.DecodeError, RecursionError) as error:
        return Step(id="call"), f"the call cannot be read: {error}"
    step = read_step(reader, 0, {**written, "id": "call"}, legacy=True, types=CALL_NAMES)
    step = replace(step, depends_on=(), on_failure="", compensate="", skip_if=None, when=None)
    alone = replace(step, input={"$input": ""})  # a map's array, say, comes with the call
    problems = reader.problems or problems_of(Workflow(name="call", steps=(alone,)))
    if step.kind in _NOT_CALLED:
        return step, f'a "{step.kind}" cannot be called; make it a step of the workflow'
    return replace(step, input=None), "; ".join(map(str, problems))


def call_key(step: Step, input: Raw) -> str:
    """What tells one call from another: what runs, and with what."""
    data = write_step(replace(step, id="call", input=None, depends_on=()))
    body = msgspec.json.encode(data, order="deterministic") + bytes(input)
    return hashlib.sha256(body).hexdigest()[:16]


def _name(owner: Step, state: StepState, n: int) -> str:
    return f"{owner.id}#{state.iteration}.{n}"


def recorded(graph: Graph, state: StepState, n: int) -> int | None:
    """The position of the newest call with this number in the current iteration."""
    wanted = f".{n}"
    for position in reversed(state.calls):
        if graph.nodes[position].step.id.partition("~")[0].endswith(wanted):
            return position
    return None


def _same(draft: Draft, position: int, step: Step, input: Raw) -> bool:
    before = draft.graph.nodes[position].step
    return replace(before, id=step.id) == step and bytes(draft[position].input) == bytes(input)


def _over_bounds(draft: Draft, state: StepState, n: int) -> str:
    if not 0 <= n < CALLS_PER_ITERATION_MAX or len(state.calls) >= CALLS_PER_ITERATION_MAX:
        return (
            f"a handler may make {CALLS_PER_ITERATION_MAX} durable calls in an iteration; use a map"
        )
    if len(draft.graph.nodes) - len(draft.graph.workflow.steps) >= GROWN_PER_RUN_MAX:
        return f"a run may grow by {GROWN_PER_RUN_MAX} steps; continue as new before that"
    return ""


def _make(draft: Draft, node: Node, step: Step, fact: StepCalled, problem: str) -> None:
    state = draft[node.position]
    name = _name(node.step, state, fact.n)
    taken = sum(draft.graph.nodes[p].step.id.partition("~")[0] == name for p in state.calls)
    step = replace(step, id=f"{name}~{taken + 1}" if taken else name)
    position = len(draft.graph.nodes)
    following = replace(state, calls=(*state.calls, position))
    settle.move(draft, node, Growth(following, steps=(step,), inputs=(fact.input,)))
    draft.changed[position] = replace(draft[position], caller=state.attempt, called_by=fact.worker)
    if problem:
        error = StepError(f"the call cannot be made: {problem}", "invalid_call")
        draft.put(position, replace(draft[position], status=FAILED, error=error))
    else:
        settle.enter(draft, draft.graph.nodes[position])


def parked(draft: Draft, node: Node, fact: StepParked) -> None:
    """A handler gave its slot up until a call is settled."""
    state, scope = draft[node.position], draft.scope(node)
    position = recorded(draft.graph, state, fact.n)
    if position is None:
        error = StepError(f"the handler parked on call {fact.n}, which it never made", "retriable")
        settle.move(draft, node, after_error(scope, error))
    elif draft[position].status not in OPEN:
        settle.move(draft, node, resumed(scope))
    else:
        settle.move(draft, node, waiting(scope, parked=position))
