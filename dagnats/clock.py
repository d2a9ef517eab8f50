"""The only reader of time. Everything that needs the time takes a ``Clock``."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks in milliseconds: one for leases and waits, one for people."""

    def monotonic_ms(self) -> float:
        """Never goes back, and goes on while the machine sleeps or the process is stopped."""
        ...

    def wall_ms(self) -> int:
        """Unix time; may jump. For display and for ids only, never for a decision."""
        ...


class SystemClock:
    """The machine's clocks. ``CLOCK_BOOTTIME``, where there is one, counts through suspends."""

    def __init__(self) -> None:
        self._id = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))

    def monotonic_ms(self) -> float:
        """Milliseconds since some point in the past."""
        if self._id is None:  # Windows
            return time.monotonic() * 1000
        return time.clock_gettime(self._id) * 1000

    def wall_ms(self) -> int:
        """Unix time in milliseconds."""
        return time.time_ns() // 1_000_000
