"""The archive on JetStream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from dagnats.jetstream import direct, lookup
from dagnats.jetstream.link import Link
from dagnats.limits import DUPLICATE_WINDOW_MS
from dagnats.ports import Entry
from dagnats.wire import subjects as names


class JetStreamArchive:
    """``ports.Archive``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def records(self, subject: str) -> list[Entry]:
        """The records that share a literal subject, in order."""
        found = await direct.read(self._link, names.ARCHIVED, subject)
        return [record.entry for record in found]

    def newest(self, since_ms: int = 0) -> AsyncGenerator[list[Entry], None]:
        """The records in pages, newest first."""
        return lookup.newest(self._link, names.ARCHIVED, names.ARCHIVED_SUBJECTS[0], since_ms)

    async def part(self, seq: int) -> bytes | None:
        """A part of a history by its sequence; None when it has expired."""
        found = await direct.get(self._link, names.ARCHIVE, seq)
        return found.entry.payload if found else None

    async def keep(self, age_ms: int) -> None:
        """Keep what is archived for so long from now on."""
        for stream in (names.ARCHIVE, names.ARCHIVED):
            found: dict[str, Any] = await self._link.api(f"STREAM.INFO.{stream}")
            window_ms = min(age_ms, DUPLICATE_WINDOW_MS)
            wanted = {"max_age": age_ms * 1_000_000, "duplicate_window": window_ms * 1_000_000}
            if found["config"] != {**found["config"], **wanted}:
                await self._link.api(f"STREAM.UPDATE.{stream}", {**found["config"], **wanted})
