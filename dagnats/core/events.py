"""The facts: what happened to a run, in the past tense. One author each; nobody else may write them.

On the wire a fact is a JSON object with a ``type``; who wrote it is the last token of its subject.
User payloads (``input``, ``output``, ``checkpoint``) are ``msgspec.Raw``: JSON that the engine passes on
without looking inside.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Raw, Struct

from dagnats.core.model import ABSENT

Author = Literal["client", "worker", "scheduler", "timer", "signal"]
FailureKind = Literal["retriable", "non_retriable", "retry_after", "timeout", "worker_lost"]


class RunStarted(Struct, frozen=True, kw_only=True, tag="run.started", omit_defaults=True):
    """A client asked for a run. ``definition`` is the content hash that pins the workflow."""

    workflow: str
    definition: str
    input: Raw = Raw(b"null")
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    key: str = ""
    start: str = ""


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
    """The handler raised, ran out of time, or its workers kept dying."""

    error: str
    failure: str = "retriable"
    error_type: str = ""
    traceback: str = ""
    retry_after_ms: int = 0


class StepContinued(_Outcome, frozen=True, kw_only=True, tag="step.continued", omit_defaults=True):
    """An agent loop asks for its next iteration. Without ``checkpoint`` the last one stays."""

    checkpoint: Raw = ABSENT


class TimerFired(Struct, frozen=True, kw_only=True, tag="timer.fired"):
    """The server delivered the run's armed timer, which was due at ``due_ms`` (Unix time)."""

    due_ms: int


Outcome = StepSucceeded | StepFailed | StepContinued
Fact = RunStarted | CancelRequested | StepSucceeded | StepFailed | StepContinued | TimerFired

AUTHORS: Final[dict[type, Author]] = {
    RunStarted: "client",
    CancelRequested: "client",
    StepSucceeded: "worker",
    StepFailed: "worker",
    StepContinued: "worker",
    TimerFired: "timer",
}


class Event(Struct, frozen=True):
    """A fact with its place in the log (``seq``) and the log's time (``at_ms``, Unix time)."""

    seq: int
    at_ms: int
    fact: Fact
