"""Hearing external events, once for all partitions of a process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing

from dagnats.errors import DagNatsError
from dagnats.ports import Entry, Outside
from dagnats.scheduler.partition import Partition
from dagnats.wire import subjects

log = logging.getLogger("dagnats.scheduler")

_PAUSE_S = 0.5


class EventListener:
    """Follows the inbox, and has every partition held look at each event."""

    def __init__(self, outside: Outside, partitions: Mapping[int, Partition]) -> None:
        self._outside = outside
        self._partitions = partitions
        self._seq = 0

    async def begin(self) -> None:
        """Note where to begin: what is older, each partition reads back when it is taken over."""
        while True:
            try:
                self._seq = await self._outside.inbox.last_seq()
            except (DagNatsError, TimeoutError) as error:
                log.warning("external events cannot be heard yet: %s", error)
                await asyncio.sleep(_PAUSE_S)
            else:
                return

    async def run(self) -> None:
        """Listen until cancelled; outages are waited out."""
        while True:
            try:
                events = self._outside.notices.follow(
                    subjects.INBOX, subjects.EVENTS_INBOX, self._seq
                )
                async with aclosing(events):
                    async for entry in events:
                        await self._hear(entry)
                        self._seq = entry.seq
            except (DagNatsError, TimeoutError) as error:
                log.warning("external events are not heard for a moment: %s", error)
            await asyncio.sleep(_PAUSE_S)

    async def _hear(self, entry: Entry) -> None:
        for partition in list(self._partitions.values()):
            while partition.fence():
                try:
                    await partition.lookout.heard(entry)
                except (DagNatsError, TimeoutError) as error:
                    log.warning("event %s waits: %s", entry.subject, error)
                    await asyncio.sleep(_PAUSE_S)
                else:
                    break
