"""Waiting for an external event: one of a name, whose field equals a value of the run.

Its payload is the step's output; when none comes in time, that is ``{"timeout": true}``, a success.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Raw

from dagnats.core import durations
from dagnats.core.attempts import first_attempt
from dagnats.core.commands import AwaitEvent, Command
from dagnats.core.events import EventReceived, Outcome, StepPlanned
from dagnats.core.matching import match_problems, read_match, wanted, write_match
from dagnats.core.model import EventConfig, Problem, Step
from dagnats.core.problems import name_problems, required_duration
from dagnats.core.reader import Reader
from dagnats.core.scope import Scope, completed, failed, waiting
from dagnats.core.state import WAITING, StepError, StepState
from dagnats.core.templates import PathMissing
from dagnats.limits import DURATION_MAX_MS, EVENT_LOOKBACK_MS

CONFIG_KEYS: Final = ("event", "match", "timeout")
NEEDS_TASK: Final = False
_TIMED_OUT: Final = Raw(b'{"timeout":true}')


# -- in files --------------------------------------------------------------------------------------


def read(reader: Reader, where: str, settings: Mapping[str, Any]) -> EventConfig:
    """The event, what it must match, and for how long to wait."""
    return EventConfig(
        event=reader.get(where, settings, "event", str, ""),
        match=read_match(reader, where, settings),
        timeout_ms=reader.duration(where, settings, "timeout"),
    )


def write(config: EventConfig) -> dict[str, Any]:
    """The canonical form."""
    match = {"match": write_match(config.match)} if config.match else {}
    return {"event": config.event, **match, "timeout": durations.text_of_ms(config.timeout_ms)}


def problems(where: str, step: Step) -> Iterator[Problem]:
    """A name, a time, and a value that is there by then."""
    config, where = _config(step), f"{where}.config"
    yield from name_problems(f"{where}.event", config.event)
    yield from required_duration(f"{where}.timeout", config.timeout_ms, DURATION_MAX_MS)
    yield from match_problems(f"{where}.match", config.match, step.depends_on)


# -- in runs ---------------------------------------------------------------------------------------


def enter(scope: Scope) -> StepState:
    """Look out for it from now on (and a little back)."""
    config = _config(scope.node.step)
    try:
        value = wanted(config.match, scope.lookup())
    except PathMissing as missing:
        text = f'event "{config.event}" of step "{scope.node.step.id}": {missing}'
        return failed(scope, StepError(text, "invalid_input"), attempt=first_attempt(scope))
    due = scope.at_ms + config.timeout_ms
    return waiting(scope, due, attempt=first_attempt(scope), match=value, since_ms=scope.at_ms)


def on_fact(scope: Scope, fact: Outcome | StepPlanned) -> StepState:
    """No worker has a ticket for it."""
    return scope.state


def on_event(scope: Scope, fact: EventReceived) -> StepState:
    """It has come."""
    return completed(scope, fact.payload)


def on_due(scope: Scope) -> StepState:
    """It has not come in time."""
    return completed(scope, _TIMED_OUT)


def on_owned(scope: Scope, position: int) -> StepState:
    """It owns no steps."""
    return scope.state


def in_force(scope: Scope) -> tuple[Command, ...]:
    """The look-out, while it waits."""
    state, config = scope.state, _config(scope.node.step)
    if state.status != WAITING:
        return ()
    since = max(scope.run.started_ms, state.since_ms - EVENT_LOOKBACK_MS)
    left = config.match.left if config.match else ""
    return (AwaitEvent(scope.run.id, scope.ticket, config.event, left, state.match, since),)


def _config(step: Step) -> EventConfig:
    return step.config if isinstance(step.config, EventConfig) else EventConfig(event="")
