"""Why a run is where it is: for each step that is open, what it waits for, from state alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct

from dagnats.core import durations
from dagnats.core.admission import asks, run_ticket
from dagnats.core.gates.accounts import used_up
from dagnats.core.gates.gate import Gate
from dagnats.core.gates.meters import Meter, meter_of
from dagnats.core.gates.view import place_of
from dagnats.core.graph import NOWHERE, Graph, Node
from dagnats.core.limiting import gate_name
from dagnats.core.model import SHARED_BUDGETS
from dagnats.core.run import Run
from dagnats.core.state import (
    BUDGET_EXCEEDED,
    HELD,
    NOBODY,
    OPEN,
    PENDING,
    QUEUED,
    SATISFIED,
    StepState,
    ticket_text,
)
from dagnats.core.views import AtWork, text_of_time, waits_for

_NAMED_MAX = 3


class Reason(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why one step (empty: the run itself) is not done yet. ``cause`` is a word for programs, ``text`` for people."""

    step: str
    cause: str
    text: str
    since: str = ""
    gate: str = ""
    position: int = 0
    next_at: str = ""


class Around(Struct, frozen=True, kw_only=True):
    """What is known around a run: gates by id, who is at which ticket, which (task, group) somebody runs.

    ``taken_ms`` is when somebody last took a ticket of those that nobody runs (0: nobody ever did).
    """

    gates: Mapping[str, Gate] = {}
    at_work: Mapping[str, AtWork] = {}
    served: Collection[tuple[str, str]] = ()
    taken_ms: Mapping[tuple[str, str], int] = {}
    now_ms: int = 0


def gates_asked(run: Run) -> set[str]:
    """The gates that a run waits for."""
    if run.graph is None or run.closed:
        return set()
    found = {asks(run, run.graph).gate} if run.status == PENDING else set[str]()
    for node, state in zip(run.graph.nodes, run.steps, strict=False):
        if state.status == HELD and node.gate:
            found.add(node.gate)
    return found


def explain(run: Run, around: Around) -> list[Reason]:
    """A reason for each open step; of the items of a map, for those that are under way.

    Of a run that its budget has ended, what would let it go on.
    """
    if run.status == BUDGET_EXCEEDED and run.error is not None:
        since = text_of_time(run.closed_ms)
        return [Reason(step="", cause="budget", text=run.error.message, since=since)]
    if run.graph is None or run.closed:
        return []
    if run.status == PENDING:
        gate = asks(run, run.graph).gate
        return [_at_gate("", gate, run.id, run_ticket(run), run.started_ms, around)]
    return [
        reason
        for node, state in zip(run.graph.nodes, run.steps, strict=True)
        if state.status in OPEN
        for reason in _reasons(run, run.graph, node, state, around)
    ]


def _reasons(
    run: Run, graph: Graph, node: Node, state: StepState, around: Around
) -> Iterator[Reason]:
    step = node.step.id
    if state.status == PENDING:
        yield from _pending(run, graph, node)
    elif state.in_line and run.over is not None:
        until = text_of_time(run.over.until_ms)
        text = f"the budget is used up; what is under way may end until {until}"
        yield Reason(step=step, cause="budget", text=text, next_at=until)
    elif state.in_line:
        place = run.line.index(node.position) + 1
        most = graph.workflow.max_steps
        text = f"waits for room in the run: {run.active} of {most} steps are under way, position {place}"
        yield Reason(step=step, cause="max_steps", text=text, position=place)
    elif state.status == HELD:
        ticket = ticket_text(step, state)
        yield _at_gate(step, node.gate, run.id, ticket, state.since_ms, around)
    elif state.status == QUEUED:
        yield _queued(node, state, around)
    else:
        yield _waiting(graph, node, state)


def _pending(run: Run, graph: Graph, node: Node) -> Iterator[Reason]:
    if node.aux or node.owner != NOWHERE:
        return  # it is needed only if another fails, or its map lets so many begin at a time
    missing = [
        graph.nodes[parent].step.id
        for parent in node.parents
        if run.steps[parent].status not in SATISFIED
    ]
    text = f"waits for {'step' if len(missing) == 1 else 'steps'} {_names(missing)}"
    yield Reason(step=node.step.id, cause="dependency", text=text)


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(names[:_NAMED_MAX]) + more


def _queued(node: Node, state: StepState, around: Around) -> Reason:
    step, since = node.step, text_of_time(state.since_ms)
    there = around.at_work.get(ticket_text(step.id, state))
    if there is not None:
        text = f"runs on worker {there.worker}"
        return Reason(step=step.id, cause="running", text=text, since=since)
    group = f" in group {step.group}" if step.group else ""
    if (step.task, step.group) not in around.served:
        last = around.taken_ms.get((step.task, step.group), 0)
        seen = f"none seen since {text_of_time(last)}" if last else "none was ever seen"
        text = f"waits for a worker of task {step.task}{group}: none is running, {seen}"
        return Reason(step=step.id, cause="no_worker", text=text, since=since)
    text = f"waits for a free slot of a worker of task {step.task}{group}"
    return Reason(step=step.id, cause="worker_busy", text=text, since=since)


def _waiting(graph: Graph, node: Node, state: StepState) -> Reason:
    step = node.step
    due, since = text_of_time(state.due_ms), text_of_time(state.began_ms)
    text = waits_for(graph, step, state)
    if state.owned is not None:
        left = state.owned.count - state.owned.done - state.owned.lost
        text = f"waits for {left} of its {state.owned.count} {'items' if step.kind == 'map' else 'steps'}"
        return Reason(step=step.id, cause="owned", text=text, since=since)
    if state.error is not None and due:
        text = f"waits until {due} for its next attempt; the last failed: {state.error.message}"
        return Reason(step=step.id, cause="retry", text=text, since=since, next_at=due)
    if state.parked != NOBODY:
        return Reason(step=step.id, cause="call", text=f"waits for {text}", since=since)
    causes = {
        "approval": "approval", "planner": "approval", "wait_for_signal": "signal", "wait_for_event": "event",
        "sub_workflow": "child", "sleep": "timer",
    }  # fmt: skip
    cause = causes.get(step.kind, "timer")
    if cause == "child":
        text = "waits for its child run"
    elif cause == "timer":
        text = f"waits until {due}"
    else:
        text = f"waits for {text}" + (f", at most until {due}" if due else "")
    return Reason(step=step.id, cause=cause, text=text, since=since, next_at=due)


# -- at gates --------------------------------------------------------------------------------------


def _at_gate(
    step: str, gate_id: str, run: str, ticket: str, since_ms: int, around: Around
) -> Reason:
    kind, name = gate_name(gate_id)
    gate = around.gates.get(gate_id)
    asked = gate.lines.waiting.get((run, ticket)) if gate else None
    since = text_of_time(since_ms)
    if gate is None or asked is None:
        text = f"asks the gate of {kind} {name}, which has not answered yet"
        return Reason(step=step, cause="gate", text=text, since=since, gate=gate_id)
    meter = _missing(gate, asked.line)
    position = place_of(gate, run, ticket)
    free = gate.waking.get(meter, 0) if meter else 0
    next_at = text_of_time(free)
    words = _words(gate, meter) if meter else "nothing"
    about = f", next free about {next_at}" if next_at else ""
    text = f"waits for the gate of {kind} {name}: {words}; position {position}{about}"
    return Reason(
        step=step, cause="gate", text=text, since=since, gate=gate_id, position=position, next_at=next_at
    )  # fmt: skip


def _missing(gate: Gate, line: tuple[Meter, ...]) -> Meter | None:
    """What the line of a ticket waits for."""
    return next((meter for meter in line if line in gate.lines.stuck.get(meter, ())), None)


def _words(gate: Gate, meter: Meter) -> str:
    rule = gate.meters.rules[meter[:2]]
    of = f" for {meter[1]} {meter[2]}" if meter[1] else ""
    until = gate.meters.paused.get(meter, 0)
    if until > gate.at_ms:
        return f"paused{of} until {text_of_time(until)}"
    if meter[0] in SHARED_BUDGETS:
        return used_up(gate.meters, meter, gate.at_ms)
    if meter[0] == "rate":
        return f"rate {rule.limit} in {durations.text_of_ms(rule.period_ms)}{of} is used up"
    holders = [
        held
        for held in gate.holders.values()
        if any(meter_of(demand) == meter for demand in held.demands)
    ]
    held_by = _names([f"{held.run} since {text_of_time(held.since_ms)}" for held in holders])
    return f"limit {rule.limit}{of}, held by {held_by or 'nobody'}"
