"""The waiting tickets of one task and group, and the requests of the workers that share them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass, field

from dagnats.memory.mischief import Mischief
from dagnats.ports import Delivery, Entry

Post = Callable[..., None]


@dataclass(slots=True)
class Ticket:
    """A message of the work queue. While ``held_ms`` is set, nobody else gets it."""

    entry: Entry
    origin_seq: int
    delivered: int = 0
    held_ms: float | None = None
    delay_ms: float | None = None  # instead of the lease, after it was given back with a delay


@dataclass(slots=True, eq=False)
class Request:
    """So many tickets, asked for until then."""

    count: int
    until_ms: float
    deliver: Callable[[Delivery], None]
    ended: Callable[[int], None]


@dataclass(slots=True)
class TicketLine:
    """First in, first out; what comes again comes before what is new."""

    name: str
    lease_ms: float = 0.0
    singleton: bool = False
    taken_ms: int = 0
    tickets: dict[int, Ticket] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    _waiting: list[int] = field(default_factory=list)
    _held: dict[int, Ticket] = field(default_factory=dict)

    def add(self, entry: Entry, origin_seq: int) -> None:
        """A ticket arrived."""
        self.tickets[entry.seq] = Ticket(entry, origin_seq)
        self._waiting.append(entry.seq)

    def serve(self, now_ms: float, mischief: Mischief, post: Post) -> bool:
        """Hand out tickets while somebody asks; whether any was."""
        served = False
        while self._waiting and self.requests and not (self.singleton and self._held):
            request = self.requests[0]
            seq = self._waiting.pop(mischief.pick(len(self._waiting)))
            ticket = self.tickets[seq]
            ticket.delivered += 1
            served = True
            post(request.deliver, self._delivery(ticket))
            request.count -= 1
            if request.count == 0:
                self.requests.pop(0)
            if mischief.redeliver(ticket.entry.subject, ticket.delivered):
                insort(self._waiting, seq)
            else:
                self._hold(ticket, now_ms, None)
        return served

    def agree(self, *, singleton: bool) -> bool:
        """Take one at a time, or many; no when who asks now, or has the only ticket, relies on the other."""
        if self.singleton is not singleton and (self.requests or (self.singleton and self._held)):
            return False
        self.singleton = singleton
        return True

    def _delivery(self, ticket: Ticket) -> Delivery:
        entry = ticket.entry
        return Delivery(
            seq=entry.seq,
            at_ms=entry.at_ms,
            subject=entry.subject,
            payload=entry.payload,
            reply=f"{self.name}.{entry.seq}.{ticket.delivered}",
            delivered=ticket.delivered,
            pending=len(self._waiting),
            origin_seq=ticket.origin_seq,
        )

    def _hold(self, ticket: Ticket, now_ms: float, delay_ms: float | None) -> None:
        ticket.held_ms, ticket.delay_ms = now_ms, delay_ms
        self._held[ticket.entry.seq] = ticket

    def _release(self, seq: int) -> None:
        self._held.pop(seq).held_ms = None
        if seq in self.tickets:
            insort(self._waiting, seq)

    def done(self, seq: int) -> None:
        """Remove a ticket, whoever holds it now; the server does not look at who answers."""
        known, held = self.tickets.pop(seq, None), self._held.pop(seq, None)
        if known and not held:
            del self._waiting[bisect_left(self._waiting, seq)]

    def purge(self, seq: int) -> None:
        """Remove a ticket that never comes again; who holds it is not told, and counts until it answers."""
        del self.tickets[seq]
        if seq not in self._held:
            del self._waiting[bisect_left(self._waiting, seq)]

    def give_back(self, seq: int, now_ms: float, delay_ms: float) -> None:
        """Let another have it, now or later; only a ticket that is held can be given back."""
        ticket = self._held.get(seq)
        if ticket is None:
            return
        if delay_ms > 0:
            self._hold(ticket, now_ms, delay_ms)
        else:
            self._release(seq)

    def extend(self, seq: int, now_ms: float) -> None:
        """Begin a held ticket's lease anew."""
        ticket = self._held.get(seq)
        if ticket is not None:
            self._hold(ticket, now_ms, None)

    def _times(self) -> list[tuple[float, int]]:
        """When each held ticket comes back. Leases count from the delivery, at today's length."""
        return [
            (
                (ticket.held_ms or 0.0)
                + (self.lease_ms if ticket.delay_ms is None else ticket.delay_ms),
                seq,
            )
            for seq, ticket in self._held.items()
        ]

    def until_due_ms(self, now_ms: float) -> float | None:
        """When the next lease, delay or request runs out."""
        times = [due for due, _ in self._times()] + [each.until_ms for each in self.requests]
        return max(0.0, min(times) - now_ms) if times else None

    def fire_due(self, now_ms: float, post: Post) -> None:
        """End what has run out."""
        for due_ms, seq in self._times():
            if due_ms <= now_ms:
                self._release(seq)
        for request in [each for each in self.requests if each.until_ms <= now_ms]:
            self.requests.remove(request)
            post(request.ended, request.count)
