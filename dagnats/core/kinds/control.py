"""What a granted handler asks of the control plane, as a durable call: asked once, answered once.

It is decided outside (``scheduler.control``), where the policy and what the tree of runs has used up are
known. Workflow files cannot have such a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dagnats.core.attempts import first_attempt
from dagnats.core.commands import AskControl, Command
from dagnats.core.events import ControlDecided, Outcome, StepPlanned
from dagnats.core.model import ControlConfig, Problem, Step
from dagnats.core.reader import Reader
from dagnats.core.scope import Scope, completed, failed, waiting
from dagnats.core.state import WAITING, StepError, StepState

CONFIG_KEYS: Final = ("action", "name", "promote")
NEEDS_TASK: Final = False
ACTIONS: Final = ("register", "start", "budget")


def read(reader: Reader, where: str, settings: Mapping[str, Any]) -> ControlConfig:
    """What is asked for."""
    return ControlConfig(
        action=reader.get(where, settings, "action", str, ""),
        name=reader.get(where, settings, "name", str, ""),
        promote=reader.get(where, settings, "promote", bool, default=False),
    )


def write(config: ControlConfig) -> dict[str, Any]:
    """The canonical form."""
    data: dict[str, Any] = {"action": config.action}
    if config.name:
        data["name"] = config.name
    return {**data, **({"promote": True} if config.promote else {})}


def problems(where: str, step: Step) -> Iterator[Problem]:
    """An action that there is."""
    action = step.config.action if isinstance(step.config, ControlConfig) else ""
    if action not in ACTIONS:
        cure = f"actions: {', '.join(ACTIONS)}"
        yield Problem(f"{where}.config.action", f'unknown action "{action}"', cure)


# -- in runs ---------------------------------------------------------------------------------------


def enter(scope: Scope) -> StepState:
    """Ask."""
    return waiting(scope, attempt=first_attempt(scope), since_ms=scope.at_ms)


def on_fact(scope: Scope, fact: Outcome | StepPlanned) -> StepState:
    """No worker has a ticket for it."""
    return scope.state


def on_decision(scope: Scope, fact: ControlDecided) -> StepState:
    """It was done, or refused."""
    if fact.kind:
        return failed(scope, StepError(fact.error, fact.kind))
    return completed(scope, fact.output)


def on_due(scope: Scope) -> StepState:
    """It has no deadline."""
    return scope.state


def on_owned(scope: Scope, position: int) -> StepState:
    """It owns no steps."""
    return scope.state


def in_force(scope: Scope) -> tuple[Command, ...]:
    """The question, until it is decided."""
    if scope.state.status != WAITING:
        return ()
    return (AskControl(scope.run.id, scope.ticket, scope.node.position),)
