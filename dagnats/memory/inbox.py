"""External events in memory, and messages of other subjects that triggers wait for."""

from __future__ import annotations

from collections.abc import Sequence

from dagnats.memory.link import Link
from dagnats.ports import Entry
from dagnats.wire import subjects


class MemoryInbox:
    """``ports.Inbox``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def since(self, name: str, since_ms: int) -> list[Entry]:
        """The stored events of a name from a time on."""
        return await self.messages(subjects.INBOX, subjects.inbox(name), 0, since_ms)

    async def last_seq(self, stream: str) -> int:
        """The sequence of the newest message."""
        return self._link.world.streams[stream].last_seq

    async def messages(
        self, stream: str, subject: str, after_seq: int, since_ms: int
    ) -> list[Entry]:
        """The stored messages of a subject filter after a sequence, none from before a time."""
        found = self._link.world.streams[stream].matching(subject)
        return [each for each in found if each.seq > after_seq and each.at_ms >= since_ms]

    async def capture(self, subject: str) -> None:
        """Have the messages of a subject filter stored."""
        captured = self._link.world.captured
        if not any(subjects.covers(one, subject) for one in captured):
            captured.append(subject)

    async def release(self, needed: Sequence[str]) -> None:
        """Capture only these subject filters from now on."""
        self._link.world.captured[:] = needed
