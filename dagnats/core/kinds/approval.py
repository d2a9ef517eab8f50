"""An approval: people are asked, and the run goes on, or down its failure path, by what they say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dagnats.core.attempts import first_attempt
from dagnats.core.commands import AskApproval, Command
from dagnats.core.events import ApprovalDecided, Outcome, StepPlanned
from dagnats.core.model import ApprovalConfig, Problem, Step
from dagnats.core.questions import (
    QUESTION_KEYS,
    asked,
    expired,
    judged,
    output_of,
    question_problems,
    read_question,
    write_question,
)
from dagnats.core.scope import Scope, completed, failed
from dagnats.core.state import WAITING, StepState

CONFIG_KEYS: Final = QUESTION_KEYS
NEEDS_TASK: Final = False

read, write = read_question, write_question


def problems(where: str, step: Step) -> Iterator[Problem]:
    """A question with a form and a time that can be used."""
    yield from question_problems(f"{where}.config", _config(step))


def enter(scope: Scope) -> StepState:
    """Ask."""
    return asked(scope, _config(scope.node.step), first_attempt(scope))


def on_fact(scope: Scope, fact: Outcome | StepPlanned) -> StepState:
    """No worker has a ticket for it."""
    return scope.state


def on_decision(scope: Scope, fact: ApprovalDecided) -> StepState:
    """Somebody answered."""
    verdict = judged(scope, _config(scope.node.step), fact)
    if verdict is None:
        return scope.state
    if verdict.error is not None:
        return failed(scope, verdict.error)
    return completed(scope, output_of(fact)) if verdict.approved else verdict.state


def on_due(scope: Scope) -> StepState:
    """Nobody answered in time."""
    return failed(scope, expired())


def on_owned(scope: Scope, position: int) -> StepState:
    """It owns no steps."""
    return scope.state


def in_force(scope: Scope) -> tuple[Command, ...]:
    """The question, while it is open."""
    if scope.state.status != WAITING:
        return ()
    return (AskApproval(scope.run.id, scope.ticket, scope.node.position),)


def _config(step: Step) -> ApprovalConfig:
    return step.config if isinstance(step.config, ApprovalConfig) else ApprovalConfig()
