"""An agent loop: a handler run again and again until it returns a value, within bounds.

``max_iterations`` executions at the most; ``max_duration`` counted from the first dispatch. A failed
iteration is retried alone; each iteration has the whole retry budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dagnats.core import durations
from dagnats.core.attempts import (
    after_failure,
    call_settled,
    dispatches,
    first_attempt,
    queued,
    wrong_answer,
)
from dagnats.core.budgets import loop_budget
from dagnats.core.commands import Command
from dagnats.core.events import Outcome, StepContinued, StepFailed, StepPlanned, StepSucceeded
from dagnats.core.loops import LOOP_KEYS, loop_problems, read_loop, write_loop
from dagnats.core.model import LoopConfig, Problem, Step
from dagnats.core.scope import Scope, completed, failed, waiting
from dagnats.core.state import StepError, StepState

CONFIG_KEYS: Final = LOOP_KEYS
NEEDS_TASK: Final = True


# -- in files --------------------------------------------------------------------------------------

read, write = read_loop, write_loop


def problems(where: str, step: Step) -> Iterator[Problem]:
    """A loop without a bound is none."""
    yield from loop_problems(f"{where}.config", step.loop)


# -- in runs ---------------------------------------------------------------------------------------


def enter(scope: Scope) -> StepState:
    """Iteration 0, or the one a re-opened run had come to; the loop's time runs from here."""
    limit = _config(scope).max_duration_ms
    bound = scope.at_ms + limit if limit else 0
    budget = loop_budget(scope.node.step, scope.run.raised)
    wall = scope.at_ms + budget.wall_ms if budget and budget.wall_ms else 0
    attempt = first_attempt(scope)
    return queued(scope, attempt, scope.state.iteration, bound_ms=bound, wall_due_ms=wall)


def on_fact(scope: Scope, fact: Outcome | StepPlanned) -> StepState:
    """An answer to the ticket in force."""
    if isinstance(fact, StepSucceeded):
        return completed(scope, fact.output)
    if _out_of_time(scope):
        return _too_long(scope)
    if isinstance(fact, StepFailed):
        return after_failure(scope, fact)
    if isinstance(fact, StepPlanned):
        return wrong_answer(scope, fact)
    return _next_iteration(scope, fact)


def on_due(scope: Scope) -> StepState:
    """A delay is over, or the loop's time is."""
    if _out_of_time(scope):
        return _too_long(scope)
    state = scope.state
    if state.error is not None:
        return queued(scope, state.attempt + 1, state.iteration)
    return queued(scope, 1, state.iteration)


def on_owned(scope: Scope, position: int) -> StepState:
    """A durable call is settled."""
    return call_settled(scope, position)


def in_force(scope: Scope) -> tuple[Command, ...]:
    """The ticket of the current iteration."""
    return dispatches(scope)


def _next_iteration(scope: Scope, fact: StepContinued) -> StepState:
    config, state = _config(scope), scope.state
    following = state.iteration + 1
    if following >= config.max_iterations:
        message = f"agent loop exceeded max iterations ({config.max_iterations})"
        return failed(scope, StepError(message, "max_iterations"))
    fresh = {
        "checkpoint": fact.checkpoint or state.checkpoint, "error": None, "spent": 0, "calls": (),
    }  # fmt: skip
    if config.loop_delay_ms:
        pause = scope.at_ms + config.loop_delay_ms
        return waiting(scope, pause, attempt=1, iteration=following, resume=0, **fresh)
    return queued(scope, 1, following, **fresh)


def _out_of_time(scope: Scope) -> bool:
    return bool(scope.state.bound_ms) and scope.at_ms >= scope.state.bound_ms


def _too_long(scope: Scope) -> StepState:
    limit = durations.text_of_ms(_config(scope).max_duration_ms)
    error = StepError(f"agent loop exceeded max duration ({limit})", "max_duration")
    return failed(scope, error)


def _config(scope: Scope) -> LoopConfig:
    return scope.node.step.loop or LoopConfig(max_iterations=1)
