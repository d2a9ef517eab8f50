"""The dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator

from dagnats.memory.link import Link
from dagnats.memory.stream import Stream
from dagnats.ports import Entry, Letter
from dagnats.wire import subjects as names


class MemoryLetters:
    """``ports.Letters``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def _dead(self) -> Stream:
        return self._link.world.streams[names.DEAD]

    async def get(self, seq: int) -> Letter | None:
        """The letter, or None when there is none of that sequence."""
        found = self._dead.at(seq)
        return _letter(self._dead, found) if found else None

    async def newest(self, subject: str) -> AsyncGenerator[list[Letter], None]:
        """The letters of a wildcard filter, newest first, in one page."""
        found = self._dead.matching(subject)
        if found:
            yield [_letter(self._dead, entry) for entry in reversed(found)]

    async def tally(self, subject: str) -> dict[str, int]:
        """How many letters each literal subject of a wildcard filter has."""
        return dict(Counter(entry.subject for entry in self._dead.matching(subject)))

    async def remove(self, seq: int) -> bool:
        """Take a letter out of the stream; False when it is not there."""
        found = self._dead.at(seq)
        if found is not None:
            self._dead.drop(found)
        return found is not None


def _letter(stream: Stream, entry: Entry) -> Letter:
    return Letter(
        entry.seq,
        entry.at_ms,
        entry.subject,
        entry.payload,
        entry.msg_id,
        headers=stream.headers_of(entry),
    )
