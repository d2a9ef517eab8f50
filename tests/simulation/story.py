"""A run as its log tells it: folded once more, with what it was told while that was in force."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec

from dagnats.core.commands import Dispatch
from dagnats.core.events import (
    ANSWERS,
    Answer,
    ApprovalDecided,
    CancelRequested,
    ChildClosed,
    ChildStarted,
    Event,
    EventReceived,
    GateGranted,
    GateRefused,
    RunStarted,
    SignalReceived,
    StepCalled,
    StepFailed,
    TimerFired,
)
from dagnats.core.machine import advance, in_force, new_run
from dagnats.core.model import PlannerConfig, SleepConfig, Step
from dagnats.core.run import Run
from dagnats.core.state import (
    CANCELLED,
    COMPLETED,
    HELD,
    PENDING,
    QUEUED,
    WAITING,
    StepState,
    step_of_ticket,
    ticket_text,
)
from dagnats.errors import CodecError
from dagnats.ports import Entry
from dagnats.wire.codec import event_of, is_fact
from dagnats.wire.messages import Asked, ClosedMark, Response, TaskMessage, nonce
from tests.simulation.processes import GRAPHS, SECRET
from tests.simulation.scripts import Script
from tests.simulation.told import Told, decoded

TIMED = {"approval", "planner", "wait_for_signal", "wait_for_event", "sleep", "sub_workflow"}
_mark = msgspec.json.Decoder(ClosedMark)
_ticket = msgspec.json.Decoder(TaskMessage)
_response = msgspec.json.Decoder(Response)
_asked = msgspec.json.Decoder(Asked)


class Story:
    """One run's. ``problems`` are what does not hold already while reading.

    ``before`` is that of the run it was forked from, which ends at a place such as ``s1@2`` (``until``).
    """

    def __init__(
        self,
        run_id: str,
        script: Script,
        executed: set[str],
        log: list[Entry],
        before: Story | None = None,
        until: str = "",
    ) -> None:
        self.id = run_id
        self.script = script
        self.executed = executed
        self.tickets: dict[str, TaskMessage] = {}
        self.marks: list[ClosedMark] = []
        self.responses: defaultdict[str, list[Response]] = defaultdict(list)
        self.questions: list[str] = []
        self.commanded: set[str] = set()
        self.sent: defaultdict[str, list[Any]] = defaultdict(list)
        self.heard: defaultdict[str, list[Any]] = defaultdict(list)
        self.unheard: list[tuple[Step, int, int]] = []
        self.closed_ms = 0
        self.cancel_asked = False
        self.refused = False
        self.granted: set[str] = set()
        self.out_of_time = False
        self.reopened = 0
        self.endings: list[tuple[str, Any]] = []
        self.tidings: defaultdict[str, list[tuple[str, Any]]] = defaultdict(list)
        self.problems: list[str] = []
        [self.started, *again] = [f for f in map(fact_of, log) if isinstance(f, RunStarted)]
        if again:
            self.problem(f"began again: {again}")
        self.told = Told(depth=self.started.depth)
        if before:
            self.told, self.sent, self.heard = before.told, before.sent, before.heard
            self.out_of_time = before.out_of_time
        self.workflow = GRAPHS[self.started.definition].workflow
        self._timed = [at for at, step in enumerate(self.workflow.steps) if step.kind in TIMED]
        self.run = new_run(run_id, GRAPHS[self.started.definition])
        for entry in log:
            self._read(entry)
            if until and self._came_to(until):
                return
        if until:
            self.problem(f"was forked at {until}, and never came there")

    def problem(self, what: str) -> None:
        """Something does not hold."""
        self.problems.append(f"{self.id}: {what}")

    def states(self) -> list[tuple[Step, StepState]]:
        """The workflow's own steps, and how they ended."""
        return list(zip(self.workflow.steps, self.run.steps, strict=False))

    def _came_to(self, place: str) -> bool:
        step, _, turn = place.rpartition("@")
        for node, state in zip(self.run.graph.nodes, self.run.steps, strict=False):
            if node.step.id == step and not self.run.closed:
                under_way = state.status in (HELD, QUEUED, WAITING) and state.attempt
                return bool(under_way) and state.iteration == int(turn) - 1
        return False

    # -- reading -----------------------------------------------------------------------------------

    def _read(self, entry: Entry) -> None:
        what = entry.subject.rpartition(".")[2]
        if is_fact(entry):
            try:
                event = event_of(entry)
            except CodecError:
                return
            self._fold(event)
        elif what == "closed":
            self.marks.append(_mark.decode(entry.payload))
            self.closed_ms = entry.at_ms
        elif what == "response":
            response = _response.decode(entry.payload)
            self.responses[response.ticket].append(response)
        elif what == "asked":
            self.questions.append(_asked.decode(entry.payload).ticket)
        else:
            message = _ticket.decode(entry.payload)
            if message.ticket in self.tickets:
                self.problem(f"{message.ticket} was dispatched twice")
            self._look_at_limits(message)
            self.tickets[message.ticket] = message

    def _look_at_limits(self, message: TaskMessage) -> None:
        """Whoever is under limits has been let through, and a run has no more under way than it may."""
        graph = self.run.graph
        if message.step not in graph.index:
            self.problem(f"{message.ticket} was dispatched, and the run has no such step")
            return
        step = graph.nodes[graph.index[message.step]].step
        needed = {message.ticket} if step.limits else set()
        needed |= {"!run/0"} if self.workflow.limits else set()
        for ticket in needed - self.granted:
            self.problem(f"{message.ticket} was dispatched, and nobody had let {ticket} through")
        most = self.workflow.max_steps
        told = {t for t in self.tickets if in_force(self.run, t) and "#" not in t}
        if most and "#" not in message.ticket and len(told - {message.ticket}) >= most:
            self.problem(f"{message.ticket} was dispatched beside {told}")

    def _fold(self, event: Event) -> None:
        fact, before = event.fact, self.run
        if isinstance(fact, ANSWERS):
            if fact.nonce != nonce(SECRET, self.id, fact.ticket):
                return
            if in_force(before, fact.ticket) and not isinstance(fact, StepCalled):
                self._honour(fact)
        elif isinstance(fact, CancelRequested):
            self.cancel_asked = True
        elif isinstance(fact, ChildClosed):
            self.tidings[fact.child].append((fact.status, decoded(fact.output)))
        self.run, commands = advance(before, event)
        self.commanded |= {each.ticket for each in commands if isinstance(each, Dispatch)}
        if self.run.closed and not before.closed:
            self.endings.append((self.run.status, decoded(self.run.output)))
        self._listen(before, event)
        if self.run.opened > before.opened:
            self._reopen(before)
        if isinstance(fact, TimerFired):
            self._look_at_deadline(before, event.at_ms)
        for position in self._timed if before.steps else ():
            if before.steps[position] != self.run.steps[position]:
                self._moved(event, position, before.steps[position], self.run.steps[position])

    def _honour(self, fact: Answer) -> None:
        if fact.ticket in self.told.answers:
            self.problem(f"two answers to {fact.ticket} were honoured")
        if fact.ticket not in self.tickets:
            self.problem(f"the answer to {fact.ticket} came before its dispatch")
        if fact.ticket not in self.executed:
            self.problem(f"{fact.ticket} was answered, and never executed")
        self.told.answers[fact.ticket] = fact

    # -- what it was told --------------------------------------------------------------------------

    def _listen(self, before: Run, event: Event) -> None:
        fact, told = event.fact, self.told
        if isinstance(fact, SignalReceived) and not before.closed:
            self.sent[fact.name].append(decoded(fact.payload))
        if isinstance(fact, GateGranted):
            self.granted.add(fact.ticket)
        elif isinstance(fact, GateRefused):
            self._hear_refusal(before, fact)
        if not isinstance(fact, ApprovalDecided | EventReceived | ChildStarted | ChildClosed):
            return
        state = _awaiting(before, fact.ticket)
        if state is None:
            return
        if isinstance(fact, EventReceived):
            told.payloads[fact.ticket] = decoded(fact.payload)
        elif isinstance(fact, ChildStarted | ChildClosed):
            told.children[fact.ticket] = fact
        elif event.at_ms < state.bound_ms:
            told.decisions.setdefault(fact.ticket, []).append(fact)
        else:
            told.late.add(fact.ticket)

    def _reopen(self, before: Run) -> None:
        """What failed, or was cut off, is begun anew; what steps own, by itself."""
        self.reopened += 1
        self.out_of_time = False
        failed, at = set[int](), before.failed_at
        while at >= 0:
            failed.add(at)
            at = before.graph.nodes[at].owner
        for node, state in zip(before.graph.nodes, before.steps, strict=False):
            again = state.status == CANCELLED or node.position in failed
            if again and state.attempt and not state.owned:
                place = (state.iteration, state.attempt)
                self.told.restarts.setdefault(node.step.id, []).append(place)

    def _hear_refusal(self, before: Run, fact: GateRefused) -> None:
        """It is as good as a failed attempt, or as a cancellation."""
        if fact.ticket.startswith("!run/"):
            self.refused = self.refused or before.status == PENDING
        elif _in_status(before, fact.ticket, HELD) is not None:
            failed = StepFailed(ticket=fact.ticket, error=fact.reason, failure="refused")
            self.told.answers[fact.ticket] = failed

    def _look_at_deadline(self, before: Run, at_ms: int) -> None:
        """Whether the run's own time was over with this, which ends it or has it undone."""
        now = self.run.saga if before.saga is None and self.run.saga else self.run
        if before.closed or before.saga or now.error is None:
            return
        if now.error.message.startswith("timeout: the run took longer"):
            self.out_of_time = True
            if at_ms < before.started_ms + self.workflow.timeout_ms:
                self.problem("ran out of time before its deadline")

    def _moved(self, event: Event, position: int, was: StepState, now: StepState) -> None:
        """A step that may wait has moved: a signal came, or its time was over."""
        step = self.workflow.steps[position]
        ticket = ticket_text(step.id, now)
        fired = isinstance(event.fact, TimerFired)
        if step.kind == "wait_for_signal" and now.status == COMPLETED:
            payload = decoded(now.output)
            self.told.payloads[ticket] = payload
            self.heard[step.config.name].append(payload)
        elif fired and was.status == WAITING and now.status != CANCELLED:
            if step.kind in ("planner", "sub_workflow") and (was.due_ms or was.owned):
                return  # a back-off
            ticket = ticket_text(step.id, was)
            self.told.late.add(ticket)
            if step.kind == "wait_for_event":
                self.unheard.append((step, was.since_ms, was.due_ms))
            if event.at_ms < was.since_ms + _patience_ms(step):
                self.problem(f"{ticket} did not wait for as long as it is to")


def fact_of(entry: Entry) -> Any:
    """The fact that an entry is; None when it is none."""
    try:
        return event_of(entry).fact if is_fact(entry) else None
    except CodecError:
        return None


def _in_status(run: Run, ticket: str, status: str) -> StepState | None:
    """The state of a step that has a status, under a ticket."""
    position = run.graph.index.get(step_of_ticket(ticket)) if run.graph else None
    if position is None or position >= len(run.steps):
        return None
    state, step = run.steps[position], run.graph.nodes[position].step
    return state if state.status == status and ticket_text(step.id, state) == ticket else None


def _awaiting(run: Run, ticket: str) -> StepState | None:
    """The state of a step that waits under a ticket."""
    state = _in_status(run, ticket, WAITING)
    if state is None or state.owned:
        return None
    kind = run.graph.nodes[run.graph.index[step_of_ticket(ticket)]].step.kind
    return None if kind in ("planner", "sub_workflow") and state.due_ms else state


def _patience_ms(step: Step) -> int:
    """For how long a step waits at least."""
    if step.kind == "sub_workflow":
        return step.timeout_ms
    config = step.config.preview if isinstance(step.config, PlannerConfig) else step.config
    return config.duration_ms if isinstance(config, SleepConfig) else config.timeout_ms
