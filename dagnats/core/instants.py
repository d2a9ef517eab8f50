"""Points in time: cron expressions in their zones, and times as people write them into inputs.

Cron has five fields. When both the day of the month and the day of the week are restricted, either may
match (POSIX, crontab). Local times that a change of the clocks skips or repeats are handled as Debian's
cron does (cronsim).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError
from msgspec import Raw

from dagnats.limits import DURATION_MAX_MS

_FIELDS = 5


def cron_problems(expression: str, zone: str) -> Iterator[tuple[str, str, str]]:
    """What is wrong with a cron expression in a zone: the field, what, and the cure."""
    try:
        zone_of(zone)
    except ValueError as error:
        yield "timezone", str(error), 'write for example "Europe/Berlin"; empty is UTC'
        return
    try:
        next_match_ms(expression, zone, 0)
    except ValueError as error:
        yield "cron", str(error), 'write five fields, for example "0 9 * * 1-5"'


def zone_of(name: str) -> tzinfo:
    """The zone of a name; empty is UTC.

    Raises:
        ValueError: there is no such zone.
    """
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f'there is no time zone "{name}"') from error


def next_match_ms(expression: str, zone: str, after_ms: int) -> int:
    """The first match strictly after a moment, in Unix milliseconds.

    Raises:
        ValueError: it is no cron expression, no zone, or never matches.
    """
    if len(expression.split()) != _FIELDS:
        raise ValueError(f'"{expression}" has not five fields')
    after = datetime.fromtimestamp(after_ms / 1000, zone_of(zone))
    try:
        found = next(CronSim(expression, after))
    except CronSimError as error:
        raise ValueError(f'"{expression}" is no cron expression: {error}') from error
    except StopIteration:
        raise ValueError(f'"{expression}" never matches') from None
    return int(found.timestamp() * 1000)


def instant_ms(raw: Raw) -> int:
    """A time in an input: RFC 3339 text with a zone, or Unix milliseconds.

    Raises:
        ValueError: it is neither.
    """
    try:
        value = msgspec.json.decode(raw)
        if isinstance(value, int) and not isinstance(value, bool):
            return min(value, _FAR_MS)
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is not None:
                return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError, RecursionError):
        pass
    shown = bytes(raw)[:60].decode(errors="replace")
    raise ValueError(
        f"{shown} is no time: write RFC 3339 with a zone, such as 2026-01-31T09:00:00Z, or Unix milliseconds"
    )


_FAR_MS = 253_402_300_799_000 + DURATION_MAX_MS  # the end of the year 9999
