"""The intents: what must be done now, in the imperative. Each has an id that derives from its meaning.

Commands follow from a run's state, so asking again gives the same commands with the same ids, and doing
one twice is doing it once.
"""

from __future__ import annotations

from msgspec import Struct


class Dispatch(Struct, frozen=True):
    """Put a ticket into force: somebody may now run this step. ``position`` is the step's in its graph."""

    run: str
    ticket: str
    position: int

    @property
    def id(self) -> str:
        """``<run>/<ticket>:dispatch``."""
        return f"{self.run}/{self.ticket}:dispatch"


class ArmTimer(Struct, frozen=True):
    """Have the run's one timer fire at ``due_ms`` (Unix time), in place of whatever was armed."""

    run: str
    due_ms: int

    @property
    def id(self) -> str:
        """``<run>:timer:<due>``. Arming replaces, so it needs no protection against repetition."""
        return f"{self.run}:timer:{self.due_ms}"


class DeadLetter(Struct, frozen=True):
    """Keep the work of a step that was given up, for a person to look at and replay."""

    run: str
    ticket: str
    position: int

    @property
    def id(self) -> str:
        """``<run>/<ticket>:dead``."""
        return f"{self.run}/{self.ticket}:dead"


class CloseRun(Struct, frozen=True):
    """Announce how the run ended. ``abandoned`` says that tickets may still be queued or running."""

    run: str
    abandoned: bool

    @property
    def id(self) -> str:
        """``<run>:closed``."""
        return f"{self.run}:closed"


Command = Dispatch | ArmTimer | DeadLetter | CloseRun
