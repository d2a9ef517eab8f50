"""Who listens now, and to what: plain messages that nothing stores."""

from __future__ import annotations

from collections.abc import Callable

from dagnats.memory.courier import Courier
from dagnats.memory.matching import matches

Heard = Callable[[str, bytes, str], None]
End = Callable[[], None]


class Listeners:
    """All listeners of all processes."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._ears: dict[int, tuple[str, Heard]] = {}
        self._numbers = 0

    def number(self) -> int:
        """A number nobody else got."""
        self._numbers += 1
        return self._numbers

    def add(self, pattern: str, heard: Heard) -> End:
        """Register; returns what ends it."""
        key = self.number()
        self._ears[key] = (pattern, heard)

        def end() -> None:
            self._ears.pop(key, None)

        return end

    def tell(self, subject: str, payload: bytes, reply: str) -> int:
        """Post a message to whoever listens; returns how many do."""
        ears = [key for key, (pattern, _) in self._ears.items() if matches(pattern, subject)]
        for key in ears:
            self._courier.post(self._hear, key, subject, payload, reply)
        return len(ears)

    def _hear(self, key: int, subject: str, payload: bytes, reply: str) -> None:
        if key in self._ears:  # it may have ended since
            self._ears[key][1](subject, payload, reply)
