"""A sub-workflow: a run of another workflow, whose output is the step's; or one that is only started.

Each attempt is a child run of its own. The child ends with its parent unless it is detached.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from dagnats.core import durations
from dagnats.core.attempts import after_error, first_attempt
from dagnats.core.commands import CancelChild, Command, StartChild
from dagnats.core.events import ChildClosed, ChildStarted, Outcome, StepPlanned
from dagnats.core.inputs import NULL
from dagnats.core.model import ChildConfig, Problem, Step
from dagnats.core.problems import name_problems
from dagnats.core.reader import Reader
from dagnats.core.scope import Scope, completed, failed, waiting
from dagnats.core.state import CANCELLED, COMPLETED, FAILED, WAITING, StepError, StepState
from dagnats.limits import DEPTH_MAX

CONFIG_KEYS: Final = ("workflow", "detach")
NEEDS_TASK: Final = False


# -- in files --------------------------------------------------------------------------------------


def read(reader: Reader, where: str, settings: Mapping[str, Any]) -> ChildConfig:
    """The workflow's name."""
    return ChildConfig(
        workflow=reader.get(where, settings, "workflow", str, ""),
        detach=reader.get(where, settings, "detach", bool, False),
    )


def write(config: ChildConfig) -> dict[str, Any]:
    """The canonical form."""
    return {"workflow": config.workflow, **({"detach": True} if config.detach else {})}


def problems(where: str, step: Step) -> Iterator[Problem]:
    """A workflow's name."""
    yield from name_problems(f"{where}.config.workflow", _config(step).workflow)


# -- in runs ---------------------------------------------------------------------------------------


def enter(scope: Scope) -> StepState:
    """Start the first child."""
    attempt = first_attempt(scope)
    if scope.run.depth >= DEPTH_MAX:
        text = (
            f"depth: a run may have children down to {DEPTH_MAX} levels below its root; "
            f"this one is on level {scope.run.depth}"
        )
        return failed(scope, StepError(text, "depth"), attempt=attempt)
    return _started(scope, attempt)


def _started(scope: Scope, attempt: int) -> StepState:
    limit = scope.node.step.timeout_ms
    bound = scope.at_ms + limit if limit else 0
    return waiting(scope, attempt=attempt, since_ms=scope.at_ms, bound_ms=bound, error=None)


def on_fact(scope: Scope, fact: Outcome | StepPlanned) -> StepState:
    """No worker has a ticket for it."""
    return scope.state


def on_child(scope: Scope, fact: ChildStarted | ChildClosed) -> StepState:
    """The child is under way, or has ended."""
    if isinstance(fact, ChildStarted):
        if not _config(scope.node.step).detach:
            return scope.state
        return completed(scope, Raw(msgspec.json.encode({"child_run_id": fact.child})))
    if fact.status == COMPLETED:
        return completed(scope, fact.output or NULL)
    reason = fact.error or fact.status
    return _ended_badly(scope, StepError(f"child workflow failed: {reason}", "child_failed"))


def on_due(scope: Scope) -> StepState:
    """A back-off is over, or the child has taken too long."""
    if scope.state.due_ms:
        return _started(scope, scope.state.attempt + 1)
    limit = durations.text_of_ms(scope.node.step.timeout_ms)
    return _ended_badly(
        scope, StepError(f"timeout: the child run took longer than {limit}", "timeout")
    )


def _ended_badly(scope: Scope, error: StepError) -> StepState:
    following = after_error(scope, error)
    return msgspec.structs.replace(following, bound_ms=0)


def on_owned(scope: Scope, position: int) -> StepState:
    """It owns no steps."""
    return scope.state


def in_force(scope: Scope) -> tuple[Command, ...]:
    """The child, while it is waited for; and its end, when it is no longer."""
    state, detach = scope.state, _config(scope.node.step).detach
    if state.status == WAITING and not state.due_ms:
        return (StartChild(scope.run.id, scope.ticket, scope.node.position),)
    left_alone = state.status in (CANCELLED, FAILED) or (state.status == WAITING and state.due_ms)
    if left_alone and state.attempt and not detach and _may_run_on(state):
        return (CancelChild(scope.run.id, scope.ticket),)
    return ()


def _may_run_on(state: StepState) -> bool:
    """Whether the child of the current attempt need not have ended by itself."""
    return state.error is None or state.error.failure not in ("child_failed", "depth")


def _config(step: Step) -> ChildConfig:
    return step.config if isinstance(step.config, ChildConfig) else ChildConfig(workflow="")
