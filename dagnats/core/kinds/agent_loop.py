"""An agent loop: a handler run again and again until it returns a value, within bounds.

``max_iterations`` executions at the most; ``max_duration`` counted from the first dispatch. A failed
iteration is retried alone; each iteration has the whole retry budget.
"""

from __future__ import annotations

from msgspec.structs import replace

from dagnats.core import durations
from dagnats.core.commands import Command
from dagnats.core.events import Outcome, StepContinued, StepFailed, StepSucceeded
from dagnats.core.model import LoopConfig
from dagnats.core.scope import Scope, after_failure, completed, dispatches, failed, queued, waiting
from dagnats.core.state import StepError, StepState


def enter(scope: Scope) -> StepState:
    """Iteration 0; the loop's time runs from here."""
    limit = _config(scope).max_duration_ms
    return queued(scope, attempt=1, iteration=0, bound_ms=scope.at_ms + limit if limit else 0)


def on_fact(scope: Scope, fact: Outcome) -> StepState:
    """An answer to the ticket in force."""
    if isinstance(fact, StepSucceeded):
        return completed(scope, fact.output)
    if _out_of_time(scope):
        return _too_long(scope)
    if isinstance(fact, StepFailed):
        return after_failure(scope, fact)
    return _next_iteration(scope, fact)


def on_due(scope: Scope) -> StepState:
    """A delay is over, or the loop's time is."""
    if _out_of_time(scope):
        return _too_long(scope)
    state = scope.state
    if state.error is not None:
        return queued(scope, attempt=state.attempt + 1, iteration=state.iteration)
    return queued(scope, attempt=1, iteration=state.iteration)


def in_force(scope: Scope) -> tuple[Command, ...]:
    """The ticket of the current iteration."""
    return dispatches(scope)


def _next_iteration(scope: Scope, fact: StepContinued) -> StepState:
    config, state = _config(scope), scope.state
    following = state.iteration + 1
    if following >= config.max_iterations:
        message = f"agent loop exceeded max iterations ({config.max_iterations})"
        return failed(scope, StepError(message, "max_iterations"))
    checkpoint = fact.checkpoint or state.checkpoint
    if config.loop_delay_ms:
        pause = scope.at_ms + config.loop_delay_ms
        return waiting(
            scope, pause, attempt=1, iteration=following, checkpoint=checkpoint, error=None
        )
    return queued(scope, attempt=1, iteration=following, checkpoint=checkpoint, error=None)


def _out_of_time(scope: Scope) -> bool:
    return bool(scope.state.bound_ms) and scope.at_ms >= scope.state.bound_ms


def _too_long(scope: Scope) -> StepState:
    limit = durations.text_of_ms(_config(scope).max_duration_ms)
    error = StepError(f"agent loop exceeded max duration ({limit})", "max_duration")
    return replace(failed(scope, error), bound_ms=0)


def _config(scope: Scope) -> LoopConfig:
    return scope.node.step.loop or LoopConfig(max_iterations=1)
