"""The engine: ``advance`` folds one fact, ``outstanding`` says what must be in force, ``fold`` is both.

First the fact is *applied* to the step it names (only the ticket in force may), then the state is
*settled* until nothing moves. Commands follow from the state, never from the fact, so that after a
crash doing what is ``outstanding`` again is all there is to recovery.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from msgspec.structs import replace

from dagnats.core import admission, apply, fork, reopen, settle, spending, timing
from dagnats.core.checkpoints import superseded
from dagnats.core.commands import (
    Abandon,
    ArmTimer,
    AwaitEvent,
    CloseRun,
    Command,
    DeadLetter,
    DropCheckpoint,
    ForgetEvent,
    LeaveGate,
    OpenRun,
    StartSuccessor,
    TellCaller,
    TellParent,
)
from dagnats.core.draft import Draft
from dagnats.core.events import (
    BudgetRaised,
    ChildReported,
    Event,
    Fact,
    GateChecked,
    GateGranted,
    RetryRequested,
    RunStarted,
    TimerFired,
    UsageReported,
)
from dagnats.core.graph import Graph
from dagnats.core.inputs import lookup_in
from dagnats.core.kinds import KINDS, wait_for_event
from dagnats.core.matching import wanted
from dagnats.core.model import NOTHING_USED
from dagnats.core.run import Run
from dagnats.core.schemas import schema_violation
from dagnats.core.scope import Scope
from dagnats.core.state import (
    CONTINUED,
    FAILED,
    PENDING,
    QUEUED,
    RUNNING,
    UNSTARTED,
    WAITING,
    StepError,
    step_of_ticket,
    ticket_text,
)
from dagnats.core.templates import PathMissing

# Kinds that leave something to be done when their step, or the run, is over.
LASTING = frozenset({"respond", "sub_workflow", "wait_for_event"})


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
    fact = event.fact
    if run.status == UNSTARTED:
        return _start(seen, fact, event.at_ms) if isinstance(fact, RunStarted) else (seen, [])
    if isinstance(fact, GateGranted | GateChecked):
        told = _at_gate(seen, fact, event.at_ms)
        if told is not None:
            return told
    if seen.graph is None:  # only a run that failed at its start has none
        return seen, []
    if run.closed:
        return _reopen(seen, seen.graph, fact, event.at_ms)
    draft = Draft(seen, seen.graph, event.at_ms)
    if isinstance(fact, TimerFired):
        # The server says it is due, whatever its clock; but nothing later was asked for.
        draft.at_ms = max(event.at_ms, min(fact.due_ms, run.armed_ms))
        before, draft.run = draft.run, replace(draft.run, armed_ms=0)
        timing.fired(draft)
        return _conclude(draft, before, rearm=True)
    apply.fact(draft, fact)
    if not draft.changed and not draft.told and draft.ending is None and draft.run is seen:
        return seen, []
    return _conclude(draft, run)


def fold(run: Run, events: Iterable[Event]) -> Run:
    """The run after all the events; the commands on the way are dropped."""
    for event in events:
        run, _ = advance(run, event)
    return run


def outstanding(run: Run) -> list[Command]:
    """Everything that must be in force given the state; doing it again is harmless."""
    commands: list[Command] = []
    if run.graph is None or run.status == UNSTARTED:
        return _closing(run) if run.closed else commands
    if run.opened:
        commands.append(OpenRun(run.id, run.opened))
    if run.closed:
        return [*commands, *_closing(run)]
    if run.detached:
        commands.append(TellParent(run.id, started=True))
    if run.spent != NOTHING_USED:
        commands.extend(spending.tells(run))
    if run.status == PENDING:
        return [*commands, *_watches(run, run.graph), admission.asks(run, run.graph)]
    for node in run.graph.nodes:
        if run.steps[node.position].status != PENDING:
            commands.extend(KINDS[node.step.kind].in_force(_scope(run, run.graph, node.position)))
    commands.extend(_watches(run, run.graph))
    if run.armed_ms:
        commands.append(ArmTimer(run.id, run.armed_ms))
    return commands


def _watches(run: Run, graph: Graph) -> list[Command]:
    """The external events that would cancel the run.

    A run whose input does not say what they must match has failed at its start (``_start``).
    """
    commands: list[Command] = []
    lookup = lookup_in(graph, run.steps, run.input)
    for number, watch in enumerate(graph.workflow.cancel_on):
        left = watch.match.left if watch.match else ""
        ticket = f"{apply.CANCEL_TICKET}{number}"
        value = wanted(watch.match, lookup)
        commands.append(AwaitEvent(run.id, ticket, watch.event, left, value, run.started_ms))
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
        parent=fact.parent, parent_ticket=fact.parent_ticket, detached=fact.detached,
        root=fact.root or run.id, depth=fact.depth, previous=fact.previous, chain=fact.chain,
        priority=fact.priority or admission.priority_of(graph.workflow.priority if graph else None, fact.input),
    )  # fmt: skip
    if graph is None:
        text = f'definition {fact.definition} of workflow "{fact.workflow}" is not in the registry'
        return _stillborn(started, at_ms, StepError(text, "definition_missing"))
    if fact.fork:
        return _branch(started, graph, fact, at_ms)
    started = replace(started, steps=graph.fresh, open=graph.counted)
    started = spending.begun(started, graph, fact)
    draft = Draft(started, graph, at_ms)
    problem = _input_problem(started, graph)
    if problem:
        draft.end(FAILED, StepError(f"input of the run: {problem}", "invalid_input"))
        return _conclude(draft, started)
    if graph.workflow.limits:
        return _ask(started)
    draft.run = spending.clock_started(started, at_ms)
    settle.begin(draft)
    after, commands = _conclude(draft, started)
    if after.closed:
        return after, commands
    also: list[Command] = [TellParent(run.id, started=True)] if fact.detached else []
    return after, [*also, *_watches(after, graph), *commands]


def _input_problem(run: Run, graph: Graph) -> str:
    """Why the run cannot begin with its input; empty when it can."""
    violation = schema_violation(graph.workflow.input_schema, run.input)
    if violation:
        return violation
    try:
        admission.demands_of(graph.workflow.limits, run.input)
    except PathMissing as missing:
        return f"limits: {missing}"
    lookup = lookup_in(graph, run.steps, run.input)
    for watch in graph.workflow.cancel_on:
        try:
            wanted(watch.match, lookup)
        except PathMissing as missing:
            return f'cancel_on "{watch.event}": {missing}'
    return ""


def _stillborn(run: Run, at_ms: int, error: StepError) -> tuple[Run, list[Command]]:
    gone = replace(run, status=FAILED, closed_ms=at_ms, error=error)
    return gone, _closing(gone)


def _branch(run: Run, graph: Graph, fact: RunStarted, at_ms: int) -> tuple[Run, list[Command]]:
    """The run begins in the middle of another's history."""
    begun = fork.begun(run, graph, fact, at_ms)
    if begun is None:
        text = "the state that the run was to begin with cannot be read by this version"
        return _stillborn(run, at_ms, StepError(text, "invalid_fork"))
    if graph.workflow.limits and begun.graph is not None:
        return _ask(replace(begun, armed_ms=0, deadline_ms=0))
    return begun, outstanding(begun)


def _ask(run: Run) -> tuple[Run, list[Command]]:
    """The run waits for the gate of its workflow."""
    pending = replace(run, status=PENDING, asked=True)
    return pending, outstanding(pending)


def _at_gate(
    run: Run, fact: GateGranted | GateChecked, at_ms: int
) -> tuple[Run, list[Command]] | None:
    """A gate's word for a ticket that is over, or for the run itself; None when it is a step's."""
    if not admission.claims(run, fact.ticket):
        return run, [LeaveGate(run.id, fact.ticket, fact.gate)]
    if isinstance(fact, GateGranted) and run.status == PENDING and run.graph is not None:
        return _admitted(admission.let_in(run, fact.left), run.graph, at_ms)
    return None


def _admitted(run: Run, graph: Graph, at_ms: int) -> tuple[Run, list[Command]]:
    """The gate of its workflow lets the run begin, or go on: its time runs from here."""
    limit = graph.workflow.timeout_ms
    going = replace(run, status=RUNNING, deadline_ms=at_ms + limit if limit else 0)
    going = spending.clock_started(going, at_ms)
    if run.opened:
        return _conclude(reopen.resumed(run, graph, at_ms), run, rearm=True)
    draft = Draft(going, graph, at_ms)
    if not run.forked:
        settle.begin(draft)
        return _conclude(draft, run, rearm=True)
    after, commands = _conclude(draft, run, rearm=True)
    return after, [*commands, *outstanding(replace(after, armed_ms=0))]


def _reopen(run: Run, graph: Graph, fact: Fact, at_ms: int) -> tuple[Run, list[Command]]:
    """A closed run absorbs everything but the request to go on, and what its handlers had used."""
    if isinstance(fact, UsageReported | ChildReported):
        draft = Draft(run, graph, at_ms)
        apply.used(draft, fact)
        after = replace(draft.result(), over=run.over)
        return after, list(spending.told(run, after))
    if not isinstance(fact, RetryRequested | BudgetRaised):
        return run, []
    opened = reopen.opens(run, fact)
    if opened is None:
        return run, []
    if graph.workflow.limits:
        waiting = reopen.waiting(opened)
        return waiting, outstanding(waiting)
    after, commands = _conclude(reopen.resumed(opened, graph, at_ms), run, rearm=True)
    return after, [OpenRun(run.id, fact.epoch), *_watches(after, graph), *commands]


# -- concluding ------------------------------------------------------------------------------------


def _conclude(draft: Draft, before: Run, *, rearm: bool = False) -> tuple[Run, list[Command]]:
    settle.settle(draft)
    if draft.ending is not None:
        closed = settle.close(draft, draft.ending)
        gone = [*_dropped(before, draft), *admission.left(before, closed, draft)]
        told = spending.told(before, closed)
        return closed, [*gone, *told, *_closing(closed, draft.changed)]
    after = draft.result()
    due = timing.next_due(after, after.steps if rearm else draft.changed.values())
    arm = due != 0 and (after.armed_ms == 0 or due < after.armed_ms)
    if arm:
        after = replace(after, armed_ms=due)
    commands = _newly_in_force(before, after, draft)
    if after.epoch > before.epoch and after.saga is not None:
        commands.insert(0, Abandon(after.id, after.epoch))
    if draft.told:
        commands.extend(_told(after, draft))
    commands.extend(_dropped(before, draft))
    if draft.graph.gated:
        commands.extend(admission.left(before, after, draft))
    commands.extend(spending.told(before, after))
    if arm:
        commands.append(ArmTimer(after.id, due))
    return after, commands


def _newly_in_force(before: Run, after: Run, draft: Draft) -> list[Command]:
    commands: list[Command] = []
    known_steps = len(before.steps)
    for position in sorted(draft.changed):
        state = draft.changed[position]
        if state.status == PENDING:
            continue
        node = draft.graph.nodes[position]
        kind = KINDS[node.step.kind]
        now = kind.in_force(Scope(after, node, state, None, 0, after.steps))
        if now and position < known_steps and before.steps[position].status != PENDING:
            then = {each.id for each in kind.in_force(_scope(before, draft.graph, position))}
            now = [each for each in now if each.id not in then]
        commands.extend(now)
        if kind is wait_for_event and state.status != WAITING:
            commands.append(ForgetEvent(after.id, ticket_text(node.step.id, state)))
    return commands


def _dropped(before: Run, draft: Draft) -> list[Command]:
    """Large checkpoints that no ticket refers to any more."""
    commands: list[Command] = []
    known_steps = len(before.steps)
    for position, state in draft.changed.items():
        if position < known_steps and before.steps[position].checkpoint:
            old = superseded(before.steps[position], state)
            if old:
                commands.append(DropCheckpoint(before.id, old))
    return commands


def _told(run: Run, draft: Draft) -> list[Command]:
    """The durable calls that are settled while their callers wait under the ticket in force."""
    return [
        TellCaller(run.id, position)
        for position in draft.told
        if run.steps[draft.graph.nodes[position].owner].status == QUEUED
    ]


def _closing(run: Run, moved: Container[int] | None = None) -> list[Command]:
    """What a closed run still owes the world; the mark comes last, so that it implies the rest.

    ``moved``: the steps that moved with its last fact; the duties of others came into force before.
    """
    commands: list[Command] = [TellParent(run.id, started=True)] if run.detached else []
    if run.graph is not None and run.steps:
        commands.extend(_duties(run, run.graph, moved))
        if run.failed_at >= 0:
            state = run.steps[run.failed_at]
            ticket = ticket_text(run.graph.nodes[run.failed_at].step.id, state)
            commands.append(DeadLetter(run.id, ticket, run.failed_at))
    if run.status == CONTINUED:
        commands.append(StartSuccessor(run.id))
    elif run.parent and not run.detached:
        commands.append(TellParent(run.id, started=False, epoch=run.opened))
    commands.append(CloseRun(run.id, run.abandoned, run.opened))
    return commands


def _duties(run: Run, graph: Graph, moved: Container[int] | None) -> list[Command]:
    """What steps leave to be done when the run is over: children to end, responses, look-outs."""
    commands: list[Command] = []
    for node in graph.nodes:
        state = run.steps[node.position]
        if state.status == PENDING or node.step.kind not in LASTING:
            continue
        if moved is not None and node.position not in moved:
            continue
        commands.extend(KINDS[node.step.kind].in_force(_scope(run, graph, node.position)))
        if node.step.kind == "wait_for_event" and state.attempt:
            commands.append(ForgetEvent(run.id, ticket_text(node.step.id, state)))
    watches = range(len(graph.workflow.cancel_on))
    commands.extend(ForgetEvent(run.id, f"{apply.CANCEL_TICKET}{number}") for number in watches)
    return commands


def _scope(run: Run, graph: Graph, position: int) -> Scope:
    return Scope(run, graph.nodes[position], run.steps[position], None, 0, run.steps)
