"""A clock that stands still until it is told to move."""

from __future__ import annotations

START_WALL_MS = 1_700_000_000_000
START_MONOTONIC_MS = 1_000_000.0


class VirtualClock:
    """Both clocks of a test; they start at fixed times, so that runs repeat exactly."""

    def __init__(self, wall_ms: int = START_WALL_MS) -> None:
        self._wall_start_ms = wall_ms
        self._passed_ms = 0.0

    def monotonic_ms(self) -> float:
        """Milliseconds since some point in the past."""
        return START_MONOTONIC_MS + self._passed_ms

    def wall_ms(self) -> int:
        """Unix time in milliseconds."""
        return self._wall_start_ms + int(self._passed_ms)

    def advance(self, ms: float) -> None:
        """Let time pass, on both clocks.

        Raises:
            ValueError: time was asked to go back.
        """
        if ms < 0:
            raise ValueError(f"time cannot go back by {-ms} ms; advance by a positive amount")
        self._passed_ms += ms
