"""What a fact means for the step it names. Only the ticket in force may change a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from dagnats.core import admission, calls, settle, signals, spending
from dagnats.core.attempts import after_error, again_at_no_cost
from dagnats.core.draft import Draft
from dagnats.core.events import (
    ANSWERS,
    Answer,
    ApprovalDecided,
    BudgetRaised,
    BudgetSpent,
    CancelRequested,
    ChildClosed,
    ChildReported,
    ChildStarted,
    ControlDecided,
    EventReceived,
    Fact,
    GateGranted,
    GateRefused,
    RunContinued,
    SignalReceived,
    StepCalled,
    StepContinued,
    StepFailed,
    StepParked,
    StepPlanned,
    StepSucceeded,
    UsageReported,
)
from dagnats.core.graph import Graph, Node
from dagnats.core.kinds import KINDS, approval, control, planner, sub_workflow, wait_for_event
from dagnats.core.limiting import RUN_TICKET
from dagnats.core.model import CancelOn, PlannerConfig
from dagnats.core.plans import read_plan
from dagnats.core.retry import clamped_retry_after_ms
from dagnats.core.state import (
    BUDGET_EXCEEDED,
    CANCELLED,
    CONTINUED,
    HELD,
    PENDING,
    QUEUED,
    WAITING,
    StepError,
    step_of_ticket,
    ticket_text,
)
from dagnats.limits import CHAIN_MAX, NAME_LENGTH_MAX

CANCEL_TICKET = (
    "!cancel_on/"  # with a number: the ticket of a workflow's cancel_on; no step can have it
)


def fact(draft: Draft, what: Fact) -> None:
    """What a fact means for a run that is under way; timers apart."""
    meaning = _MEANINGS.get(type(what))
    if meaning is not None:
        meaning(draft, what)


def _cancel(draft: Draft, fact: CancelRequested) -> None:
    """Somebody wants the run to end."""
    draft.end(CANCELLED, StepError(fact.reason or "cancelled", "cancelled"))


def _node(draft: Draft, ticket: str, status: str) -> Node | None:
    """The step of a ticket that is in force, while it has a status."""
    position = draft.graph.index.get(step_of_ticket(ticket))
    if position is None:
        return None
    node, state = draft.graph.nodes[position], draft[position]
    in_force = state.status == status and ticket == ticket_text(node.step.id, state)
    return node if in_force else None


def _answered(draft: Draft, fact: Answer) -> None:
    """A worker says something under a ticket."""
    node = _node(draft, fact.ticket, QUEUED)
    if node is None:
        return
    if draft.graph.workflow.sticky:
        _bind(draft, fact)
    if isinstance(fact, StepFailed) and fact.pause_key:
        draft.pause = (fact.ticket, clamped_retry_after_ms(fact.retry_after_ms))
    match fact:
        case StepSucceeded() | StepContinued():  # first, because most are
            spending.iterated(draft, node, again=isinstance(fact, StepContinued))
            _decided_by_kind(draft, node, fact)
        case StepCalled():
            calls.called(draft, node, fact)
        case StepParked():
            calls.parked(draft, node, fact)
        case RunContinued():
            _continued(draft, node, fact)
        case StepPlanned() if node.step.kind == "planner":
            _planned(draft, node, fact)
        case StepFailed() if fact.failure == BUDGET_EXCEEDED and draft.run.over:
            settle.move(draft, node, again_at_no_cost(draft.scope(node)))
        case _:
            _decided_by_kind(draft, node, fact)


def _decided_by_kind(draft: Draft, node: Node, fact: Answer) -> None:
    """Its kind says what an answer means; the calls that it has no use for any more are cancelled."""
    scope = draft.scope(node)
    settle.move(draft, node, KINDS[node.step.kind].on_fact(scope, fact))
    if scope.state.calls:
        dropped = set(scope.state.calls) - set(draft[node.position].calls)
        settle.cancel(draft, sorted(dropped))


def used(draft: Draft, fact: UsageReported | ChildReported) -> None:
    """Something was used: it counts even when the run is over. Of a handler, until another ticket is in force."""
    position = draft.graph.index.get(step_of_ticket(fact.ticket))
    if position is None or position >= len(draft.run.steps):
        return
    node, state = draft.graph.nodes[position], draft[position]
    if isinstance(fact, UsageReported):
        if fact.ticket == ticket_text(node.step.id, state):
            spending.reported(draft, node, fact)
    elif node.step.kind == "sub_workflow":
        spending.child_reported(draft, node, fact)


def _granted(draft: Draft, fact: GateGranted) -> None:
    """A gate lets a step's ticket through."""
    node = _node(draft, fact.ticket, HELD)
    if node is not None and not draft[node.position].in_line:
        admission.granted(draft, node)


def _refused(draft: Draft, fact: GateRefused) -> None:
    """A gate does not: the run does not begin, or this attempt of the step has failed."""
    if fact.ticket.startswith(RUN_TICKET):
        if draft.run.status == PENDING and fact.ticket == admission.run_ticket(draft.run):
            draft.end(CANCELLED, StepError(f"not let in: {fact.reason}", "refused"))
        return
    node = _node(draft, fact.ticket, HELD)
    if node is not None:
        error = StepError(f"not let through: {fact.reason}", "refused")
        delay = clamped_retry_after_ms(fact.retry_after_ms) if fact.retry_after_ms else None
        settle.move(draft, node, after_error(draft.scope(node), error, delay))


def _spent(draft: Draft, fact: BudgetSpent) -> None:
    """A budget that the run shares with others is used up."""
    if admission.claims(draft.run, fact.ticket):
        spending.shared_spent(draft, fact)


def _bind(draft: Draft, fact: Answer) -> None:
    """A hard sticky run stays with who completed its first step, a soft one goes with who did its last."""
    known = 0 < len(fact.worker) <= NAME_LENGTH_MAX
    if not known or isinstance(fact, StepFailed):
        return
    if draft.graph.workflow.sticky == "soft" or not draft.run.worker:
        draft.run = replace(draft.run, worker=fact.worker)


def _continued(draft: Draft, node: Node, fact: RunContinued) -> None:
    """The run goes on as another."""
    if draft.run.chain + 1 >= CHAIN_MAX:
        text = f"the run continues {CHAIN_MAX - 1} others already; start a new one"
        settle.move(draft, node, after_error(draft.scope(node), StepError(text, "non_retriable")))
        return
    draft.run = replace(draft.run, next_input=fact.input)
    draft.end(CONTINUED)


# -- plans -----------------------------------------------------------------------------------------


def _planned(draft: Draft, node: Node, fact: StepPlanned) -> None:
    steps, problem = read_plan(node.step, _plan_config(node), fact.plan, draft.run.planned)
    scope = draft.scope(node)
    if problem:
        settle.move(draft, node, planner.refused(scope, problem))
        return
    settle.move(draft, node, planner.on_plan(scope, fact.plan, steps))
    _count_planned(draft, node)


def _plan_config(node: Node) -> PlannerConfig:
    return node.step.config if isinstance(node.step.config, PlannerConfig) else PlannerConfig()


def _count_planned(draft: Draft, node: Node) -> None:
    own = draft[node.position].owned
    if own is not None:
        draft.run = replace(draft.run, planned=draft.run.planned + own.count)


# -- people, events, children ----------------------------------------------------------------------


def _decided(draft: Draft, fact: ApprovalDecided) -> None:
    """Somebody answered a question."""
    node = _node(draft, fact.ticket, WAITING)
    if node is None:
        return
    scope = draft.scope(node)
    if node.step.kind == "approval":
        settle.move(draft, node, approval.on_decision(scope, fact))
    elif node.step.kind == "planner":
        following = planner.on_decision(scope, fact)
        if following is not None:
            settle.move(draft, node, following)
            return
        plan = draft[node.position].output
        steps, problem = read_plan(node.step, _plan_config(node), plan, draft.run.planned)
        if problem:  # other planners have used the room up meanwhile
            settle.move(draft, node, planner.refused(scope, problem))
            return
        settle.move(draft, node, planner.accepted(scope, plan, steps))
        _count_planned(draft, node)


def _event(draft: Draft, fact: EventReceived) -> None:
    """Something happened outside that a step, or the run, looks out for."""
    cancel = cancel_on(draft.graph, fact.ticket)
    if cancel is not None:
        if not cancel.timeout_ms or draft.at_ms <= draft.run.started_ms + cancel.timeout_ms:
            draft.end(CANCELLED, StepError(f'cancelled by event "{fact.name}"', "cancelled"))
        return
    node = _node(draft, fact.ticket, WAITING)
    if node is not None and node.step.kind == "wait_for_event":
        settle.move(draft, node, wait_for_event.on_event(draft.scope(node), fact))


def cancel_on(graph: Graph, ticket: str) -> CancelOn | None:
    """The workflow's own look-out that a ticket stands for."""
    number = ticket.removeprefix(CANCEL_TICKET)
    watched = graph.workflow.cancel_on
    if number == ticket or not number.isdecimal() or int(number) >= len(watched):
        return None
    return watched[int(number)]


def _child(draft: Draft, fact: ChildStarted | ChildClosed) -> None:
    """A child run is under way, or has ended."""
    node = _node(draft, fact.ticket, WAITING)
    if node is not None and node.step.kind == "sub_workflow" and not draft[node.position].due_ms:
        settle.move(draft, node, sub_workflow.on_child(draft.scope(node), fact))


def _control(draft: Draft, fact: ControlDecided) -> None:
    """The control plane has answered a handler."""
    node = _node(draft, fact.ticket, WAITING)
    if node is not None and node.step.kind == "control":
        settle.move(draft, node, control.on_decision(draft.scope(node), fact))


# What is not here changes no run that is under way: how runs begin and are opened again, and what gates and
# triggers are told.
_MEANINGS: Final[dict[type, Callable[[Draft, Any], None]]] = {
    **dict.fromkeys(ANSWERS, _answered),
    UsageReported: used,
    ChildReported: used,
    CancelRequested: _cancel,
    SignalReceived: signals.received,
    ApprovalDecided: _decided,
    EventReceived: _event,
    ChildStarted: _child,
    ChildClosed: _child,
    ControlDecided: _control,
    GateGranted: _granted,
    GateRefused: _refused,
    BudgetRaised: spending.raised_under_way,
    BudgetSpent: _spent,
}
