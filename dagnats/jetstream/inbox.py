"""External events as they are stored."""

from __future__ import annotations

from typing import Any

from dagnats.jetstream import direct
from dagnats.jetstream.link import Link
from dagnats.ports import Entry
from dagnats.wire import subjects


class JetStreamInbox:
    """``ports.Inbox``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def since(self, name: str, since_ms: int) -> list[Entry]:
        """The stored events of a name from a time on."""
        subject = subjects.inbox(name)
        first = await direct.first_since(self._link, subjects.INBOX, subject, max(0, since_ms))
        if first is None:
            return []
        after = first.entry.seq - 1
        return [r.entry for r in await direct.read(self._link, subjects.INBOX, subject, after)]

    async def last_seq(self) -> int:
        """The sequence of the newest event."""
        info: dict[str, Any] = await self._link.api(f"STREAM.INFO.{subjects.INBOX}")
        return int(info["state"]["last_seq"])
