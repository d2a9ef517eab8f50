"""Limits as users write them: ``Concurrency``, ``Rate``, ``Priority``, and the short forms of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast

from dagnats.core.durations import Duration, to_ms
from dagnats.core.limiting import SINGLETON_MODES
from dagnats.core.model import LIMIT_MODES, Limit, LimitMode
from dagnats.core.model import Priority as Rules
from dagnats.errors import DefinitionError
from dagnats.options import path_option, whole_number

OnLimit = Literal["wait", "refuse", "replace"]
Singleton = Literal["skip", "cancel", "cancel-newest", "cancel-in-progress"]

_RATE: Final = re.compile(r"\s*([0-9]{1,9})\s*/\s*([0-9]{0,6})\s*([a-z]+)\s*\Z")
_UNITS_MS: Final = {
    "ms": 1, "s": 1_000, "sec": 1_000, "second": 1_000, "m": 60_000, "min": 60_000, "minute": 60_000,
    "h": 3_600_000, "hour": 3_600_000, "d": 86_400_000, "day": 86_400_000,
}  # fmt: skip


class Concurrency:
    """How many at once: ``Concurrency(3, key="input.tenant")`` is three for each tenant.

    Args:
        limit: How many.
        key: A path into the input; the limit holds for each value there. Default: for all together.
        weight: What one counts as: a number, or a path to it in the input.
        on_limit: ``"wait"`` for a place (the default); ``"refuse"``: a run is cancelled, a step's attempt fails;
            ``"replace"`` (workflows only): the oldest run is cancelled.

    Raises:
        DefinitionError.
    """

    __slots__ = ("limit",)

    def __init__(
        self, limit: int, *, key: str = "", weight: int | str = 1, on_limit: OnLimit = "wait"
    ) -> None:
        cost, cost_from = _cost("Concurrency: weight", weight)
        self.limit = Limit(
            kind="slots",
            limit=whole_number("Concurrency: limit", limit, least=1),
            key=path_option("Concurrency: key", key),
            cost=cost,
            cost_from=cost_from,
            mode=_mode("Concurrency", on_limit),
        )

    def __repr__(self) -> str:
        return f"Concurrency({self.limit.limit}, key={self.limit.key!r})"


class Rate:
    """How many in a time: ``Rate("10/s", key="input.tenant")``, ``Rate(90_000, per="1m", units="input.tokens")``.

    A token bucket: what was not used can be used later, up to ``burst``.

    Args:
        limit: A number, or number and period in one: ``"10/s"``, ``"100/min"``, ``"5/10s"``, ``"1000/hour"``.
        per: The period, when the limit is a number.
        key: As for ``Concurrency``.
        units: What one counts as: a number, or a path to it in the input.
        burst: How much can be saved up; default: the limit.
        on_limit: ``"wait"`` until the rate allows it (the default), or ``"refuse"``.

    Raises:
        DefinitionError.
    """

    __slots__ = ("limit",)

    def __init__(
        self, limit: int | str, *, per: Duration | None = None, key: str = "", units: int | str = 1, burst: int = 0,
        on_limit: OnLimit = "wait",
    ) -> None:  # fmt: skip
        most, period_ms = _rate(limit, per)
        cost, cost_from = _cost("Rate: units", units)
        self.limit = Limit(
            kind="rate",
            limit=most,
            period_ms=period_ms,
            burst=whole_number("Rate: burst", burst),
            key=path_option("Rate: key", key),
            cost=cost,
            cost_from=cost_from,
            mode=_mode("Rate", on_limit),
        )

    def __repr__(self) -> str:
        return (
            f"Rate({self.limit.limit}, per={self.limit.period_ms / 1000:g}, key={self.limit.key!r})"
        )


class Priority:
    """Which runs go first where runs wait: ``Priority("input.plan", {"paid": 60, "free": -60})``.

    Each value stands for how many seconds sooner (or later) than others a run goes, from -600 to 600; ``default`` is
    for all other values.

    Raises:
        DefinitionError.
    """

    __slots__ = ("rules",)

    def __init__(self, key: str, rules: Mapping[str, int], *, default: int = 0) -> None:
        if not isinstance(rules, Mapping):
            raise DefinitionError(f'Priority: rules={rules!r}; write {{"paid": 60, "free": -60}}')
        self.rules = Rules(
            key=path_option("Priority: key", key),
            rules={str(value): _seconds(f"{value!r}", offset) for value, offset in rules.items()},
            default_offset=_seconds("default", default),
        )


def _seconds(what: str, given: object) -> int:
    if not isinstance(given, int) or isinstance(given, bool):
        raise DefinitionError(f"Priority: {what} is {given!r}; write whole seconds, such as 60")
    return given


AtOnce = int | Concurrency | Sequence[Concurrency]
PerTime = str | Rate | Sequence[Rate]


def task_limits(where: str, given: Mapping[str, Any]) -> tuple[Limit, ...]:
    """What ``concurrency=``, ``rate=`` and ``key=`` of a task say."""
    key = path_option(f"{where}: key", given.get("key") or "")
    limits = [
        *_each(f"{where}: concurrency", given.get("concurrency"), Concurrency, key),
        *_each(f"{where}: rate", given.get("rate"), Rate, key),
    ]
    if key and not limits:
        limits.append(Limit(kind="slots", limit=0, key=key))  # what can be paused
    return tuple(limits)


def run_limits(where: str, given: Mapping[str, Any]) -> tuple[Limit, ...]:
    """What ``singleton=``, ``max_runs=``, ``rate=`` and ``key=`` of a workflow say."""
    key = path_option(f"{where}: key", given.get("key") or "")
    limits: list[Limit] = []
    singleton = given.get("singleton")
    if singleton:
        mode = SINGLETON_MODES.get("skip" if singleton is True else str(singleton))
        if mode is None:
            modes = ", ".join(map(repr, SINGLETON_MODES))
            raise DefinitionError(f"{where}: singleton={singleton!r}; use True or one of {modes}")
        limits.append(Limit(kind="slots", limit=1, key=key, mode=cast("LimitMode", mode)))
    runs = _each(f"{where}: max_runs", given.get("max_runs"), Concurrency, key)
    if limits and any(limit.key == key for limit in runs):
        text = (
            f"{where}: singleton= and max_runs= both say how many runs there are at once; keep one"
        )
        raise DefinitionError(text)
    limits += runs
    limits += _each(f"{where}: rate", given.get("rate"), Rate, key)
    if key and not limits:
        text = (
            f"{where}: key={key!r} says for what a limit holds; give max_runs=, rate= or singleton="
        )
        raise DefinitionError(text)
    return tuple(limits)


def priority_rules(where: str, given: object) -> Rules | None:
    """What ``priority=`` of a workflow says."""
    if given is None:
        return None
    if not isinstance(given, Priority):
        raise DefinitionError(
            f'{where}: priority={given!r}; write Priority("input.plan", {{"paid": 60}})'
        )
    return given.rules


def _each(where: str, given: object, kind: type[Concurrency | Rate], key: str) -> list[Limit]:
    if given is None:
        return []
    several = cast("Sequence[object]", given) if isinstance(given, list | tuple) else [given]
    return [_one(where, item, kind, key) for item in several]


def _one(where: str, given: object, kind: type[Concurrency | Rate], key: str) -> Limit:
    if isinstance(given, kind):
        return given.limit
    short = int if kind is Concurrency else str
    if isinstance(given, short) and not isinstance(given, bool):
        try:
            return kind(cast("Any", given), key=key).limit
        except DefinitionError as error:
            raise DefinitionError(f"{where}={given!r}: {error}") from None
    example = (
        '5 or Concurrency(5, key="input.tenant")'
        if kind is Concurrency
        else '"10/s" or Rate("10/s")'
    )
    raise DefinitionError(f"{where}={given!r}; write {example}")


def _rate(limit: int | str, per: Duration | None) -> tuple[int, int]:
    if isinstance(limit, str):
        found = _RATE.match(limit)
        unit = _UNITS_MS.get(found[3]) if found else None
        if found is None or unit is None or per is not None or not int(found[1]):
            units = "ms, s, min, h, day"
            raise DefinitionError(
                f'Rate({limit!r}): write for example "10/s", "100/min" or "5/10s" (units: {units}); '
                "or a number with per="
            )
        return int(found[1]), unit * int(found[2] or 1)
    most = whole_number("Rate: limit", limit, least=1)
    if per is None:
        raise DefinitionError(f'Rate({limit!r}): in which time? write "{limit}/s", or give per=')
    try:
        return most, to_ms(per)
    except ValueError as error:
        raise DefinitionError(f"Rate: per: {error}") from error


def _cost(where: str, given: int | str) -> tuple[int, str]:
    if isinstance(given, str):
        return 1, path_option(where, given)
    return whole_number(where, given, least=1), ""


def _mode(where: str, given: str) -> LimitMode:
    if given not in LIMIT_MODES:
        raise DefinitionError(f"{where}: on_limit={given!r}; use one of {', '.join(LIMIT_MODES)}")
    return given
