"""The facts: what happened to a run, in the past tense. One author each; nobody else may write them.

On the wire a fact is a JSON object with a ``type``; who wrote it is the last token of its subject.
User payloads (``input``, ``output``, ``checkpoint``) are ``msgspec.Raw``: JSON that the engine passes on
without looking inside.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Raw, Struct

from dagnats.core.model import ABSENT

Author = Literal["client", "worker", "scheduler", "timer", "signal", "trigger", "gate"]
FailureKind = Literal["retriable", "non_retriable", "retry_after", "timeout", "worker_lost"]


class RunStarted(Struct, frozen=True, kw_only=True, tag="run.started", omit_defaults=True):
    """A client asked for a run. ``definition`` is the content hash that pins the workflow.

    A child names its ``parent`` run and the ticket there, how deep below the ``root`` run it is, and whether
    it is ``detached``. A run that continues another names the ``previous`` one, and is number ``chain`` of
    those that do. ``priority`` is by how many seconds it goes before others where runs wait. ``fork`` is the
    state (``core.fork``) in which a run begins that shares the history of another up to there.
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


class Demand(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a ticket asks of one limit: a ``model.Limit`` with the value that the input has at its key, and the cost."""

    kind: str
    limit: int
    path: str = ""
    key: str = ""
    period_ms: int = 0
    burst: int = 0
    cost: int = 1
    mode: str = "wait"


class GateAsked(Struct, frozen=True, kw_only=True, tag="gate.asked", omit_defaults=True):
    """A ticket asks a gate to be let through. The lowest ``rank_ms`` goes first among those that share their keys."""

    run: str
    ticket: str
    rank_ms: int
    demands: tuple[Demand, ...] = ()


class GateLeft(Struct, frozen=True, kw_only=True, tag="gate.left", omit_defaults=True):
    """A ticket needs a gate no more. Its keys are to rest for ``pause_ms``; its place is the ``heir`` run's."""

    run: str
    ticket: str
    pause_ms: int = 0
    heir: str = ""


class GateReleased(Struct, frozen=True, kw_only=True, tag="gate.released", omit_defaults=True):
    """An operator takes away what a run has of a gate."""

    run: str
    reason: str = ""


class GateGranted(Struct, frozen=True, kw_only=True, tag="gate.granted", omit_defaults=True):
    """A gate lets a ticket through."""

    gate: str
    ticket: str


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


class TimerFired(Struct, frozen=True, kw_only=True, tag="timer.fired"):
    """The server delivered the run's armed timer, which was due at ``due_ms`` (Unix time)."""

    due_ms: int


class StartScheduled(Struct, frozen=True, kw_only=True, tag="start.scheduled", omit_defaults=True):
    """A run is to be started at ``run_at_ms`` (Unix time), with the workflow as it is registered then.

    ``definition`` is what it is started with when no workflow of that name is registered. ``start`` tells two
    requests for the same run apart.
    """

    workflow: str
    definition: str
    run_at_ms: int
    input: Raw = Raw(b"null")
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    key: str = ""
    start: str = ""


class StartCancelled(Struct, frozen=True, kw_only=True, tag="start.cancelled", omit_defaults=True):
    """A scheduled start is not to be. ``request`` makes each request tell itself apart."""

    reason: str = ""
    request: str = ""


class TriggerSet(Struct, frozen=True, kw_only=True, tag="trigger.set", omit_defaults=True):
    """A trigger is to be as it is defined here, in the form of a file's trigger; absent, it is no more."""

    definition: Raw = ABSENT


class TriggerFired(Struct, frozen=True, kw_only=True, tag="trigger.fired", omit_defaults=True):
    """Something happened that a trigger waits for: a message, a request, or somebody fired it by hand.

    ``key`` tells it apart from everything else that fires the trigger. ``kind`` is what the envelope says it was,
    ``seq`` the place of a message in its stream. With a ``problem`` it starts nothing.

    For a trigger that holds events back: ``path`` is the key that was looked for, ``group`` the value there,
    ``ungrouped`` why there is none, ``size`` how many bytes the data are, wherever they are.
    """

    key: str
    kind: str
    data: Raw = ABSENT
    seq: int = 0
    problem: str = ""
    path: str = ""
    group: str = ""
    ungrouped: str = ""
    size: int = 0


Outcome = StepSucceeded | StepFailed | StepContinued
# Everything that a worker writes under a ticket, and whose nonce is checked.
Answer = Outcome | StepPlanned | StepCalled | StepParked | RunContinued
ANSWERS: Final = (
    StepSucceeded, StepFailed, StepContinued, StepPlanned, StepCalled, StepParked, RunContinued,
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
    | SignalReceived
    | ApprovalDecided
    | EventReceived
    | RetryRequested
    | ChildStarted
    | ChildClosed
    | ControlDecided
    | GateGranted
    | GateRefused
    | GateChecked
    | GateAsked
    | GateLeft
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
    **dict.fromkeys(ANSWERS, "worker"),
    ChildStarted: "scheduler",
    ChildClosed: "scheduler",
    ControlDecided: "scheduler",
    EventReceived: "scheduler",
    GateGranted: "scheduler",
    GateRefused: "scheduler",
    GateChecked: "scheduler",
    GateAsked: "gate",
    GateLeft: "gate",
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
