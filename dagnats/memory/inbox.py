"""External events in memory."""

from __future__ import annotations

from dagnats.memory.link import Link
from dagnats.ports import Entry
from dagnats.wire import subjects


class MemoryInbox:
    """``ports.Inbox``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def since(self, name: str, since_ms: int) -> list[Entry]:
        """The stored events of a name from a time on."""
        stream = self._link.world.streams[subjects.INBOX]
        return [e for e in stream.matching(subjects.inbox(name)) if e.at_ms >= since_ms]

    async def last_seq(self) -> int:
        """The sequence of the newest event."""
        return self._link.world.streams[subjects.INBOX].last_seq
