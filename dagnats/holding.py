"""Events held back, as users write and see it: ``Debounce``, ``Batch``, and what a trigger holds now."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from dagnats.core.durations import Duration
from dagnats.core.triggers.held import Group, Held
from dagnats.core.triggers.model import Batch as _Batch
from dagnats.core.triggers.model import Debounce as _Debounce
from dagnats.core.triggers.model import Fire, Hold
from dagnats.core.views import text_of_time
from dagnats.errors import DefinitionError
from dagnats.limits import HELD_SHOWN_MAX
from dagnats.options import milliseconds, whole_number


class Debounce:
    """Of events in quick succession, the last one starts a run: ``Debounce("5s", timeout="1m", key="id")``.

    Args:
        period: A run starts when no event has come for so long; at most 7 days.
        timeout: Nothing is held longer than this, even if events keep coming; default: 7 days.
        key: A path into the event's data: each value there is held by itself. Default: all together.

    Raises:
        DefinitionError.
    """

    __slots__ = ("hold",)

    def __init__(self, period: Duration, *, timeout: Duration | None = None, key: str = "") -> None:
        self.hold = _Debounce(
            milliseconds("Debounce: period", period),
            milliseconds("Debounce: timeout", timeout),
            _path("Debounce", key),
        )

    def __repr__(self) -> str:
        return f"Debounce({self.hold.period_ms / 1000:g}, key={self.hold.key!r})"


class Batch:
    """Events are collected into a list, which starts one run: ``Batch(100, timeout="5s", key="tenant")``.

    Args:
        max_size: A run starts when there are so many; at most 1,000.
        timeout: Or when the first one has waited so long; at most 5 minutes.
        key: A path into the event's data: each value there is collected by itself. Default: all together.

    Raises:
        DefinitionError.
    """

    __slots__ = ("hold",)

    def __init__(self, max_size: int, *, timeout: Duration, key: str = "") -> None:
        self.hold = _Batch(
            whole_number("Batch: max_size", max_size, least=1),
            milliseconds("Batch: timeout", timeout),
            _path("Batch", key),
        )

    def __repr__(self) -> str:
        return f"Batch({self.hold.max_size}, key={self.hold.key!r})"


def _path(what: str, key: object) -> str:
    if not isinstance(key, str):
        raise DefinitionError(f'{what}: key={key!r}; write a path into the data: "customer.id"')
    return key


def rehearse(hold: Hold, times_ms: Sequence[int]) -> list[tuple[int, list[int]]]:
    """What would become of events without a key that come at these times: when runs start, with which (from 1)."""
    held, runs = Held(), list[tuple[int, list[int]]]()

    def note(fires: list[Fire]) -> None:
        for fire in fires:
            numbers = msgspec.json.decode(fire.data)
            runs.append((held.now_ms, numbers if isinstance(numbers, list) else [numbers]))

    def wait_until(at_ms: float) -> None:
        while held.groups and (due_ms := next(iter(held.groups.values())).due_ms) <= at_ms:
            held.pass_to(due_ms)
            note(held.due())

    for number, at_ms in enumerate(sorted(times_ms), 1):
        wait_until(at_ms)
        held.pass_to(at_ms)
        note(
            held.add(hold, Fire(key="", kind="", at_ms=at_ms, data=Raw(b"%d" % number)), 1, number)
        )
    wait_until(math.inf)
    return runs


class HeldGroup(Struct, frozen=True, kw_only=True):
    """The events of one key that are held. ``due_at``: when they start a run, if no more come."""

    key: str
    events: int
    since: str
    due_at: str


class HeldView(Struct, frozen=True, kw_only=True):
    """What a trigger holds: ``events`` that have come, of how many ``keys``; ``first``: those due first, at most 20."""

    events: int = 0
    keys: int = 0
    first: tuple[HeldGroup, ...] = ()


def held_view(held: Held | None) -> HeldView:
    """What is held, as people see it."""
    if held is None:
        return HeldView()
    first = heapq.nsmallest(HELD_SHOWN_MAX, held.groups.values(), key=lambda each: each.due_ms)
    return HeldView(events=held.events, keys=len(held.groups), first=tuple(map(_shown, first)))


def _shown(group: Group) -> HeldGroup:
    return HeldGroup(
        key=group.key, events=group.count, since=text_of_time(group.first_ms), due_at=text_of_time(group.due_ms),
    )  # fmt: skip
