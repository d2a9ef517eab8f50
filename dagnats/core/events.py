"""The facts: what happened to a run, in the past tense. One author each; nobody else may write them.

On the wire a fact is a JSON object with a ``type``; who wrote it is the last token of its subject.
User payloads (``input``, ``output``, ``checkpoint``) are ``msgspec.Raw``: JSON that the engine passes on
without looking inside.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Raw, Struct

from dagnats.core.entities import (
    GateAsked,
    GateCharged,
    GateLeft,
    GateRaised,
    GateReleased,
    StartCancelled,
    StartScheduled,
    TriggerFired,
    TriggerSet,
)
from dagnats.core.model import ABSENT, Budget, Usage

Author = Literal["client", "worker", "scheduler", "timer", "signal", "trigger", "gate"]
FailureKind = Literal[
    "retriable", "non_retriable", "retry_after", "timeout", "worker_lost", "budget_exceeded"
]


class RunStarted(Struct, frozen=True, kw_only=True, tag="run.started", omit_defaults=True):
    """A client asked for a run. ``definition`` is the content hash that pins the workflow.

    A child names its ``parent`` run and the ticket there, how deep below the ``root`` run it is, and whether
    it is ``detached``. A run that continues another names the ``previous`` one, and is number ``chain`` of
    those that do. ``priority`` is by how many seconds it goes before others where runs wait. ``fork`` is the
    state (``core.fork``) in which a run begins that shares the history of another up to there.

    What ``budget`` says takes the place of what the workflow's says; ``cap`` is what was left to the run that
    starts this one. A run that continues another is given what that one ``used`` and what was ``raised``, by
    step ("" for the run as a whole). ``accounts`` are the gates that count what it uses through the run that starts it.
    """

    workflow: str
    definition: str
    input: Raw = Raw(b"null")
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    key: str = ""
    start: str = ""
    parent: str = ""
    parent_ticket: str = ""
    detached: bool = False
    root: str = ""
    depth: int = 0
    previous: str = ""
    chain: int = 0
    fork: Raw = ABSENT
    priority: int = 0
    budget: Budget | None = None
    cap: Budget | None = None
    used: dict[str, Usage] = {}
    raised: dict[str, Budget] = {}
    accounts: tuple[str, ...] = ()


class CancelRequested(
    Struct, frozen=True, kw_only=True, tag="run.cancel_requested", omit_defaults=True
):
    """A client asked to cancel the run."""

    reason: str = ""


class _Outcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every answer of a worker carries.

    ``ticket`` is the right to answer, ``nonce`` the proof of having been given it, ``worker`` who ran
    the code and ``ran_ms`` for how long.
    """

    ticket: str
    nonce: str = ""
    worker: str = ""
    ran_ms: int = 0


class StepSucceeded(_Outcome, frozen=True, kw_only=True, tag="step.succeeded", omit_defaults=True):
    """The handler returned a value."""

    output: Raw = Raw(b"null")


class StepFailed(_Outcome, frozen=True, kw_only=True, tag="step.failed", omit_defaults=True):
    """The handler raised, ran out of time, or its workers kept dying.

    ``pause_key``: everybody with the same keys is to wait for ``retry_after_ms``, too.
    """

    error: str
    failure: str = "retriable"
    error_type: str = ""
    traceback: str = ""
    retry_after_ms: int = 0
    pause_key: bool = False


class StepContinued(_Outcome, frozen=True, kw_only=True, tag="step.continued", omit_defaults=True):
    """An agent loop asks for its next iteration. Without ``checkpoint`` the last one stays."""

    checkpoint: Raw = ABSENT


class StepPlanned(_Outcome, frozen=True, kw_only=True, tag="step.planned", omit_defaults=True):
    """A planner returned a plan: ``{"steps": […]}`` in the form of a workflow file."""

    plan: Raw


class StepCalled(_Outcome, frozen=True, kw_only=True, tag="step.called", omit_defaults=True):
    """A running handler asks for a durable call, number ``n`` (from 0) of its iteration.

    ``step`` is what to run, in the form of a file's step, ``input`` what it receives.
    """

    n: int
    step: Raw
    input: Raw = Raw(b"null")


class StepParked(_Outcome, frozen=True, kw_only=True, tag="step.parked", omit_defaults=True):
    """A handler gave its slot up until its durable call number ``n`` is settled; it is entered again then."""

    n: int


class RunContinued(_Outcome, frozen=True, kw_only=True, tag="run.continued", omit_defaults=True):
    """A handler ends the run, to go on as a new one with this input and an empty history."""

    input: Raw = Raw(b"null")


class UsageReported(_Outcome, frozen=True, kw_only=True, tag="usage.reported", omit_defaults=True):
    """A running handler says what it has used; report number ``n`` (from 0) of this ticket.

    Whoever runs the same ticket again reports again: each number counts once. ``usd_nano`` are billionths of a
    US dollar.
    """

    n: int
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    usd_nano: int = 0


class SignalReceived(Struct, frozen=True, kw_only=True, tag="signal.received", omit_defaults=True):
    """Somebody sent data to the run. Signals of a name are consumed in order, each once."""

    name: str
    payload: Raw = Raw(b"null")


class ApprovalDecided(
    Struct, frozen=True, kw_only=True, tag="approval.decided", omit_defaults=True
):
    """Somebody answered the question of a ticket. ``decision`` makes each answer tell itself apart."""

    ticket: str
    approved: bool
    comment: str = ""
    by: str = ""
    answer: Raw = ABSENT
    decision: str = ""


class EventReceived(Struct, frozen=True, kw_only=True, tag="event.received", omit_defaults=True):
    """An external event arrived that matches what a ticket waits for."""

    ticket: str
    name: str
    payload: Raw = Raw(b"null")


class RetryRequested(
    Struct, frozen=True, kw_only=True, tag="run.retry_requested", omit_defaults=True
):
    """A client asked to open a failed run again, at the step that failed. ``epoch`` is the run's then."""

    epoch: int
    reason: str = ""


class BudgetRaised(Struct, frozen=True, kw_only=True, tag="budget.raised", omit_defaults=True):
    """Somebody adds to a budget of the run: that of the loop at ``step``, or else the run's own.

    A run that its budget ended is opened again: then ``epoch`` is the run's from there on. ``request`` makes each
    request tell itself apart.
    """

    more: Budget
    step: str = ""
    epoch: int = 0
    by: str = ""
    comment: str = ""
    request: str = ""


class ChildReported(Struct, frozen=True, kw_only=True, tag="child.reported", omit_defaults=True):
    """What a child run has used so far, in all."""

    ticket: str
    child: str
    usage: Usage


class ChildStarted(Struct, frozen=True, kw_only=True, tag="child.started", omit_defaults=True):
    """A detached child run is under way."""

    ticket: str
    child: str


class ChildClosed(Struct, frozen=True, kw_only=True, tag="child.closed", omit_defaults=True):
    """A child run has ended, or could not be started."""

    ticket: str
    child: str = ""
    status: str
    output: Raw = ABSENT
    error: str = ""


class ControlDecided(Struct, frozen=True, kw_only=True, tag="control.decided", omit_defaults=True):
    """What a handler asked of the control plane was done, or refused: then ``kind`` says for what reason."""

    ticket: str
    output: Raw = Raw(b"null")
    kind: str = ""
    error: str = ""


class GateGranted(Struct, frozen=True, kw_only=True, tag="gate.granted", omit_defaults=True):
    """A gate lets a ticket through. ``left``: what is left of each budget that it shares, as its limits are ordered."""

    gate: str
    ticket: str
    left: tuple[int, ...] = ()


class GateRefused(Struct, frozen=True, kw_only=True, tag="gate.refused", omit_defaults=True):
    """A gate does not let a ticket through, and there is no use in waiting."""

    gate: str
    ticket: str
    reason: str
    retry_after_ms: int = 0


class GateChecked(Struct, frozen=True, kw_only=True, tag="gate.checked", omit_defaults=True):
    """A gate asks whether a ticket that it let through long ago still needs its place."""

    gate: str
    ticket: str


class BudgetSpent(Struct, frozen=True, kw_only=True, tag="budget.spent", omit_defaults=True):
    """A budget that the run of a ticket shares, in "usd" or "tokens", is used up."""

    gate: str
    ticket: str
    kind: str
    reason: str


class TimerFired(Struct, frozen=True, kw_only=True, tag="timer.fired"):
    """The server delivered the run's armed timer, which was due at ``due_ms`` (Unix time)."""

    due_ms: int


Outcome = StepSucceeded | StepFailed | StepContinued
# Everything that a worker writes under a ticket, and whose nonce is checked.
Answer = Outcome | StepPlanned | StepCalled | StepParked | RunContinued | UsageReported
ANSWERS: Final = (
    StepSucceeded, StepFailed, StepContinued, StepPlanned, StepCalled, StepParked, RunContinued, UsageReported,
)  # fmt: skip
Fact = (
    RunStarted
    | CancelRequested
    | StepSucceeded
    | StepFailed
    | StepContinued
    | StepPlanned
    | StepCalled
    | StepParked
    | RunContinued
    | UsageReported
    | SignalReceived
    | ApprovalDecided
    | EventReceived
    | RetryRequested
    | BudgetRaised
    | ChildStarted
    | ChildReported
    | ChildClosed
    | ControlDecided
    | GateGranted
    | GateRefused
    | GateChecked
    | BudgetSpent
    | GateAsked
    | GateLeft
    | GateCharged
    | GateRaised
    | GateReleased
    | TimerFired
    | StartScheduled
    | StartCancelled
    | TriggerSet
    | TriggerFired
)

AUTHORS: Final[dict[type, Author]] = {
    RunStarted: "client",
    CancelRequested: "client",
    ApprovalDecided: "client",
    RetryRequested: "client",
    BudgetRaised: "client",
    **dict.fromkeys(ANSWERS, "worker"),
    ChildStarted: "scheduler",
    ChildReported: "scheduler",
    ChildClosed: "scheduler",
    ControlDecided: "scheduler",
    EventReceived: "scheduler",
    GateGranted: "scheduler",
    GateRefused: "scheduler",
    GateChecked: "scheduler",
    BudgetSpent: "scheduler",
    GateAsked: "gate",
    GateLeft: "gate",
    GateCharged: "gate",
    GateRaised: "gate",
    GateReleased: "gate",
    SignalReceived: "signal",
    TimerFired: "timer",
    StartScheduled: "trigger",
    StartCancelled: "trigger",
    TriggerSet: "trigger",
    TriggerFired: "trigger",
}


class Event(Struct, frozen=True):
    """A fact with its place in the log (``seq``) and the log's time (``at_ms``, Unix time)."""

    seq: int
    at_ms: int
    fact: Fact
