"""The intents: what must be done now, in the imperative. Each has an id that derives from its meaning.

Commands follow from a run's state, so asking again gives the same commands with the same ids, and doing
one twice is doing it once.
"""

from __future__ import annotations

import hashlib

from msgspec import Struct

from dagnats.core.entities import NOTHING_SPENT, Spent
from dagnats.core.model import Usage


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
    epoch: int = 0

    @property
    def id(self) -> str:
        """``<run>:closed``, and how often it was opened again."""
        return f"{self.run}:closed:{self.epoch}" if self.epoch else f"{self.run}:closed"


class OpenRun(Struct, frozen=True):
    """Announce that a run which had ended is open again."""

    run: str
    epoch: int

    @property
    def id(self) -> str:
        """``<run>:opened:<epoch>``."""
        return f"{self.run}:opened:{self.epoch}"


class Abandon(Struct, frozen=True):
    """Take back the tickets of epochs before this one: compensation begins."""

    run: str
    epoch: int

    @property
    def id(self) -> str:
        """``<run>:abandon:<epoch>``. Nothing is stored for it; doing it again is harmless."""
        return f"{self.run}:abandon:{self.epoch}"


class StartChild(Struct, frozen=True):
    """Start the child run of a ticket."""

    run: str
    ticket: str
    position: int

    @property
    def id(self) -> str:
        """``<run>/<ticket>:child``."""
        return f"{self.run}/{self.ticket}:child"

    @property
    def child(self) -> str:
        """The child's run id."""
        return child_run_id(self.run, self.ticket)


class CancelChild(Struct, frozen=True):
    """Ask for a child run to be cancelled: nobody waits for it any more."""

    run: str
    ticket: str

    @property
    def id(self) -> str:
        """``<child>:cancel``."""
        return f"{self.child}:cancel"

    @property
    def child(self) -> str:
        """The child's run id."""
        return child_run_id(self.run, self.ticket)


class TellParent(Struct, frozen=True):
    """Tell the parent that this child is under way (``started``, when detached) or has ended."""

    run: str
    started: bool
    epoch: int = 0

    @property
    def id(self) -> str:
        """``<run>:child-started`` or ``<run>:child-closed``."""
        what = "child-started" if self.started else "child-closed"
        return f"{self.run}:{what}:{self.epoch}" if self.epoch else f"{self.run}:{what}"


class TellUsage(Struct, frozen=True):
    """Tell the parent, whose budget counts it, what this run has used in all."""

    run: str
    usage: Usage

    @property
    def id(self) -> str:
        """``<run>:used:<reports>:<iterations>``: neither ever becomes less, and one of them more."""
        return f"{self.run}:used:{self.usage.reports}:{self.usage.iterations}"


class StartSuccessor(Struct, frozen=True):
    """Start the run that continues this one."""

    run: str

    @property
    def id(self) -> str:
        """``<successor>:start``."""
        return f"{self.successor}:start"

    @property
    def successor(self) -> str:
        """The successor's run id."""
        return successor_run_id(self.run)


class AskControl(Struct, frozen=True):
    """Decide what a handler asks of the control plane, and tell its run."""

    run: str
    ticket: str
    position: int

    @property
    def id(self) -> str:
        """``<run>/<ticket>:decided``."""
        return f"{self.run}/{self.ticket}:decided"


class AskApproval(Struct, frozen=True):
    """Tell people that a ticket waits for their decision, with the token that answers it."""

    run: str
    ticket: str
    position: int

    @property
    def id(self) -> str:
        """``<run>/<ticket>:asked``."""
        return f"{self.run}/{self.ticket}:asked"


class AwaitEvent(Struct, frozen=True):
    """Look out for an external event. ``since_ms``: those published before do not count."""

    run: str
    ticket: str
    event: str
    left: str
    value: str
    since_ms: int

    @property
    def id(self) -> str:
        """``<run>/<ticket>:await``. Nothing is stored in the log for it; doing it again is harmless."""
        return f"{self.run}/{self.ticket}:await"


class ForgetEvent(Struct, frozen=True):
    """Look out no longer."""

    run: str
    ticket: str

    @property
    def id(self) -> str:
        """``<run>/<ticket>:forget``."""
        return f"{self.run}/{self.ticket}:forget"


class Respond(Struct, frozen=True):
    """Answer whoever waits for the run's response."""

    run: str
    ticket: str
    position: int

    @property
    def id(self) -> str:
        """``<run>/<ticket>:response``."""
        return f"{self.run}/{self.ticket}:response"


class DropCheckpoint(Struct, frozen=True):
    """Remove a checkpoint that was stored by itself, and that no ticket refers to any more."""

    run: str
    reference: bytes

    @property
    def id(self) -> str:
        """``<run>:drop:…``. What is not removed ages."""
        return f"{self.run}:drop:{hashlib.sha256(self.reference).hexdigest()[:16]}"


class AskGate(Struct, frozen=True):
    """Ask a gate to let a ticket through; ``position`` is its step's, or NOBODY for the run as a whole."""

    run: str
    ticket: str
    gate: str
    position: int

    @property
    def id(self) -> str:
        """``<run>/<ticket>:ask``."""
        return f"{self.run}/{self.ticket}:ask"


class LeaveGate(Struct, frozen=True):
    """A ticket needs its gate no more, whether it was let through or not."""

    run: str
    ticket: str
    gate: str
    pause_ms: int = 0
    heir: str = ""
    spent: Spent = NOTHING_SPENT

    @property
    def id(self) -> str:
        """``<run>/<ticket>:left``."""
        return f"{self.run}/{self.ticket}:left"


class ChargeGate(Struct, frozen=True):
    """Tell the gate that has let the run in what it has used in all."""

    run: str
    ticket: str
    gate: str
    spent: Spent

    @property
    def id(self) -> str:
        """``<run>/<ticket>:charged:<usd>:<tokens>``: neither ever becomes less, and one of them more."""
        usd, tokens = self.spent
        return f"{self.run}/{self.ticket}:charged:{usd}:{tokens}"


class TellCaller(Struct, frozen=True):
    """Tell the worker whose handler waits that its durable call is settled. Live only; it looks itself, too."""

    run: str
    position: int

    @property
    def id(self) -> str:
        """``<run>:told:<position>``."""
        return f"{self.run}:told:{self.position}"


Command = (
    Dispatch
    | ArmTimer
    | DeadLetter
    | CloseRun
    | OpenRun
    | Abandon
    | StartChild
    | CancelChild
    | TellParent
    | TellUsage
    | StartSuccessor
    | AskApproval
    | AskControl
    | AwaitEvent
    | ForgetEvent
    | Respond
    | DropCheckpoint
    | TellCaller
    | AskGate
    | ChargeGate
    | LeaveGate
)

# Commands that put nothing into the run's own history: whether they were done shows elsewhere, or not at all.
ELSEWHERE = (
    ArmTimer, Abandon, StartChild, CancelChild, TellParent, TellUsage, StartSuccessor, AwaitEvent, ForgetEvent,
    DropCheckpoint, TellCaller, AskGate, ChargeGate, LeaveGate,
)  # fmt: skip


def child_run_id(run: str, ticket: str) -> str:
    """The run id of a ticket's child: the same in every process, and new for each attempt."""
    return "child-" + hashlib.sha256(f"{run}/{ticket}".encode()).hexdigest()[:26]


def successor_run_id(run: str) -> str:
    """The run id of the run that continues another."""
    return "next-" + hashlib.sha256(f"{run}:continued".encode()).hexdigest()[:27]
