"""How runs and their steps come to begin where there are limits: they ask a gate, and wait until it grants.

A workflow's ``limits`` let runs begin, a step's ``limits`` its tickets; ``max_steps`` bounds what one run has under
way, which needs no gate. Whatever leaves a step behind (an answer, a delay, the end of the run) gives back what its
ticket was given, because that follows from comparing the run before with the run after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from dagnats.core.budgets import shared_budgets
from dagnats.core.commands import AskGate, ChargeGate, LeaveGate, StartSuccessor
from dagnats.core.draft import Draft
from dagnats.core.entities import Demand, Spent, spent_of
from dagnats.core.graph import Graph, Node
from dagnats.core.inputs import step_input
from dagnats.core.keys import found_at, key_of
from dagnats.core.limiting import RUN_TICKET, gate_of
from dagnats.core.model import Limit, Priority
from dagnats.core.run import Run
from dagnats.core.scope import failed
from dagnats.core.state import (
    CONTINUED,
    HELD,
    NOBODY,
    PENDING,
    QUEUED,
    RUNNING,
    StepError,
    StepState,
    step_of_ticket,
    ticket_text,
)
from dagnats.core.templates import PathMissing, path_of, select

_MS = 1_000


# -- what is asked for -----------------------------------------------------------------------------


def demands_of(limits: Sequence[Limit], given: Raw) -> tuple[Demand, ...]:
    """What an input asks of limits.

    Raises:
        PathMissing: a key, or a cost, is not in it; the message says what is.
    """
    return tuple(
        Demand(
            kind=limit.kind, limit=limit.limit, path=limit.key, period_ms=limit.period_ms, burst=limit.burst,
            key=key_of(limit.key, given) if limit.key else "",
            cost=_cost(limit.cost_from, given) if limit.cost_from else limit.cost, mode=limit.mode,
        )
        for limit in limits
    )  # fmt: skip


def _run_demands(run: Run, gate: str) -> tuple[Demand, ...]:
    """What a run asks of its gate. Where its parent shares that, what it uses is counted through its parent."""
    assert run.graph is not None  # noqa: S101  (only a run with a graph asks)
    demands = demands_of(run.graph.workflow.limits, run.input)
    if gate not in run.accounts:
        return demands
    return tuple(replace(demand, cost=0) if demand.is_budget else demand for demand in demands)


def _cost(path: str, given: Raw) -> int:
    decoded = msgspec.json.decode(found_at("units", path, given))
    if isinstance(decoded, bool) or not isinstance(decoded, int) or decoded < 0:
        raise PathMissing(f'units "{path}" are {decoded!r}; they must be a whole number from 0 on')
    return decoded


def asked_of(run: Run, command: AskGate) -> tuple[tuple[Demand, ...], int]:
    """What a ticket asks of its gate, and its rank: the lowest goes first.

    Raises:
        PathMissing: never for a ticket that was held, because that was looked at then.
    """
    assert run.graph is not None  # noqa: S101  (only a run with a graph asks)
    sooner = run.priority * _MS
    if command.position == NOBODY:
        return _run_demands(run, command.gate), run.started_ms - sooner
    node = run.graph.nodes[command.position]
    given = step_input(run.graph, node, run.steps, run.input)
    return demands_of(node.step.limits, given), run.steps[node.position].since_ms - sooner


def priority_of(priority: Priority | None, given: Raw) -> int:
    """By how many seconds a run goes before others."""
    if priority is None:
        return 0
    try:
        value = select(given, path_of(priority.key.removeprefix("input.")))
    except PathMissing:
        return priority.default_offset
    decoded: Any = msgspec.json.decode(value)
    text = decoded if isinstance(decoded, str) else bytes(value).decode()
    return priority.rules.get(text, priority.default_offset)


# -- runs ------------------------------------------------------------------------------------------


def run_ticket(run: Run) -> str:
    """The ticket of a run as a whole: a new one each time that it is opened again."""
    return f"{RUN_TICKET}{run.opened}"


def asks(run: Run, graph: Graph) -> AskGate:
    """A run asks to begin."""
    return AskGate(run.id, run_ticket(run), gate_of(graph.workflow), NOBODY)


def spent_by(run: Run) -> Spent:
    """What a run has used, as its gate counts it."""
    return run.spent.usd_nano, run.spent.tokens


def charge(run: Run) -> ChargeGate | None:
    """What a run has used is told to its gate; None for one that shares no budget there, or through its parent."""
    if run.graph is None or not run.asked or run.status != RUNNING or not shared_budgets(run):
        return None
    ask = asks(run, run.graph)
    paid_above = ask.gate in run.accounts
    return None if paid_above else ChargeGate(ask.run, ask.ticket, ask.gate, spent_by(run))


def let_in(run: Run, left: Sequence[int]) -> Run:
    """A run that its gate lets in, with what is left of each budget that it shares."""
    ceilings = (
        rest + spent_of(limit.kind, spent_by(run))
        for limit, rest in zip(shared_budgets(run), left, strict=False)
    )
    return replace(run, ceilings=tuple(ceilings))


def accounts(run: Run) -> tuple[str, ...]:
    """The gates that count what a child of this run uses."""
    own = charge(run)
    return (*run.accounts, own.gate) if own else run.accounts


def claims(run: Run, ticket: str) -> bool:
    """Whether a run waits for, or needs, what a gate has for this ticket."""
    if run.graph is None or run.status not in (PENDING, RUNNING):
        return False
    if ticket.startswith(RUN_TICKET):
        return run.asked and ticket == run_ticket(run)
    position = run.graph.index.get(step_of_ticket(ticket))
    if position is None or position >= len(run.steps):
        return False
    node, state = run.graph.nodes[position], run.steps[position]
    return bool(node.gate) and state.under_way and ticket == _ticket(node, state)


def _ticket(node: Node, state: StepState) -> str:
    return ticket_text(node.step.id, state)


def left(before: Run, after: Run, draft: Draft) -> Iterator[LeaveGate]:
    """The tickets that were let through, or had asked, and are over."""
    if before.asked and after.closed and before.graph is not None:
        heir = StartSuccessor(after.id).successor if after.status == CONTINUED else ""
        ask = asks(before, before.graph)
        yield LeaveGate(ask.run, ask.ticket, ask.gate, heir=heir, spent=spent_by(after))
    for position in draft.changed if draft.graph.gated else ():
        node = draft.graph.nodes[position]
        if not node.gate or position >= len(before.steps):
            continue
        was, now = before.steps[position], after.steps[position]
        if not was.under_way:
            continue
        ticket = _ticket(node, was)
        if not after.closed and now.under_way and ticket == _ticket(node, now):
            continue
        pause_ms = draft.pause[1] if draft.pause[0] == ticket else 0
        yield LeaveGate(after.id, ticket, node.gate, pause_ms)


# -- steps -----------------------------------------------------------------------------------------


def hold(draft: Draft, node: Node, before: StepState) -> None:
    """A step's ticket is about to come into force: not before there is room for it."""
    state = draft[node.position]
    if state.status != QUEUED:
        return
    if before.status == QUEUED and _ticket(node, before) == _ticket(node, state):
        return
    over = draft.run.over is not None and draft.run.saga is None
    # A call has the room of its caller, but is not made when there is nothing left to use.
    if over or (draft.graph.workflow.max_steps and not state.caller):
        draft.changed[node.position] = replace(state, status=HELD, since_ms=0)
        draft.lined.append(node.position)
    elif node.gate:
        _ask(draft, node)


def in_line(draft: Draft) -> bool:
    """Whether steps may wait for room in their own run."""
    return bool(draft.graph.workflow.max_steps or draft.run.line or draft.lined)


def _room(draft: Draft) -> int:
    """How many more steps may be under way: none when the budget is exceeded."""
    if draft.run.over is not None and draft.run.saga is None:
        return 0
    most = draft.graph.workflow.max_steps
    return most - draft.active if most else len(draft.graph.nodes)


def fill(draft: Draft) -> None:
    """Steps that wait for room in their own run go on, the first first."""
    room = _room(draft)
    line = (*draft.run.line, *draft.lined)
    if room < 1 and not draft.lined:
        return
    taken = 0
    for position in line:
        if room < 1:
            break
        taken += 1
        if not draft[position].in_line:
            continue
        node = draft.graph.nodes[position]
        if node.gate:
            _ask(draft, node)
        else:
            granted(draft, node)
        room -= draft[position].under_way
    draft.lined = []
    draft.run = replace(draft.run, line=line[taken:])


def _ask(draft: Draft, node: Node) -> None:
    """The ticket waits at the gate of its task; one that cannot say for which key fails."""
    scope = draft.scope(node)
    try:
        demands_of(node.step.limits, scope.input())
    except PathMissing as missing:
        draft.put(node.position, failed(scope, StepError(f"limits: {missing}", "invalid_input")))
        return
    draft.changed[node.position] = replace(scope.state, status=HELD, since_ms=draft.at_ms)


def granted(draft: Draft, node: Node) -> None:
    """A ticket is let through: it comes into force. If there is nothing left to use, it asks again later."""
    state = draft[node.position]
    if draft.run.over is not None and draft.run.saga is None:
        draft.changed[node.position] = replace(state, since_ms=0)
        draft.lined.append(node.position)
        return
    draft.changed[node.position] = replace(state, status=QUEUED, since_ms=draft.at_ms)


def held(graph: Graph, states: Iterable[StepState]) -> Iterator[StepState]:
    """The states of a run that begins in the middle of another: what is under way there must ask here."""
    for node, state in zip(graph.nodes, states, strict=True):
        yield replace(state, status=HELD) if node.gate and state.status == QUEUED else state
