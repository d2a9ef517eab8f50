"""Signals of a run: kept in the order they came, each consumed once by whoever waits first."""

from __future__ import annotations

from typing import TypeVar

from msgspec.structs import replace

from dagnats.core.draft import Draft
from dagnats.core.events import SignalReceived
from dagnats.core.graph import Node
from dagnats.core.kinds import wait_for_signal
from dagnats.core.model import SignalConfig
from dagnats.core.run import Run
from dagnats.core.state import WAITING
from dagnats.limits import SIGNALS_KEPT_MAX

T = TypeVar("T")


def full(run: Run) -> bool:
    """Whether a run keeps so many signals that it takes no more until some are consumed."""
    return sum(map(len, run.signals.values())) >= SIGNALS_KEPT_MAX


def received(draft: Draft, fact: SignalReceived) -> None:
    """A signal came. Beyond what is kept for later, it is not taken."""
    if full(draft.run):
        return
    kept = draft.run.signals
    queue = (*kept.get(fact.name, ()), fact.payload)
    draft.run = replace(draft.run, signals={**kept, fact.name: queue})
    _deliver(draft, fact.name)


def awaited(draft: Draft, node: Node) -> None:
    """A step waits from now on."""
    name = node.step.config.name if isinstance(node.step.config, SignalConfig) else ""
    waits = draft.run.waits
    line = tuple(place for place in waits.get(name, ()) if draft[place].status == WAITING)
    draft.run = replace(draft.run, waits={**waits, name: (*line, node.position)})
    _deliver(draft, name)


def _deliver(draft: Draft, name: str) -> None:
    queue, line = draft.run.signals.get(name, ()), draft.run.waits.get(name, ())
    while queue and line:
        position, line = line[0], line[1:]
        if draft[position].status == WAITING:
            scope = draft.scope(draft.graph.nodes[position])
            draft.put(position, wait_for_signal.on_signal(scope, queue[0]))
            queue = queue[1:]
    draft.run = replace(
        draft.run,
        signals=_with(draft.run.signals, name, queue),
        waits=_with(draft.run.waits, name, line),
    )


def _with(
    table: dict[str, tuple[T, ...]], name: str, values: tuple[T, ...]
) -> dict[str, tuple[T, ...]]:
    others = {key: value for key, value in table.items() if key != name}
    return {**others, name: values} if values else others
