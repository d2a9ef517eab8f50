"""Answering whoever waits for the run's response, in the middle of it; later steps go on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from dagnats.core.attempts import first_attempt
from dagnats.core.commands import Command, Respond
from dagnats.core.events import Outcome, StepPlanned
from dagnats.core.model import Problem, RespondConfig, Step
from dagnats.core.problems import count_problems, metadata_problems, path_problems
from dagnats.core.reader import Reader
from dagnats.core.scope import Scope, completed, failed
from dagnats.core.state import COMPLETED, StepError, StepState
from dagnats.core.templates import PathMissing, path_of, select

CONFIG_KEYS: Final = ("status", "headers", "body_from", "content_type")
NEEDS_TASK: Final = False
_STATUS = (200, 599)


# -- in files --------------------------------------------------------------------------------------


def read(reader: Reader, where: str, settings: Mapping[str, Any]) -> RespondConfig:
    """Status, headers and where the body is."""
    return RespondConfig(
        status=reader.get(where, settings, "status", int, 200),
        headers=reader.texts(where, settings, "headers"),
        body_from=reader.get(where, settings, "body_from", str, ""),
        content_type=reader.get(where, settings, "content_type", str, "application/json"),
    )


def write(config: RespondConfig) -> dict[str, Any]:
    """The canonical form."""
    data: dict[str, Any] = {"status": config.status, "content_type": config.content_type}
    for key in ("headers", "body_from"):
        if getattr(config, key):
            data[key] = getattr(config, key)
    return data


def problems(where: str, step: Step) -> Iterator[Problem]:
    """A status that ends a request, and headers that are some."""
    config, where = _config(step), f"{where}.config"
    yield from count_problems(f"{where}.status", config.status, *_STATUS)
    yield from metadata_problems(f"{where}.headers", config.headers)
    for name, value in config.headers.items():
        if any(char in name + value for char in "\r\n") or not name:
            what = f"{name!r}: {value!r} is no header"
            yield Problem(f"{where}.headers", what, "give it a name, and remove line breaks")
    yield from path_problems(f"{where}.body_from", config.body_from)


# -- in runs ---------------------------------------------------------------------------------------


def enter(scope: Scope) -> StepState:
    """The body is the input, or a part of it; that is all there is to do."""
    path = path_of(_config(scope.node.step).body_from)
    attempt = first_attempt(scope)
    try:
        body = select(scope.input(), path, "the response's body")
    except PathMissing as missing:
        text = f'step "{scope.node.step.id}": {missing}'
        return failed(scope, StepError(text, "invalid_input"), attempt=attempt)
    return replace(completed(scope, body), attempt=attempt)


def on_fact(scope: Scope, fact: Outcome | StepPlanned) -> StepState:
    """No worker has a ticket for it."""
    return scope.state


def on_due(scope: Scope) -> StepState:
    """It has no deadline."""
    return scope.state


def on_owned(scope: Scope, position: int) -> StepState:
    """It owns no steps."""
    return scope.state


def in_force(scope: Scope) -> tuple[Command, ...]:
    """The response, once there is one."""
    if scope.state.status != COMPLETED:
        return ()
    return (Respond(scope.run.id, scope.ticket, scope.node.position),)


def _config(step: Step) -> RespondConfig:
    return step.config if isinstance(step.config, RespondConfig) else RespondConfig()
