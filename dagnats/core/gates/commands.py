"""What a gate tells runs. Each has an id that derives from its meaning, as other commands have."""

from __future__ import annotations

from msgspec import Struct

from dagnats.core.commands import ArmTimer


class GrantTicket(Struct, frozen=True, omit_defaults=True):
    """Tell a run that its ticket is let through, and what is ``left`` of each budget that it shares."""

    gate: str
    run: str
    ticket: str
    left: tuple[int, ...] = ()

    @property
    def id(self) -> str:
        """``<run>/<ticket>:granted``."""
        return f"{self.run}/{self.ticket}:granted"


class RefuseTicket(Struct, frozen=True):
    """Tell a run that its ticket is not let through, and why."""

    gate: str
    run: str
    ticket: str
    reason: str
    retry_after_ms: int = 0

    @property
    def id(self) -> str:
        """``<run>/<ticket>:refused``."""
        return f"{self.run}/{self.ticket}:refused"


class CheckTicket(Struct, frozen=True):
    """Ask a run whether it still needs what its ticket was given."""

    gate: str
    run: str
    ticket: str
    at_ms: int

    @property
    def id(self) -> str:
        """``<run>/<ticket>:checked:<when>``."""
        return f"{self.run}/{self.ticket}:checked:{self.at_ms}"


class StopSpending(Struct, frozen=True):
    """Tell a run that a budget it shares is used up; ``seq``: with which fact of the gate."""

    gate: str
    run: str
    ticket: str
    kind: str
    reason: str
    seq: int

    @property
    def id(self) -> str:
        """``<run>/<ticket>:stop:<seq>``."""
        return f"{self.run}/{self.ticket}:stop:{self.seq}"


class CancelHolder(Struct, frozen=True):
    """Ask for a run to be cancelled: another is to have its place."""

    gate: str
    run: str
    ticket: str
    reason: str

    @property
    def id(self) -> str:
        """``<run>:cancel``."""
        return f"{self.run}:cancel"


GateCommand = GrantTicket | RefuseTicket | CheckTicket | CancelHolder | StopSpending | ArmTimer
