"""What a step kind sees of its run when it decides, and the answers that kinds share."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from dagnats.core.commands import Command, Dispatch
from dagnats.core.events import StepFailed
from dagnats.core.graph import Node
from dagnats.core.model import ABSENT, RetryPolicy
from dagnats.core.retry import clamped_retry_after_ms, delay_ms
from dagnats.core.state import COMPLETED, FAILED, QUEUED, WAITING, StepError, StepState, ticket_text
from dagnats.limits import ERROR_SIZE_MAX_BYTES


class Scope(Struct, frozen=True):
    """One step at one moment: ``at_ms`` is the log's time of the fact that is being folded."""

    run: str
    node: Node
    state: StepState
    policy: RetryPolicy | None
    at_ms: int


def queued(scope: Scope, attempt: int, iteration: int, **changes: object) -> StepState:
    """The step with a ticket in force."""
    began = scope.state.began_ms or scope.at_ms
    return replace(
        scope.state,
        status=QUEUED,
        attempt=attempt,
        iteration=iteration,
        due_ms=0,
        since_ms=scope.at_ms,
        began_ms=began,
        **changes,
    )


def waiting(scope: Scope, due_ms: int, **changes: object) -> StepState:
    """The step parked on a timer."""
    return replace(scope.state, status=WAITING, due_ms=due_ms, **changes)


def completed(scope: Scope, output: object) -> StepState:
    """The step done, with its output."""
    return replace(
        scope.state,
        status=COMPLETED,
        output=output,
        error=None,
        checkpoint=ABSENT,
        ended_ms=scope.at_ms,
    )


def failed(scope: Scope, error: StepError) -> StepState:
    """The step given up."""
    return replace(scope.state, status=FAILED, due_ms=0, error=error, ended_ms=scope.at_ms)


def after_failure(scope: Scope, fact: StepFailed) -> StepState:
    """Try again later when the policy allows, else give up. The next attempt is counted when it begins."""
    error = StepError(
        message=fact.error[:ERROR_SIZE_MAX_BYTES],
        failure=fact.failure,
        type=fact.error_type,
        traceback=fact.traceback[:ERROR_SIZE_MAX_BYTES],
    )
    policy, attempt = scope.policy, scope.state.attempt
    if policy is None or fact.failure == "non_retriable" or attempt >= policy.attempts:
        return failed(scope, error)
    if fact.failure == "retry_after":
        delay = clamped_retry_after_ms(fact.retry_after_ms)
    else:
        delay = delay_ms(policy, attempt, f"{scope.run}/{fact.ticket}")
    return waiting(scope, scope.at_ms + delay, error=error)


def dispatches(scope: Scope) -> tuple[Command, ...]:
    """The ticket of a queued step is in force, and nothing else."""
    if scope.state.status != QUEUED:
        return ()
    ticket = ticket_text(scope.node.step.id, scope.state)
    return (Dispatch(scope.run, ticket, scope.node.position),)
