"""What can go wrong between a process and the server; a simulator decides when it does."""

from __future__ import annotations

from typing import Literal, Protocol

from dagnats.ports import Append

Fault = Literal["", "before", "after"]


class Mischief(Protocol):
    """Asked at each place where a real network or server may misbehave."""

    def fail_append(self, message: Append) -> Fault:
        """``before``: it is not stored; ``after``: it is. Either way the writer hears a failure."""
        ...

    def drop_ack(self, reply: str) -> bool:
        """Whether this acknowledgement (of a fact or a ticket) never reaches the server."""
        ...

    def redeliver(self, subject: str, delivered: int) -> bool:
        """Whether this delivery, its ``delivered``-th, comes once more at once."""
        ...

    def pick(self, waiting: int) -> int:
        """Which of the tickets that wait goes out next; 0 is the oldest."""
        ...


class Harmless:
    """Nothing goes wrong."""

    def fail_append(self, message: Append) -> Fault:
        """Store it and say so."""
        return ""

    def drop_ack(self, reply: str) -> bool:
        """Let it through."""
        return False

    def redeliver(self, subject: str, delivered: int) -> bool:
        """Once is enough."""
        return False

    def pick(self, waiting: int) -> int:
        """The oldest first."""
        return 0
