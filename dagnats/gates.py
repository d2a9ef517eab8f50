"""Gates as they are now: folded from their logs by whoever asks, with the same engine as the scheduler's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from dagnats import beginnings
from dagnats.budgets import more_of
from dagnats.core.entities import GateRaised, GateReleased
from dagnats.core.events import Event
from dagnats.core.gates.accounts import budget_path, no_budget
from dagnats.core.gates.commands import GateCommand
from dagnats.core.gates.gate import Gate
from dagnats.core.gates.view import GateView, view_gate
from dagnats.core.limiting import gate_id
from dagnats.core.model import Budget
from dagnats.errors import CodecError, InvalidInput, RequestError
from dagnats.ids import new_run_id
from dagnats.limits import LIST_MAX
from dagnats.ports import Append, Outside
from dagnats.wire import subjects
from dagnats.wire.codec import encode, event_of, is_fact, run_of

GateKind = Literal["task", "workflow", "shared"]


class GateRead(Struct, frozen=True):
    """A gate, and how many facts its snapshot held (0: there was none)."""

    gate: Gate
    saved_facts: int


async def read_gate(
    outside: Outside,
    gate: str,
    seen: Callable[[Event, list[GateCommand]], None] | None = None,
) -> GateRead:
    """A gate by its id; ``seen`` is called with each fact after its snapshot, and what that caused.

    One that nothing ever asked is empty.

    Raises:
        CodecError: only a newer version can read it.
    """
    read, entries = await beginnings.read(outside, gate, beginnings.GATES)
    saved = read.facts
    for entry in entries:
        if not is_fact(entry):
            continue
        try:
            event = event_of(entry)
        except CodecError:
            continue  # it was dead-lettered when it was delivered
        caused = read.fold(event)
        if seen is not None:
            seen(event, caused)
    return GateRead(read, saved)


class GateRequests:
    """What can be asked of gates. ``Client`` brings the connection."""

    outside: Outside

    async def gates(self) -> list[GateView]:
        """The gates that were ever asked, by kind and name."""
        return await list_gates(self.outside)

    async def gate(self, kind: GateKind, name: str) -> GateView:
        """The gate of a "task", of a "workflow", or one that is "shared": its limits, who holds what, who waits.

        Raises:
            RequestError: nothing ever asked it.
        """
        return await show_gate(self.outside, kind, name)

    async def release_gate(self, kind: GateKind, name: str, run_id: str, reason: str = "") -> None:
        """Take away what a run has of a gate, or its place in the line. The run itself goes on.

        Raises:
            RequestError: the run neither holds a place there nor waits for one.
        """
        await release(self.outside, kind, name, run_id, reason)

    async def raise_gate(
        self, kind: GateKind, name: str, *, usd: float = 0, tokens: int = 0, key: str = "", path: str = "",
        by: str = "", comment: str = "",
    ) -> None:  # fmt: skip
        """Add to a budget that runs share at a gate: to this period of it, or for ever where it has none.

        Runs that wait for it begin; those that it has ended go on when they are retried.

        Args:
            kind: See ``gate``.
            name: See ``gate``.
            usd: How much more in US dollars.
            tokens: How much more in tokens.
            key: For which value of the budget's key; empty for a budget without one.
            path: The budget's key, where there are several.
            by: Who; it stands in the gate's log.
            comment: Why.

        Raises:
            RequestError: there is no such budget.
            InvalidInput: it is no amount.
        """
        if not (usd or tokens):
            raise InvalidInput("how much more? give usd or tokens")
        more = more_of(usd, tokens, None, 0)
        await raise_(self.outside, kind, name, more, key=key, path=path, by=by, comment=comment)


async def list_gates(outside: Outside, most: int = LIST_MAX) -> list[GateView]:
    """The gates that were ever asked, by kind and name; at most ``most``."""
    places = await outside.log.subjects_of(subjects.GATES)
    found = sorted(gate for gate in map(run_of, places) if gate)[:most]
    return [view_gate((await read_gate(outside, gate)).gate) for gate in found]


async def show_gate(outside: Outside, kind: str, name: str) -> GateView:
    """One gate: of a "task", of a "workflow", or one that is "shared".

    Raises:
        RequestError: nothing ever asked it.
    """
    gate = (await read_gate(outside, gate_id(kind, name))).gate
    if not gate.facts:
        text = f'no ticket ever asked the gate of {kind} "{name}"; `dagnats gate list` shows those that are used'
        raise RequestError(text)
    return view_gate(gate)


async def release(outside: Outside, kind: str, name: str, run_id: str, reason: str = "") -> None:
    """Take away what a run has of a gate, or its place in the line. The run itself goes on.

    Raises:
        RequestError: the run neither holds a place there nor waits for one.
    """
    gate = gate_id(kind, name)
    read = (await read_gate(outside, gate)).gate
    if not any(key[0] == run_id for key in (*read.holders, *read.lines.waiting)):
        text = f'run {run_id} has nothing of the gate of {kind} "{name}", and does not wait for it'
        raise RequestError(text, run_id=run_id)
    await _tell(outside, gate, [GateReleased(run=run_id, reason=reason)])


async def raise_(
    outside: Outside, kind: str, name: str, more: Budget, *, key: str, path: str, by: str, comment: str
) -> None:  # fmt: skip
    """Add to a budget that runs share at a gate.

    Raises:
        RequestError: there is no such budget.
    """
    gate = gate_id(kind, name)
    read = (await read_gate(outside, gate)).gate
    amounts = {"usd": more.usd_nano, "tokens": more.tokens}
    found = {each: budget_path(read, each, key, path) for each, amount in amounts.items() if amount}
    for each, budget in found.items():
        if budget is None:
            raise RequestError(no_budget(read, f'{kind} "{name}"', each, key, path))
    facts = [
        GateRaised(
            kind=each, more=amounts[each], path=budget or "", key=key, by=by, comment=comment
        )
        for each, budget in found.items()
    ]
    await _tell(outside, gate, facts)


async def _tell(outside: Outside, gate: str, facts: Sequence[GateReleased | GateRaised]) -> None:
    subject = subjects.fact(subjects.partition_of(gate, outside.log.partitions), gate, "gate")
    request = new_run_id()
    await outside.log.append(
        [
            Append(subject, encode(fact), f"{gate}:{request}:{number}")
            for number, fact in enumerate(facts)
        ]
    )
