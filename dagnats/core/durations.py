"""Durations: what people may write, and milliseconds inside.

In Python a duration is a ``timedelta``, a number of seconds, or a string such as ``"42m30s"``. In a
workflow file it is such a string or an integer of nanoseconds, as in the Go system. A bare ``"42"``
is an error everywhere: nobody can tell what it means.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta

Duration = timedelta | float | int | str

_UNITS_MS: dict[str, float] = {
    "ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6, "d": 8.64e7, "w": 6.048e8,
}  # fmt: skip
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d|w)")


def parse_ms(text: str) -> int:
    """Milliseconds of ``"1h30m"``, ``"250ms"``, ``"2d"``; fractions of one are rounded up.

    Raises:
        ValueError: the text is not a sequence of numbers with units.
    """
    total, end = 0.0, 0
    clean = text.strip().replace(" ", "").replace("\u03bc", "µ")  # Go writes either mu
    for part in _PART.finditer(clean):
        if part.start() != end:
            break
        total += float(part[1]) * _UNITS_MS[part[2]]
        end = part.end()
    if not clean or end != len(clean):
        hint = f'; write "{clean}s" for seconds' if re.fullmatch(r"\d+(\.\d+)?", clean) else ""
        raise ValueError(f'{text!r} is not a duration such as "30s", "1h30m" or "250ms"{hint}')
    return _whole(total, text)


def _whole(ms: float, written: object) -> int:
    """Milliseconds, rounded up; what is too large for a number is no duration."""
    if not math.isfinite(ms):
        raise ValueError(f"a duration cannot be as long as {written!r}")
    return math.ceil(round(ms, 6))


def to_ms(value: Duration) -> int:
    """Milliseconds of a duration as Python code writes it.

    Raises:
        ValueError: it is negative, not finite, or a string that is no duration.
    """
    if isinstance(value, str):
        return parse_ms(value)
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a duration: use a timedelta, seconds or '42m30s'")
    if isinstance(value, timedelta) and value >= timedelta():
        return -(-value // timedelta(milliseconds=1))  # exact, where total_seconds() is not
    try:
        seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except TypeError as error:
        raise ValueError(f"{value!r} is not a duration") from error
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"a duration cannot be {value!r}")
    return _whole(seconds * 1000, value)


def from_file_ms(value: object) -> int:
    """Milliseconds of a duration in a workflow file: a string, or an integer of nanoseconds.

    Raises:
        ValueError: it is neither, or negative.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f'{value!r} is not a duration: write "30s" or an integer of nanoseconds')
    if isinstance(value, str):
        return parse_ms(value)
    if value < 0:
        raise ValueError(f"a duration cannot be negative ({value})")
    return -(-value // 1_000_000)


def text_of_ms(ms: int) -> str:
    """The one canonical form: ``90_000`` is ``"1m30s"``, ``1_500`` is ``"1s500ms"``, 0 is ``"0s"``."""
    parts: list[str] = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
