"""A map: one ticket for each element of an array, their outputs gathered in order.

Items are steps that the map owns, ``<map>#0``, ``<map>#1`` …, each with the map's retry policy and
time limit. Failed items are tolerated as far as the map says: their places in the output hold ``null``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from dagnats.core.attempts import first_attempt
from dagnats.core.commands import Command
from dagnats.core.events import Outcome, StepPlanned
from dagnats.core.inputs import NULL
from dagnats.core.loops import LOOP_KEYS, loop_problems, read_loop, write_loop
from dagnats.core.model import MapConfig, Problem, Step
from dagnats.core.problems import count_problems
from dagnats.core.reader import Reader
from dagnats.core.scope import Growth, Next, Scope, completed, failed, waiting
from dagnats.core.state import FAILED, Owned, StepError, StepState
from dagnats.core.templates import PathMissing
from dagnats.limits import MAP_ITEMS_DEFAULT, MAP_ITEMS_MAX

CONFIG_KEYS: Final = ("max_items", "concurrency", "tolerate", "loop")
NEEDS_TASK: Final = True
_ALL_PERCENT: Final = 100
_PERCENT: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?%\Z")
_items = msgspec.json.Decoder(list[Raw])


# -- in files --------------------------------------------------------------------------------------


def read(reader: Reader, where: str, settings: Mapping[str, Any]) -> MapConfig:
    """The bounds; ``tolerate`` is a count or a percentage such as "5%"."""
    count, percent = _tolerance(reader, f"{where}.tolerate", settings.get("tolerate"))
    loop = reader.get(where, settings, "loop", dict, None)
    if loop is not None:
        reader.keys(f"{where}.loop", loop, LOOP_KEYS)
    return MapConfig(
        max_items=reader.get(where, settings, "max_items", int, MAP_ITEMS_DEFAULT),
        concurrency=reader.get(where, settings, "concurrency", int, 0),
        tolerate=count,
        tolerate_percent=percent,
        loop=read_loop(reader, f"{where}.loop", loop) if loop is not None else None,
    )


def _tolerance(reader: Reader, where: str, written: object) -> tuple[int, float]:
    if written is None:
        return 0, 0.0
    try:
        return tolerance(written)
    except ValueError as error:
        reader.problem(where, str(error), 'write for example 3 or "5%"')
        return 0, 0.0


def tolerance(written: object) -> tuple[int, float]:
    """How many items may fail: a count, or a percentage; one of the two is 0.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(written, int) and not isinstance(written, bool) and written >= 0:
        return written, 0.0
    if isinstance(written, str) and _PERCENT.match(written):
        percent = float(written[:-1])
        if percent <= _ALL_PERCENT:
            return 0, percent
    raise ValueError(f"{written!r} is neither a count of items nor a percentage")


def write(config: MapConfig) -> dict[str, Any]:
    """The canonical form."""
    data: dict[str, Any] = {"max_items": config.max_items}
    if config.concurrency:
        data["concurrency"] = config.concurrency
    if config.tolerate or config.tolerate_percent:
        data["tolerate"] = config.tolerate or f"{config.tolerate_percent:g}%"
    if config.loop:
        data["loop"] = write_loop(config.loop)
    return data


def problems(where: str, step: Step) -> Iterator[Problem]:
    """Bounds, and one array to go over."""
    config, where = _config(step), f"{where}.config"
    yield from count_problems(f"{where}.max_items", config.max_items, 1, MAP_ITEMS_MAX)
    yield from count_problems(f"{where}.concurrency", config.concurrency, 0, MAP_ITEMS_MAX)
    if config.loop:
        yield from loop_problems(f"{where}.loop", config.loop)
    if step.input is None and len(step.depends_on) != 1:
        what = f"a map has exactly one dependency, not {len(step.depends_on)}"
        cure = "depend on the step that returns the array, or give the map an input"
        yield Problem(where.removesuffix(".config"), what, cure)


# -- in runs ---------------------------------------------------------------------------------------


def enter(scope: Scope) -> Next:
    """Look at the array, and let as many items begin as may run at once."""
    config = _config(scope.node.step)
    try:
        items = _items.decode(scope.input())
    except PathMissing as missing:
        return _refused(scope, str(missing))
    except (msgspec.DecodeError, RecursionError):
        return _refused(scope, "a map goes over an array, and its input is none")
    if len(items) > config.max_items:
        return _refused(scope, f"the array has {len(items)} items; max_items is {config.max_items}")
    attempt = first_attempt(scope)
    if not items:
        return replace(completed(scope, Raw(b"[]")), attempt=attempt)
    assert scope.run.graph is not None  # noqa: S101  (a scope is of a step in a graph)
    first, count = len(scope.run.graph.nodes), len(items)
    owned = Owned(first, count, started=min(config.concurrency or count, count))
    state = waiting(scope, attempt=attempt, owned=owned)
    return Growth(state, items=count, inputs=tuple(items))


def _refused(scope: Scope, message: str) -> StepState:
    text = f'input of step "{scope.node.step.id}": {message}'
    return failed(scope, StepError(text, "invalid_input"), attempt=first_attempt(scope))


def on_fact(scope: Scope, fact: Outcome | StepPlanned) -> StepState:
    """Only its items have tickets."""
    return scope.state


def on_due(scope: Scope) -> StepState:
    """It has no deadline of its own."""
    return scope.state


def on_owned(scope: Scope, position: int) -> StepState:
    """An item is done, or has failed for good."""
    own = scope.state.owned
    if own is None:
        return scope.state
    item = scope.states[position]
    lost = own.lost + (item.status == FAILED)
    if item.status == FAILED and lost > _tolerated(scope.node.step, own.count):
        return failed(scope, _failure(scope, position, item, lost), cause=position)
    own = replace(
        own,
        done=own.done + (item.status != FAILED),
        lost=lost,
        started=min(own.started + 1, own.count),
    )
    if own.done + own.lost < own.count:
        return replace(scope.state, owned=own)
    outputs = [
        scope.states[place].output or NULL for place in range(own.first, own.first + own.count)
    ]
    return replace(completed(scope, Raw(msgspec.json.encode(outputs))), owned=own)


def _tolerated(step: Step, count: int) -> int:
    config = _config(step)
    return config.tolerate or int(count * config.tolerate_percent / _ALL_PERCENT)


def _failure(scope: Scope, position: int, item: StepState, lost: int) -> StepError:
    own = scope.state.owned
    number = position - (own.first if own else 0)
    reason = item.error.message if item.error else "failed"
    text = f"item {number}: {reason}"
    if lost > 1:
        text = f"{lost} items failed, the last was {text}"
    return StepError(text, item.error.failure if item.error else "failed")


def in_force(scope: Scope) -> tuple[Command, ...]:
    """Its items are steps of the graph, and have their own."""
    return ()


def _config(step: Step) -> MapConfig:
    return step.config if isinstance(step.config, MapConfig) else MapConfig()
