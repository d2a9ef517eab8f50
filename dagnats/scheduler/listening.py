"""Hearing external events, and messages that triggers wait for, once for all partitions of a process."""

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
    """Follows a stream, and has every partition held look at each of its messages."""

    def __init__(
        self, outside: Outside, partitions: Mapping[int, Partition], stream: str, subject: str
    ) -> None:
        self._outside = outside
        self._stream = stream
        self._subject = subject
        self._partitions = partitions
        self._seq = 0

    async def begin(self) -> None:
        """Note where to begin: what is older, each partition reads back when it is taken over."""
        while True:
            try:
                self._seq = await self._outside.inbox.last_seq(self._stream)
            except (DagNatsError, TimeoutError) as error:
                log.warning("%s cannot be heard yet: %s", self._stream, error)
                await asyncio.sleep(_PAUSE_S)
            else:
                return

    async def run(self) -> None:
        """Listen until cancelled; outages are waited out."""
        while True:
            try:
                events = self._outside.notices.follow(self._stream, self._subject, self._seq)
                async with aclosing(events):
                    async for entry in events:
                        await self._hear(entry)
                        self._seq = entry.seq
            except (DagNatsError, TimeoutError) as error:
                log.warning("%s is not heard for a moment: %s", self._stream, error)
            await asyncio.sleep(_PAUSE_S)

    async def _hear(self, entry: Entry) -> None:
        for partition in list(self._partitions.values()):
            while partition.fence():
                try:
                    await hear(partition, self._stream, entry)
                except (DagNatsError, TimeoutError) as error:
                    log.warning("event %s waits: %s", entry.subject, error)
                    await asyncio.sleep(_PAUSE_S)
                else:
                    break


async def hear(partition: Partition, stream: str, entry: Entry) -> None:
    """A message was published: tell the runs of a partition that wait for it, and the triggers that it fires."""
    if stream == subjects.INBOX:
        await partition.lookout.heard(entry)
    await partition.entities.triggers.watching.heard(stream, entry)
