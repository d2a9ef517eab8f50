"""One stream of the server: entries, the last of each subject, and the ids it remembers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from dagnats.errors import WrongSequence
from dagnats.limits import DUPLICATE_WINDOW_MS
from dagnats.memory.matching import matches
from dagnats.ports import Append, Entry, Stored

Headers = tuple[tuple[str, str], ...]


def _seq(entry: Entry) -> int:
    return entry.seq


class Stream:
    """A named, ordered store with the checks that the server makes on a publish."""

    def __init__(self, name: str, window_ms: int = DUPLICATE_WINDOW_MS) -> None:
        self.name = name
        self.last_seq = 0
        self.entries: list[Entry] = []
        self._headers: dict[int, Headers] = {}
        self._last: dict[str, Entry] = {}
        self._window_ms = window_ms
        self._ids: dict[str, tuple[int, float]] = {}  # in order of age

    def known(self, message: Append, now_ms: float) -> Stored | None:
        """Where a message was stored before, when its id is still remembered.

        The expected sequence is looked at first, as on a server with one replica: so writing
        one's own first message again is refused, not found to be a duplicate.

        Raises:
            WrongSequence: the subject has another last sequence than the message expects.
        """
        last = self._last.get(message.subject)
        found = last.seq if last else 0
        if message.expect_last is not None and message.expect_last != found:
            raise WrongSequence(
                f"{message.subject} is at sequence {found}, not at {message.expect_last}: "
                "it was written by somebody else in between; read it and decide again",
                subject=message.subject,
                seq=found,
            )
        self._forget_ids(now_ms)
        seen = self._ids.get(message.msg_id) if message.msg_id else None
        return Stored(seen[0], duplicate=True) if seen else None

    def _forget_ids(self, now_ms: float) -> None:
        while self._ids:
            oldest = next(iter(self._ids))
            if self._ids[oldest][1] + self._window_ms > now_ms:
                return
            del self._ids[oldest]

    def add(
        self,
        subject: str,
        payload: bytes,
        wall_ms: int,
        *,
        msg_id: str = "",
        now_ms: float = 0,
        headers: Headers = (),
    ) -> Entry:
        """Store at the end; nothing is checked."""
        self.last_seq += 1
        entry = Entry(self.last_seq, wall_ms, subject, payload, msg_id)
        self.entries.append(entry)
        self._last[subject] = entry
        if headers:
            self._headers[entry.seq] = headers
        if msg_id:
            self._ids[msg_id] = (entry.seq, now_ms)
        return entry

    def last(self, subject: str) -> Entry | None:
        """The last entry of a literal subject."""
        return self._last.get(subject)

    def headers_of(self, entry: Entry) -> Headers:
        """What was stored with an entry beside its payload."""
        return self._headers.get(entry.seq, ())

    def at(self, seq: int) -> Entry | None:
        """The entry of a sequence."""
        index = bisect_left(self.entries, seq, key=_seq)
        found = self.entries[index] if index < len(self.entries) else None
        return found if found and found.seq == seq else None

    def matching(self, pattern: str) -> list[Entry]:
        """The entries of a filter, in order."""
        return [entry for entry in self.entries if matches(pattern, entry.subject)]

    def last_matching(self, pattern: str) -> Entry | None:
        """The last entry of a filter."""
        newest_first = reversed(self.entries)
        return next((entry for entry in newest_first if matches(pattern, entry.subject)), None)

    def drop(self, entry: Entry) -> None:
        """Delete one entry; its sequence is not used again."""
        index = bisect_left(self.entries, entry.seq, key=_seq)
        if index < len(self.entries) and self.entries[index].seq == entry.seq:
            del self.entries[index]
            self._headers.pop(entry.seq, None)
        if self._last.get(entry.subject) is entry:
            del self._last[entry.subject]

    def next_after(self, pattern: str, seq: int) -> Entry | None:
        """The first entry of a subject filter after a sequence."""
        start = bisect_right(self.entries, seq, key=_seq)
        return next(
            (
                self.entries[index]
                for index in range(start, len(self.entries))
                if matches(pattern, self.entries[index].subject)
            ),
            None,
        )
