"""Waiting for a signal: data that somebody sends to the run, consumed once, in the order it was sent.

Signals that came before anybody waited are kept for whoever waits first (``core.signals``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Raw

from dagnats.core import durations
from dagnats.core.attempts import first_attempt
from dagnats.core.commands import Command
from dagnats.core.events import Outcome, StepPlanned
from dagnats.core.model import Problem, SignalConfig, Step
from dagnats.core.problems import name_problems, required_duration
from dagnats.core.reader import Reader
from dagnats.core.scope import Scope, completed, failed, waiting
from dagnats.core.state import StepError, StepState
from dagnats.limits import DURATION_MAX_MS, SIGNAL_WAIT_DEFAULT_MS

CONFIG_KEYS: Final = ("name", "timeout")
NEEDS_TASK: Final = False


# -- in files --------------------------------------------------------------------------------------


def read(reader: Reader, where: str, settings: Mapping[str, Any]) -> SignalConfig:
    """The signal's name, and for how long to wait."""
    given = settings.get("timeout") is not None
    return SignalConfig(
        name=reader.get(where, settings, "name", str, ""),
        timeout_ms=reader.duration(where, settings, "timeout") if given else SIGNAL_WAIT_DEFAULT_MS,
    )


def write(config: SignalConfig) -> dict[str, Any]:
    """The canonical form."""
    return {"name": config.name, "timeout": durations.text_of_ms(config.timeout_ms)}


def problems(where: str, step: Step) -> Iterator[Problem]:
    """A name and a time."""
    config, where = _config(step), f"{where}.config"
    yield from name_problems(f"{where}.name", config.name)
    yield from required_duration(f"{where}.timeout", config.timeout_ms, DURATION_MAX_MS)


# -- in runs ---------------------------------------------------------------------------------------


def enter(scope: Scope) -> StepState:
    """Wait; ``core.signals`` delivers."""
    due = scope.at_ms + _config(scope.node.step).timeout_ms
    return waiting(scope, due, attempt=first_attempt(scope), since_ms=scope.at_ms)


def on_fact(scope: Scope, fact: Outcome | StepPlanned) -> StepState:
    """No worker has a ticket for it."""
    return scope.state


def on_signal(scope: Scope, payload: Raw) -> StepState:
    """It has come."""
    return completed(scope, payload)


def on_due(scope: Scope) -> StepState:
    """It has not come in time."""
    config = _config(scope.node.step)
    limit = durations.text_of_ms(config.timeout_ms)
    return failed(scope, StepError(f'no signal "{config.name}" within {limit}', "timeout"))


def on_owned(scope: Scope, position: int) -> StepState:
    """It owns no steps."""
    return scope.state


def in_force(scope: Scope) -> tuple[Command, ...]:
    """The run's timer is all it needs."""
    return ()


def _config(step: Step) -> SignalConfig:
    return step.config if isinstance(step.config, SignalConfig) else SignalConfig(name="")
