"""The archive in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from dagnats.memory.link import Link
from dagnats.ports import Entry
from dagnats.wire import subjects as names


class MemoryArchive:
    """``ports.Archive``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def _kept(self, stream: str, subject: str) -> list[Entry]:
        world = self._link.world
        oldest = world.clock.wall_ms() - world.archived_for_ms
        return [each for each in world.streams[stream].matching(subject) if each.at_ms > oldest]

    async def records(self, subject: str) -> list[Entry]:
        """The records that share a literal subject, in order."""
        return self._kept(names.ARCHIVED, subject)

    async def newest(self, since_ms: int = 0) -> AsyncGenerator[list[Entry], None]:
        """The records, newest first, in one page."""
        found = self._kept(names.ARCHIVED, names.ARCHIVED_SUBJECTS[0])
        if kept := [each for each in found if each.at_ms >= since_ms]:
            yield kept[::-1]

    async def part(self, seq: int) -> bytes | None:
        """A part of a history by its sequence; None when it has expired."""
        found = self._kept(names.ARCHIVE, names.ARCHIVE_SUBJECTS[0])
        return next((each.payload for each in found if each.seq == seq), None)

    async def keep(self, age_ms: int) -> None:
        """Keep what is archived for so long from now on."""
        self._link.world.archived_for_ms = age_ms
