"""The engine: ``advance`` folds one fact, ``outstanding`` says what must be in force, ``fold`` is both.

First the fact is *applied* to the step it names (only the ticket in force may), then the state is
*settled* until nothing moves. Commands follow from the state, never from the fact, so that after a
crash doing what is ``outstanding`` again is all there is to recovery.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from msgspec.structs import replace

from dagnats.core import durations, settle
from dagnats.core.commands import ArmTimer, CloseRun, Command, DeadLetter
from dagnats.core.draft import Draft
from dagnats.core.events import (
    CancelRequested,
    Event,
    Outcome,
    RunStarted,
    StepContinued,
    StepFailed,
    StepSucceeded,
    TimerFired,
)  # fmt: skip
from dagnats.core.graph import Graph
from dagnats.core.kinds import KINDS
from dagnats.core.run import Run
from dagnats.core.schemas import schema_violation
from dagnats.core.scope import Scope
from dagnats.core.state import (
    CANCELLED,
    FAILED,
    OPEN,
    PENDING,
    QUEUED,
    RUNNING,
    UNSTARTED,
    StepError,
    StepState,
    step_of_ticket,
    ticket_text,
)  # fmt: skip
from dagnats.limits import NAME_LENGTH_MAX


def new_run(run_id: str, graph: Graph | None) -> Run:
    """A run before its first fact. Without a graph (its definition is gone) it will fail, and say so."""
    return Run(id=run_id, graph=graph)


def advance(run: Run, event: Event) -> tuple[Run, list[Command]]:
    """Fold one fact into a run; return the run and the commands that have newly come into force.

    Total: never raises, whatever the fact. Pure: the run passed in is left as it was. A fact that was
    folded before, comes after the end, or answers with a ticket that is not in force changes nothing
    but the sequence.
    """
    if event.seq <= run.seq:
        return run, []
    seen = replace(run, seq=event.seq, facts=run.facts + 1)
    if run.closed:
        return seen, []
    if run.status == UNSTARTED:
        return (
            _start(seen, event.fact, event.at_ms)
            if isinstance(event.fact, RunStarted)
            else (seen, [])
        )
    if seen.graph is None:  # only a run that failed at its start has none
        return seen, []
    draft = Draft(seen, seen.graph, event.at_ms)
    match event.fact:
        case StepSucceeded() | StepFailed() | StepContinued() as outcome:
            _apply_outcome(draft, outcome)
        case TimerFired() as fired:
            # The server says it is due, whatever its clock; but nothing later was asked for.
            draft.at_ms = max(event.at_ms, min(fired.due_ms, run.armed_ms))
            return _apply_timer(draft)
        case CancelRequested() as request:
            draft.end(CANCELLED, StepError(request.reason or "cancelled", "cancelled"))
        case RunStarted():
            return seen, []
        case _:
            assert_never(event.fact)
    if not draft.changed and draft.ending is None:
        return seen, []
    return _conclude(draft, run)


def fold(run: Run, events: Iterable[Event]) -> Run:
    """The run after all the events; the commands on the way are dropped."""
    for event in events:
        run, _ = advance(run, event)
    return run


def outstanding(run: Run) -> list[Command]:
    """Everything that must be in force given the state; doing it again is harmless."""
    if run.closed:
        return _closing(run)
    commands: list[Command] = []
    if run.graph is None or run.status == UNSTARTED:
        return commands
    for node in run.graph.nodes:
        state = run.steps[node.position]
        if state.status != PENDING and state.status in OPEN:
            commands.extend(KINDS[node.step.kind].in_force(_scope(run, run.graph, node.position)))
    if run.armed_ms:
        commands.append(ArmTimer(run.id, run.armed_ms))
    return commands


def in_force(run: Run, ticket: str) -> bool:
    """Whether an answer with this ticket would change the run."""
    if run.graph is None or run.status != RUNNING:
        return False
    position = run.graph.index.get(step_of_ticket(ticket))
    if position is None:
        return False
    state = run.steps[position]
    return state.status == QUEUED and ticket == ticket_text(
        run.graph.nodes[position].step.id, state
    )


# -- applying --------------------------------------------------------------------------------------


def _start(run: Run, fact: RunStarted, at_ms: int) -> tuple[Run, list[Command]]:
    graph = run.graph
    limit = graph.workflow.timeout_ms if graph else 0
    started = replace(
        run, status=RUNNING, workflow=fact.workflow, definition=fact.definition, input=fact.input,
        metadata=fact.metadata, tags=fact.tags, started_ms=at_ms, deadline_ms=at_ms + limit if limit else 0,
    )  # fmt: skip
    if graph is None:
        message = (
            f'definition {fact.definition} of workflow "{fact.workflow}" is not in the registry'
        )
        gone = replace(
            started, status=FAILED, closed_ms=at_ms, error=StepError(message, "definition_missing")
        )
        return gone, _closing(gone)
    started = replace(started, steps=graph.fresh, open=graph.counted)
    draft = Draft(started, graph, at_ms)
    violation = schema_violation(graph.workflow.input_schema, started.input)
    if violation:
        draft.end(FAILED, StepError(f"input of the run: {violation}", "invalid_input"))
    else:
        settle.begin(draft)
    return _conclude(draft, started)


def _apply_outcome(draft: Draft, fact: Outcome) -> None:
    position = draft.graph.index.get(step_of_ticket(fact.ticket))
    if position is None:
        return
    node, state = draft.graph.nodes[position], draft.state(position)
    if state.status == QUEUED and fact.ticket == ticket_text(node.step.id, state):
        draft.put(position, KINDS[node.step.kind].on_fact(draft.scope(node), fact))
        if draft.graph.workflow.sticky:
            _bind(draft, fact)


def _bind(draft: Draft, fact: Outcome) -> None:
    """A hard sticky run stays with who completed its first step, a soft one goes with who did its last."""
    known = 0 < len(fact.worker) <= NAME_LENGTH_MAX
    if not known or isinstance(fact, StepFailed):
        return
    if draft.graph.workflow.sticky == "soft" or not draft.run.worker:
        draft.run = replace(draft.run, worker=fact.worker)


def _apply_timer(draft: Draft) -> tuple[Run, list[Command]]:
    """The one timer fired: do everything that is due, then arm for what comes next."""
    run = draft.run
    before, draft.run = run, replace(run, armed_ms=0)
    if run.deadline_ms and draft.at_ms >= run.deadline_ms:
        limit = durations.text_of_ms(draft.graph.workflow.timeout_ms)
        draft.end(FAILED, StepError(f"timeout: the run took longer than {limit}", "timeout"))
        return _conclude(draft, before)
    for node in draft.graph.nodes:
        state = run.steps[node.position]
        if state.status in OPEN and 0 < state.deadline_ms <= draft.at_ms:
            draft.put(node.position, KINDS[node.step.kind].on_due(draft.scope(node)))
    return _conclude(draft, before, rearm=True)


# -- concluding ------------------------------------------------------------------------------------


def _conclude(draft: Draft, before: Run, *, rearm: bool = False) -> tuple[Run, list[Command]]:
    settle.settle(draft)
    if draft.ending is not None:
        closed = settle.close(draft, draft.ending)
        return closed, _closing(closed)
    after = draft.result()
    due = _next_due(after, draft, everywhere=rearm)
    arm = due != 0 and (after.armed_ms == 0 or due < after.armed_ms)
    if arm:
        after = replace(after, armed_ms=due)
    commands = _newly_in_force(before, after, draft)
    if arm:
        commands.append(ArmTimer(after.id, due))
    return after, commands


def _next_due(run: Run, draft: Draft, *, everywhere: bool) -> int:
    """The earliest deadline among what moved, or of the whole run."""
    states: Iterable[StepState] = run.steps if everywhere else draft.changed.values()
    dues = [state.deadline_ms for state in states if state.deadline_ms]
    if run.deadline_ms:
        dues.append(run.deadline_ms)
    return min(dues, default=0)


def _newly_in_force(before: Run, after: Run, draft: Draft) -> list[Command]:
    commands: list[Command] = []
    for position in sorted(draft.changed):
        state = after.steps[position]
        if state.status == PENDING or state.status not in OPEN:
            continue
        kind = KINDS[draft.graph.nodes[position].step.kind]
        known: set[str] = set()
        if len(before.steps) and before.steps[position].status != PENDING:
            known = {command.id for command in kind.in_force(_scope(before, draft.graph, position))}
        commands.extend(
            c for c in kind.in_force(_scope(after, draft.graph, position)) if c.id not in known
        )
    return commands


def _closing(run: Run) -> list[Command]:
    """What a closed run still owes the world; the mark comes last, so that it implies the rest."""
    commands: list[Command] = []
    if run.failed_at >= 0 and run.graph is not None:
        state = run.steps[run.failed_at]
        ticket = ticket_text(run.graph.nodes[run.failed_at].step.id, state)
        commands.append(DeadLetter(run.id, ticket, run.failed_at))
    commands.append(CloseRun(run.id, run.abandoned))
    return commands


def _scope(run: Run, graph: Graph, position: int) -> Scope:
    return Scope(run.id, graph.nodes[position], run.steps[position], None, 0)
