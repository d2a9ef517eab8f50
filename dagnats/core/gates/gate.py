"""The state of one gate, and how facts change it.

``fold`` changes the gate in place (a copy of its lines for each fact would cost their length) and returns commands. It
has no clock and no chance: the same facts give the same gate, with the same commands, in every process.
"""

from __future__ import annotations

import heapq

from dagnats.core import durations
from dagnats.core.commands import ArmTimer
from dagnats.core.entities import (
    Demand,
    GateAsked,
    GateCharged,
    GateLeft,
    GateRaised,
    GateReleased,
)
from dagnats.core.events import Event, Fact, TimerFired
from dagnats.core.gates import accounts
from dagnats.core.gates.claims import Claims
from dagnats.core.gates.commands import (
    CancelHolder,
    CheckTicket,
    GateCommand,
    RefuseTicket,
)
from dagnats.core.gates.holders import Holding
from dagnats.core.gates.lines import Lines, Ticket, Waiting
from dagnats.core.gates.meters import Meter, Meters, cost_of, meter_of, sound
from dagnats.core.limiting import RUN_TICKET
from dagnats.limits import GATE_CHECK_MS, GATE_WAITING_MAX, RATE_LATE_MAX_MS


class Gate:
    """One gate. ``holders``: the one that was not asked after for longest comes first.

    ``as_of_ms`` is the moment for which rates are looked at: of a timer that came late, when it was due.
    """

    def __init__(self, gate_id: str) -> None:
        self.id = gate_id
        self.seq = 0
        self.facts = 0
        self.at_ms = 0
        self.as_of_ms = 0
        self.armed_ms = 0
        self.meters = Meters()
        self.lines = Lines()
        self.holders: dict[Ticket, Holding] = {}
        self.claims = Claims()
        self.wakes: list[tuple[int, Meter]] = []
        self.waking: dict[Meter, int] = {}
        self.out: list[GateCommand] = []

    def fold(self, event: Event) -> list[GateCommand]:
        """Fold one fact; the commands that have come into force. Total: never raises, whatever the fact."""
        if event.seq <= self.seq:
            return []
        self.seq = event.seq
        self.facts += 1
        self.at_ms = self.as_of_ms = max(self.at_ms, event.at_ms)
        out: list[GateCommand] = []
        self.out = out
        self._apply(event.fact)
        self._arm()
        return out

    def _apply(self, fact: Fact) -> None:
        match fact:
            case GateAsked():
                self._asked(fact)
            case GateLeft():
                self._left(fact)
            case GateCharged():
                self.out.extend(accounts.charge(self, (fact.run, fact.ticket), fact.spent))
            case GateRaised():
                meter = accounts.raised(self, fact)
                if meter is not None:
                    self._open(meter)
            case GateReleased():
                for key in [*self.holders, *self.lines.waiting]:
                    if key[0] == fact.run:
                        self._left(GateLeft(run=key[0], ticket=key[1]))
            case TimerFired():
                # The server says it is due, whatever its clock; but nothing later was asked for.
                self.at_ms = max(self.at_ms, min(fact.due_ms, self.armed_ms))
                self.armed_ms = 0
                self._wake()
            case _:
                return

    def outstanding(self) -> list[GateCommand]:
        """What must be in force whatever was folded: the timer."""
        return [ArmTimer(self.id, self.armed_ms)] if self.armed_ms else []

    # -- asking ------------------------------------------------------------------------------------

    def _asked(self, fact: GateAsked) -> None:
        key = fact.run, fact.ticket
        if key in self.holders:  # asked again, or the run before left its place to this one
            self.out.append(accounts.grant(self, key, self.holders[key].demands))
            return
        if key in self.lines.waiting:
            return
        if not all(map(sound, fact.demands)):
            self.out.append(RefuseTicket(self.id, *key, "what it asks for makes no sense"))
            return
        for name in self.meters.learn(fact.demands, self.at_ms):
            for meter in [meter for meter in self.lines.stuck if meter[:2] == name]:
                self._open(meter)
        asking = Waiting(fact.rank_ms, self.seq, *key, self.at_ms, fact.demands, fact.spent)
        refusal, after_ms = self._refusal(asking)
        if refusal:
            self.out.append(RefuseTicket(self.id, *key, refusal, after_ms))
            return
        self.claims.make(fact.demands, key)
        self.lines.add(asking)
        meter = self.lines.place.get(asking.line)
        if meter is None:
            self._turn(asking, None)
        else:  # it may be the first of its line now, and in want of less than who was
            self._open(meter)

    def _refusal(self, asking: Waiting) -> tuple[str, int]:
        """Why a ticket is not even to wait, and after how long it could try again."""
        if len(self.lines.waiting) >= GATE_WAITING_MAX:
            return f"{GATE_WAITING_MAX} tickets wait at this gate already", 0
        for demand in asking.demands:
            most = self.meters.rules[demand.kind, demand.path].most
            if most and demand.cost > most:
                return (
                    f"it costs {demand.cost}, and there are never more than {most}{_of(demand)}",
                    0,
                )
        for demand in asking.demands:
            refusal, after_ms = _taken(self, demand) if demand.mode == "refuse" else ("", 0)
            if refusal:
                return refusal, after_ms
        for demand in asking.demands:
            if demand.mode == "replace":
                self._replace(demand, asking)
        return "", 0

    def _replace(self, demand: Demand, asking: Waiting) -> None:
        """Make room: the oldest that hold are asked to end, those that wait need not begin."""
        claims = self.claims.of.get(meter_of(demand), {})
        for key, cost in list(claims.items()):
            if not self.claims.over(demand):
                return
            reason = f"replaced by run {asking.run}{_of(demand)}"
            if key in self.lines.waiting:
                self.out.append(RefuseTicket(self.id, *key, reason))
                self._withdraw(key)
            elif cost:
                claims[key] = 0  # it has its place until it has ended
                self.out.append(CancelHolder(self.id, *key, reason))

    # -- leaving -----------------------------------------------------------------------------------

    def _left(self, fact: GateLeft) -> None:
        key = fact.run, fact.ticket
        if key in self.lines.waiting:
            self._withdraw(key)
            return
        self.out.extend(accounts.charge(self, key, fact.spent))
        holding = self.holders.pop(key, None)
        if holding is None:
            return
        ticket = f"{RUN_TICKET}0" if fact.ticket.startswith(RUN_TICKET) else fact.ticket
        heir = (
            fact.heir,
            ticket,
        )  # who goes on as another may have been opened again: the other was not
        if fact.heir and heir not in self.holders:
            self._inherit(holding, key, heir)
            return
        if fact.pause_ms:
            self.meters.pause(holding.demands, self.at_ms + fact.pause_ms)
        freed = self.meters.give_back(holding.demands)
        self.claims.drop(holding.demands, key)
        for meter in freed:
            self._open(meter)

    def _inherit(self, holding: Holding, key: Ticket, heir: Ticket) -> None:
        """A run goes on as another, which has its place before it asks, or in place of waiting."""
        if heir in self.lines.waiting:
            self._withdraw(heir)
            self.out.append(accounts.grant(self, heir, holding.demands))
        self.holders[heir] = Holding(*heir, self.at_ms, self.at_ms, holding.demands, holding.spent)
        self.claims.inherit(holding.demands, key, heir)

    # -- granting ----------------------------------------------------------------------------------

    def _turn(self, first: Waiting, came_from: Meter | None) -> None:
        """The first of a line is let through; or its line is stuck, behind those that wait for the same."""
        for demand in first.demands:
            meter = meter_of(demand)
            queued = meter in self.lines.stuck and meter != came_from
            if queued or self.meters.short(meter, demand.cost, self.as_of_ms):
                self.lines.stick(meter, first.line)
                self._remind(meter, first)
                return
        self.lines.let_through(first)
        self.meters.take(first.demands)
        self.holders[first.key] = Holding(
            *first.key, self.at_ms, self.at_ms, first.demands, first.spent
        )
        self.out.append(accounts.grant(self, first.key, first.demands))
        if self.lines.first(first.line) is not None:
            self.lines.stick(came_from or meter_of(first.demands[0]), first.line)

    def _open(self, meter: Meter) -> None:
        """There may be more of something: the lines that wait for it take turns, while it lasts."""
        first = self.lines.front(meter)
        while first is not None:
            if self.meters.short(meter, cost_of(first.demands, meter), self.as_of_ms):
                self._remind(meter, first)
                return
            self.lines.free(meter)
            self._turn(first, meter)
            first = self.lines.front(meter)

    def _withdraw(self, key: Ticket) -> None:
        """A ticket waits no more; who was behind it may be in want of less."""
        asked = self.lines.withdraw(key)
        self.claims.drop(asked.demands, key)
        meter = self.lines.place.get(asked.line)
        if meter is not None:
            self._open(meter)

    # -- time --------------------------------------------------------------------------------------

    def _remind(self, meter: Meter, first: Waiting) -> None:
        """What comes with time alone is looked for when it is due."""
        due = self.meters.due_ms(meter, cost_of(first.demands, meter), self.as_of_ms)
        if due and (meter not in self.waking or due < self.waking[meter]):
            self.waking[meter] = due
            heapq.heappush(self.wakes, (due, meter))

    def _wake(self) -> None:
        """Time has passed: rates have refilled, pauses are over, holders are asked after."""
        while self.wakes and self.wakes[0][0] <= self.at_ms:
            due, meter = heapq.heappop(self.wakes)
            if self.waking.get(meter) == due:
                del self.waking[meter]
                self.as_of_ms = max(due, self.at_ms - RATE_LATE_MAX_MS)
                self._open(meter)
        self.as_of_ms = self.at_ms
        for key, holding in list(self.holders.items()):
            if holding.checked_ms + GATE_CHECK_MS > self.at_ms:
                break
            holding.checked_ms = self.at_ms
            self.holders[key] = self.holders.pop(key)
            self.out.append(CheckTicket(self.id, *key, self.at_ms))

    def _arm(self) -> None:
        """The one timer, for what comes first."""
        while self.wakes and self.waking.get(self.wakes[0][1]) != self.wakes[0][0]:
            heapq.heappop(self.wakes)
        dues = [self.wakes[0][0]] if self.wakes else []
        if self.holders:
            dues.append(next(iter(self.holders.values())).checked_ms + GATE_CHECK_MS)
        due = min(dues, default=0)
        if due and (not self.armed_ms or due < self.armed_ms):
            self.armed_ms = due
            self.out.append(ArmTimer(self.id, due))


def _taken(gate: Gate, demand: Demand) -> tuple[str, int]:
    """Why there is no more of a limit that nobody waits for, and after how long there is."""
    meter = meter_of(demand)
    if demand.is_budget:
        return accounts.refusal(gate, meter)
    if demand.kind == "rate":
        wait_ms = gate.meters.wait_ms(meter, demand.cost, gate.at_ms)
        per = durations.text_of_ms(demand.period_ms)
        used_up = f"the rate of {demand.limit} in {per}{_of(demand)} is used up"
        return (used_up, wait_ms) if wait_ms else ("", 0)
    if not gate.claims.over(demand):
        return "", 0
    first = next(iter(gate.claims.of[meter]))
    return f"run {first[0]} has the place{_of(demand)}", 0


def _of(demand: Demand) -> str:
    """For which key."""
    return f" for {demand.path} {demand.key}" if demand.path else ""
