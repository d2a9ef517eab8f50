"""Gates of one partition: their facts in, grants out; and what runs tell gates.

A gate is an entity as a run is: its owner folds its facts, in order, and stores what they cause before they are
acknowledged. One that is not in memory is folded from its snapshot and the tail of its log; what facts that were not
acknowledged had caused is done again, with the same ids.
"""

from __future__ import annotations

from msgspec import Struct

from dagnats.clock import Clock
from dagnats.core.admission import asked_of, spent_by
from dagnats.core.commands import ArmTimer, AskGate, ChargeGate, LeaveGate
from dagnats.core.entities import NOTHING_SPENT, GateAsked, GateCharged, GateLeft
from dagnats.core.events import (
    BudgetSpent,
    CancelRequested,
    Event,
    GateChecked,
    GateGranted,
    GateRefused,
    TimerFired,
)
from dagnats.core.gates import stored
from dagnats.core.gates.commands import (
    CancelHolder,
    CheckTicket,
    GateCommand,
    GrantTicket,
    RefuseTicket,
    StopSpending,
)
from dagnats.core.gates.gate import Gate
from dagnats.core.run import Run
from dagnats.core.state import NOBODY
from dagnats.gates import GateRead, read_gate
from dagnats.limits import GATE_SAVED_FACTS
from dagnats.ports import Append, Outside
from dagnats.scheduler.effects import Cut, Keep, Kept
from dagnats.scheduler.timers import armed
from dagnats.wire import subjects
from dagnats.wire.codec import encode


def to_gate(run: Run, command: AskGate | ChargeGate | LeaveGate, partitions: int) -> Append:
    """What a run tells a gate: a fact in the gate's own log."""
    match command:
        case LeaveGate():
            return left(partitions, command)
        case ChargeGate():
            fact = GateCharged(run=command.run, ticket=command.ticket, spent=command.spent)
        case AskGate():
            demands, rank_ms = asked_of(run, command)
            fact = GateAsked(
                run=command.run, ticket=command.ticket, rank_ms=rank_ms, demands=demands,
                spent=spent_by(run) if command.position == NOBODY else NOTHING_SPENT,
            )  # fmt: skip
    return Append(_subject(partitions, command.gate), encode(fact), command.id)


def left(partitions: int, command: LeaveGate) -> Append:
    """The fact that a ticket needs its gate no more."""
    fact = GateLeft(
        run=command.run, ticket=command.ticket, pause_ms=command.pause_ms, heir=command.heir,
        spent=command.spent,
    )  # fmt: skip
    return Append(_subject(partitions, command.gate), encode(fact), command.id)


def _subject(partitions: int, gate: str) -> str:
    return subjects.fact(subjects.partition_of(gate, partitions), gate, "gate")


class Slot(Struct):
    """A gate in memory."""

    gate: Gate
    used_ms: float
    saved_facts: int


class Gates:
    """The gates of one partition, folded by its owner."""

    def __init__(self, number: int, outside: Outside, clock: Clock) -> None:
        self._number = number
        self._partitions = outside.log.partitions
        self._outside = outside
        self._clock = clock
        self._slots: dict[str, Slot] = {}

    def forget(self) -> None:
        """Start from nothing."""
        self._slots.clear()

    async def fold(self, gate_id: str, event: Event) -> tuple[list[Append], list[Kept]]:
        """Fold one fact of a gate: what it causes, and its snapshot when it is time for one."""
        now = self._clock.monotonic_ms()
        slot = self._slots.get(gate_id)
        if slot is None:
            read, commands = await self._load(gate_id, event.seq)
            slot = self._slots[gate_id] = Slot(read.gate, now, read.saved_facts)
        else:
            commands = []
        slot.used_ms = now
        commands.extend(slot.gate.fold(event))
        kept: list[Kept] = []
        size = len(slot.gate.holders) + len(slot.gate.lines.waiting)
        grown = slot.gate.facts - slot.saved_facts >= max(GATE_SAVED_FACTS, size)
        if grown and not isinstance(
            event.fact, TimerFired
        ):  # the log keeps a fact of the gate itself
            slot.saved_facts = slot.gate.facts
            state = stored.save(slot.gate)
            kept += [Keep(subjects.SNAPSHOTS, gate_id, state), Cut(gate_id, state, event.seq)]
        return [self._message(command) for command in commands], kept

    async def _load(self, gate_id: str, since_seq: int) -> tuple[GateRead, list[GateCommand]]:
        """The gate as its log has it, with what facts from ``since_seq`` on caused, and what is in force."""
        again: list[GateCommand] = []

        def seen(event: Event, caused: list[GateCommand]) -> None:
            if event.seq >= since_seq:
                again.extend(caused)

        read = await read_gate(self._outside, gate_id, seen)
        return read, [*again, *read.gate.outstanding()]

    def _message(self, command: GateCommand) -> Append:
        match command:
            case ArmTimer():
                subject = subjects.timer(self._number, command.run)
                return armed(subject, self._number, command.run, command.due_ms)
            case GrantTicket():
                fact = GateGranted(gate=command.gate, ticket=command.ticket, left=command.left)
            case CheckTicket():
                fact = GateChecked(gate=command.gate, ticket=command.ticket)
            case StopSpending():
                fact = BudgetSpent(
                    gate=command.gate, ticket=command.ticket, kind=command.kind, reason=command.reason
                )  # fmt: skip
            case CancelHolder():
                cancel = CancelRequested(reason=command.reason)
                return Append(self._of_run(command.run, "client"), encode(cancel), command.id)
            case RefuseTicket():
                fact = GateRefused(
                    gate=command.gate, ticket=command.ticket, reason=command.reason,
                    retry_after_ms=command.retry_after_ms,
                )  # fmt: skip
        return Append(self._of_run(command.run, "scheduler"), encode(fact), command.id)

    def _of_run(self, run: str, author: str) -> str:
        return subjects.fact(subjects.partition_of(run, self._partitions), run, author)

    def park(self, idle_ms: float) -> None:
        """Let gates leave memory that have been quiet."""
        now = self._clock.monotonic_ms()
        for gate_id, slot in list(self._slots.items()):
            if now - slot.used_ms >= idle_ms:
                del self._slots[gate_id]
