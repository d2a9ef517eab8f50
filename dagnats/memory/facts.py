"""The consumer of a partition's facts: a cursor, and a floor below which all is acknowledged."""

from __future__ import annotations

from bisect import bisect_right

from dagnats.memory.mischief import Mischief
from dagnats.ports import Delivery, Entry

LAPSE_MS = 30_000.0  # what was handed to somebody silent comes again after this


class FactCursor:
    """Kept by the server, so it outlives whoever reads; two readers share it, as on the server."""

    def __init__(self) -> None:
        self._facts: list[tuple[Entry, int]] = []
        self._seqs: list[int] = []
        self._floor = 0  # positions in the lists above
        self._next = 0
        self._handed_ms = 0.0
        self._counts: dict[int, int] = {}
        self.handed = 0  # deliveries since the last rewind, to whomever

    def add(self, entry: Entry, origin_seq: int) -> None:
        """A fact was stored."""
        self._facts.append((entry, origin_seq))
        self._seqs.append(entry.seq)

    @property
    def waiting(self) -> bool:
        """Whether there is something to hand out."""
        return self._next < len(self._facts)

    def take(self, limit: int, now_ms: float, mischief: Mischief) -> list[Delivery]:
        """Hand out what comes next."""
        taken: list[Delivery] = []
        while self.waiting and len(taken) < limit:
            entry, origin_seq = self._facts[self._next]
            self._next += 1
            self._handed_ms = now_ms
            self.handed += 1
            count = self._counts[entry.seq] = self._counts.get(entry.seq, 0) + 1
            pending = len(self._facts) - self._next
            taken.append(
                Delivery(
                    seq=entry.seq,
                    at_ms=entry.at_ms,
                    subject=entry.subject,
                    payload=entry.payload,
                    reply=f"fact.{entry.seq}.{count}",
                    delivered=count,
                    pending=pending,
                    origin_seq=origin_seq,
                )
            )
            if mischief.redeliver(entry.subject, count):
                self._next -= 1
        return taken

    def acknowledge(self, seq: int, now_ms: float) -> None:
        """Raise the floor over a fact and all before it; ignored while it is not handed out."""
        position = bisect_right(self._seqs, seq)
        if position > self._next:
            return
        for index in range(self._floor, position):
            self._counts.pop(self._seqs[index], None)
        self._floor = max(self._floor, position)
        self._handed_ms = now_ms

    def rewind(self) -> None:
        """Hand out everything above the floor again, counting anew, as the server's reset does."""
        self._next = self._floor
        self.handed = 0
        self._counts.clear()

    def until_due_ms(self, now_ms: float) -> float | None:
        """When what was handed out and not acknowledged comes again."""
        if self._next == self._floor:
            return None
        return max(0.0, self._handed_ms + LAPSE_MS - now_ms)

    def fire_due(self, now_ms: float) -> None:
        """Have it come again, if it is time."""
        if self.until_due_ms(now_ms) == 0:
            self._next = self._floor
