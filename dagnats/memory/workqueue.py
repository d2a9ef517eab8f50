"""The work queue: a line of tickets for each task and group."""

from __future__ import annotations

from dagnats.clock import Clock
from dagnats.memory.courier import Courier
from dagnats.memory.matching import matches
from dagnats.memory.mischief import Mischief
from dagnats.memory.tickets import Request, TicketLine
from dagnats.ports import Entry
from dagnats.wire import subjects


class WorkQueue:
    """All lines. They are there before any worker asks: tickets wait for their task's first one."""

    def __init__(self, clock: Clock, mischief: Mischief, courier: Courier) -> None:
        self._clock = clock
        self._mischief = mischief
        self._courier = courier
        self._lines: dict[tuple[str, str], TicketLine] = {}

    def line(self, task: str, group: str) -> TicketLine:
        """The tickets of a task and group, given as subject tokens."""
        found = self._lines.get((task, group))
        if found is None:
            found = self._lines[task, group] = TicketLine(f"{task}.{group}")
        return found

    def add(self, ticket: Entry, origin_seq: int) -> None:
        """A dispatch was copied here."""
        line = self.line(*ticket.subject.split(".")[2:4])
        line.add(ticket, origin_seq)
        self._serve(line)

    def _serve(self, line: TicketLine) -> None:
        if line.serve(self._clock.monotonic_ms(), self._mischief, self._courier.post):
            line.taken_ms = self._clock.wall_ms()

    def request(self, line: TicketLine, request: Request) -> None:
        """Hand out tickets now, and as they come."""
        line.requests.append(request)
        self._serve(line)
        self._courier.run()

    def settle(self, reply: str, give_back_ms: float | None) -> None:
        """Settle a ticket: None removes it, a number gives it back after so long."""
        if self._mischief.drop_ack(reply):
            return
        line, seq = self._place(reply)
        if give_back_ms is None:
            line.done(seq)
        else:
            line.give_back(seq, self._clock.monotonic_ms(), give_back_ms)
        self._serve(line)
        self._courier.run()

    def extend(self, reply: str) -> None:
        """Somebody is still at it: the ticket's lease begins anew."""
        if not self._mischief.drop_ack(reply):
            line, seq = self._place(reply)
            line.extend(seq, self._clock.monotonic_ms())

    def _place(self, reply: str) -> tuple[TicketLine, int]:
        task, group, seq, _ = reply.split(".")
        return self.line(task, group), int(seq)

    def waiting(self, run: str) -> frozenset[str]:
        """The message ids of a run's tickets."""
        pattern = subjects.queue_of_run(run)
        entries = (each.entry for line in self._lines.values() for each in line.tickets.values())
        return frozenset(each.msg_id for each in entries if matches(pattern, each.subject))

    def purge_run(self, run: str) -> None:
        """Remove all tickets of a run; who works on one is not told."""
        pattern = subjects.queue_of_run(run)
        for line in self._lines.values():
            for seq, ticket in list(line.tickets.items()):
                if matches(pattern, ticket.entry.subject):
                    line.purge(seq)

    def fire_due(self, now_ms: float) -> None:
        """End leases, delays and requests that have run out."""
        for line in self._lines.values():
            line.fire_due(now_ms, self._courier.post)
            self._serve(line)

    def until_due_ms(self, now_ms: float) -> float | None:
        """How long until the first of them does."""
        waits = (line.until_due_ms(now_ms) for line in self._lines.values())
        return min((wait for wait in waits if wait is not None), default=None)
