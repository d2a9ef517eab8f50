"""What steps with a handler share: tickets, answers, further attempts, being parked and entered again."""

from __future__ import annotations

from msgspec.structs import replace

from dagnats.core.commands import AskGate, Command, Dispatch
from dagnats.core.events import Outcome, StepContinued, StepFailed, StepPlanned, StepSucceeded
from dagnats.core.retry import clamped_retry_after_ms, delay_ms
from dagnats.core.scope import Scope, completed, failed, waiting
from dagnats.core.state import HELD, NOBODY, QUEUED, WAITING, StepError, StepState
from dagnats.limits import ERROR_SIZE_MAX_BYTES


def queued(scope: Scope, attempt: int, iteration: int, **changes: object) -> StepState:
    """The step with a ticket in force."""
    began = scope.state.began_ms or scope.at_ms
    return replace(
        scope.state,
        status=QUEUED,
        attempt=attempt,
        iteration=iteration,
        resume=0,
        reports=0,
        due_ms=0,
        since_ms=scope.at_ms,
        began_ms=began,
        **changes,
    )


def first_attempt(scope: Scope) -> int:
    """The number of an attempt that begins now: 1, or one more than what a re-opened run had spent."""
    return scope.state.spent + 1


def begun(scope: Scope) -> StepState:
    """A step that runs once is entered."""
    return queued(scope, first_attempt(scope), iteration=0)


def again(scope: Scope) -> StepState:
    """Its back-off is over: the next attempt."""
    return queued(scope, scope.state.attempt + 1, iteration=0)


def again_at_no_cost(scope: Scope) -> StepState:
    """The handler stopped because there was nothing left to use: another attempt, which the policy does not count."""
    state = scope.state
    return queued(scope, state.attempt + 1, state.iteration, spent=state.spent + 1)


def resumed(scope: Scope) -> StepState:
    """A parked step is entered again: the same attempt, under a new ticket."""
    state = queued(scope, scope.state.attempt, scope.state.iteration, parked=NOBODY)
    return replace(state, resume=scope.state.resume + 1)


def after_failure(scope: Scope, fact: StepFailed) -> StepState:
    """A worker reported a failure: try again later when the policy allows, else give up."""
    error = StepError(
        message=fact.error[:ERROR_SIZE_MAX_BYTES],
        failure=fact.failure,
        type=fact.error_type,
        traceback=fact.traceback[:ERROR_SIZE_MAX_BYTES],
    )
    if fact.failure == "retry_after":
        return after_error(scope, error, clamped_retry_after_ms(fact.retry_after_ms))
    return after_error(scope, error)


def after_error(scope: Scope, error: StepError, delay: int | None = None) -> StepState:
    """Try again later when the policy allows, else give up. The next attempt is counted when it begins."""
    policy, attempt = scope.policy, scope.state.attempt - scope.state.spent
    if policy is None or error.failure == "non_retriable" or attempt >= policy.attempts:
        return failed(scope, error)
    if delay is None:
        delay = delay_ms(policy, attempt, f"{scope.run.id}/{scope.ticket}")
    return waiting(scope, scope.at_ms + max(1, delay), error=error)


def dispatches(scope: Scope) -> tuple[Command, ...]:
    """The ticket of a queued step is in force; one that is held asks its gate, when it is its turn in the run."""
    if scope.state.status == HELD and not scope.state.in_line:
        return (AskGate(scope.run.id, scope.ticket, scope.node.gate, scope.node.position),)
    if scope.state.status != QUEUED:
        return ()
    return (Dispatch(scope.run.id, scope.ticket, scope.node.position),)


def call_settled(scope: Scope, position: int) -> StepState:
    """A durable call of a handler is settled: a handler that parked on it is entered again."""
    state = scope.state
    return resumed(scope) if state.status == WAITING and state.parked == position else state


def answered_once(scope: Scope, fact: Outcome | StepPlanned) -> StepState:
    """The answer of a handler that is to run once: a value, or a failure."""
    if isinstance(fact, StepSucceeded):
        return completed(scope, fact.output)
    if isinstance(fact, StepFailed):
        return after_failure(scope, fact)
    return wrong_answer(scope, fact)


def wrong_answer(scope: Scope, fact: StepContinued | StepPlanned) -> StepState:
    """An answer that only another kind of step may give."""
    plan = isinstance(fact, StepPlanned)
    what, only = ("Plan", "a planner") if plan else ("Continue", "an agent loop")
    kind = scope.node.step.kind.replace("_", " ")
    article = "an" if kind[0] in "aeiou" else "a"
    message = f"{article} {kind} answered {what}; only {only} may"
    return failed(scope, StepError(message, "non_retriable"))
