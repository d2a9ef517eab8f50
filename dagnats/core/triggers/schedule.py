"""When a schedule is due. ``@every`` counts from the epoch, so every process names the same instants."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from dagnats.core.durations import parse_ms
from dagnats.core.instants import next_match_ms, zone_of
from dagnats.core.triggers.model import Cron
from dagnats.limits import BACKFILL_MAX, DURATION_MAX_MS, EVERY_MIN_MS

ALIASES: Final = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}  # fmt: skip
_EVERY: Final = "@every "
_FIELDS: Final = 5
_WINDOW_MS: Final = 60_000


def next_ms(cron: Cron, after_ms: int) -> int:
    """The first instant strictly after a moment, Unix milliseconds.

    Raises:
        ValueError: the expression or the zone is none, or never matches.
    """
    if cron.expression.startswith(_EVERY):
        period = _period_ms(cron.expression)
        return (after_ms // period + 1) * period
    return next_match_ms(ALIASES.get(cron.expression, cron.expression), cron.timezone, after_ms)


def _period_ms(expression: str) -> int:
    period = parse_ms(expression.removeprefix(_EVERY))
    if not EVERY_MIN_MS <= period <= DURATION_MAX_MS:
        raise ValueError(f'"{expression}" is out of bounds: write @every 1s to @every 365d')
    return period


def due(cron: Cron, first_ms: int, until_ms: int) -> tuple[list[int], bool]:
    """The newest instants from ``first_ms`` (which is one) up to a moment, in order: at most BACKFILL_MAX.

    And whether older ones were left out.
    """
    window = BACKFILL_MAX * _WINDOW_MS
    while True:  # widen from the end until there are enough, without counting through years of them
        begin = max(first_ms, until_ms - window)
        found = deque(_between(cron, begin - 1, until_ms), BACKFILL_MAX)
        if begin == first_ms or len(found) == BACKFILL_MAX:
            return list(found), bool(found) and found[0] > first_ms
        window *= 4


def _between(cron: Cron, after_ms: int, until_ms: int) -> Iterator[int]:
    instant = next_ms(cron, after_ms)
    while instant <= until_ms:
        yield instant
        instant = next_ms(cron, instant)


def preview(cron: Cron, after_ms: int, count: int) -> list[int]:
    """The next instants, for people."""
    found: list[int] = []
    for _ in range(count):
        after_ms = next_ms(cron, after_ms)
        found.append(after_ms)
    return found


def cron_problems(cron: Cron) -> Iterator[tuple[str, str, str]]:
    """What is wrong with a schedule: the field, what, and the cure."""
    try:
        zone_of(cron.timezone)
    except ValueError as error:
        yield "timezone", str(error), 'write for example "Europe/Berlin"; empty is UTC'
        return
    expression = ALIASES.get(cron.expression, cron.expression)
    count = len(expression.split())
    cure = 'write minute hour day month weekday, for example "0 9 * * 1-5", or "@every 10m"'
    if not expression.startswith("@") and count != _FIELDS:
        yield "expression", f'"{cron.expression}" has {count} fields, not five', cure
        return
    try:
        next_ms(cron, 0)
    except ValueError as error:
        yield "expression", str(error), cure
