"""A sleep: for a while, until a cron expression's next match, or until a time found in the run's input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec.structs import replace

from dagnats.core import durations, instants
from dagnats.core.attempts import first_attempt
from dagnats.core.commands import Command
from dagnats.core.events import Outcome, StepPlanned
from dagnats.core.inputs import NULL
from dagnats.core.model import Problem, SleepConfig, Step
from dagnats.core.problems import duration_problems, path_problems
from dagnats.core.reader import Reader
from dagnats.core.scope import Scope, completed, failed, waiting
from dagnats.core.state import StepError, StepState
from dagnats.core.templates import PathMissing, path_of, select
from dagnats.limits import DURATION_MAX_MS

CONFIG_KEYS: Final = ("duration", "cron", "timezone", "until_input_path")
NEEDS_TASK: Final = False
_ONE: Final = 'give exactly one of duration (such as "1h"), cron and until_input_path'


# -- in files --------------------------------------------------------------------------------------


def read(reader: Reader, where: str, settings: Mapping[str, Any]) -> SleepConfig:
    """Exactly one of the three."""
    given = [
        key for key in ("duration", "cron", "until_input_path") if settings.get(key) is not None
    ]
    if len(given) > 1:
        reader.problem(where, f"it has {' and '.join(given)}", _ONE)
    return SleepConfig(
        duration_ms=reader.duration(where, settings, "duration"),
        cron=reader.get(where, settings, "cron", str, ""),
        timezone=reader.get(where, settings, "timezone", str, ""),
        until_input_path=reader.get(where, settings, "until_input_path", str, ""),
    )


def write(config: SleepConfig) -> dict[str, Any]:
    """The canonical form."""
    if config.until_input_path:
        return {"until_input_path": config.until_input_path}
    if not config.cron:
        return {"duration": durations.text_of_ms(config.duration_ms)}
    zone = {"timezone": config.timezone} if config.timezone else {}
    return {"cron": config.cron, **zone}


def problems(where: str, step: Step) -> Iterator[Problem]:
    """A time that can be worked out."""
    config, where = _config(step), f"{where}.config"
    if not (config.duration_ms or config.cron or config.until_input_path):
        yield Problem(where, "it would end at once", _ONE)
    yield from duration_problems(f"{where}.duration", config.duration_ms, DURATION_MAX_MS)
    yield from path_problems(f"{where}.until_input_path", config.until_input_path)
    if config.cron:
        for field, message, cure in instants.cron_problems(config.cron, config.timezone):
            yield Problem(f"{where}.{field}", message, cure)
    elif config.timezone:
        yield Problem(f"{where}.timezone", "only a cron expression has a zone", "remove it")


# -- in runs ---------------------------------------------------------------------------------------


def enter(scope: Scope) -> StepState:
    """Work out when it ends; what is over already is done at once."""
    try:
        due = _until_ms(scope, _config(scope.node.step))
    except (PathMissing, ValueError) as problem:
        text = f'sleep of step "{scope.node.step.id}": {problem}'
        return failed(scope, StepError(text, "invalid_input"), attempt=first_attempt(scope))
    if due <= scope.at_ms:
        return replace(completed(scope, NULL), attempt=first_attempt(scope))
    return waiting(scope, due, attempt=first_attempt(scope), since_ms=scope.at_ms)


def _until_ms(scope: Scope, config: SleepConfig) -> int:
    if config.cron:
        return instants.next_match_ms(config.cron, config.timezone, scope.at_ms)
    if not config.until_input_path:
        return scope.at_ms + config.duration_ms
    path = path_of(config.until_input_path)
    due = instants.instant_ms(select(scope.lookup()(""), path, "run input"))
    if due - scope.at_ms > DURATION_MAX_MS:
        raise ValueError(f"it would end more than {DURATION_MAX_MS // 86_400_000} days from now")
    return due


def on_fact(scope: Scope, fact: Outcome | StepPlanned) -> StepState:
    """No worker has a ticket for it."""
    return scope.state


def on_due(scope: Scope) -> StepState:
    """It is over."""
    return completed(scope, NULL)


def on_owned(scope: Scope, position: int) -> StepState:
    """It owns no steps."""
    return scope.state


def in_force(scope: Scope) -> tuple[Command, ...]:
    """The run's timer is all it needs."""
    return ()


def _config(step: Step) -> SleepConfig:
    return step.config if isinstance(step.config, SleepConfig) else SleepConfig()
