"""A task: one handler, run until it answers, retried by policy."""

from __future__ import annotations

from dagnats.core.commands import Command
from dagnats.core.events import Outcome, StepFailed, StepSucceeded
from dagnats.core.scope import Scope, after_failure, completed, dispatches, failed, queued
from dagnats.core.state import StepError, StepState


def enter(scope: Scope) -> StepState:
    """The first attempt."""
    return queued(scope, attempt=1, iteration=0)


def on_fact(scope: Scope, fact: Outcome) -> StepState:
    """An answer to the ticket in force."""
    if isinstance(fact, StepSucceeded):
        return completed(scope, fact.output)
    if isinstance(fact, StepFailed):
        return after_failure(scope, fact)
    return failed(
        scope, StepError("a task answered Continue; only an agent loop may", "non_retriable")
    )


def on_due(scope: Scope) -> StepState:
    """The back-off is over: the next attempt."""
    return queued(scope, attempt=scope.state.attempt + 1, iteration=0)


def in_force(scope: Scope) -> tuple[Command, ...]:
    """Its ticket."""
    return dispatches(scope)
