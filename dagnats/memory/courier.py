"""Callbacks to processes: queued while the world changes, run once it stands still."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any


class Courier:
    """In order and never nested: no process sees half a change, nor its effect before its cause."""

    def __init__(self) -> None:
        self.wakers: list[Callable[[], None]] = []
        self._posted: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._running = False

    def post(self, call: Callable[..., None], *values: Any) -> None:
        """Have something called at the next ``run``."""
        self._posted.append((call, values))

    def run(self) -> None:
        """Call what was posted, unless that is going on further up; then wake who sleeps."""
        if self._running:
            return
        self._running = True
        try:
            while self._posted:
                call, values = self._posted.popleft()
                call(*values)
        finally:
            self._running = False
        for wake in self.wakers:
            wake()
