"""One process's view of a world: ``ports.Outside`` in memory."""

from __future__ import annotations

from dagnats.memory.archive import MemoryArchive
from dagnats.memory.inbox import MemoryInbox
from dagnats.memory.letters import MemoryLetters
from dagnats.memory.link import Link
from dagnats.memory.log import MemoryFeed, MemoryLog
from dagnats.memory.notices import MemoryNotices
from dagnats.memory.queue import MemoryQueue
from dagnats.memory.storage import MemoryBlobs, MemoryDocuments
from dagnats.memory.waiting import Waiter
from dagnats.memory.world import World


class Memory:
    """All ports of one process. Several on one world are several processes of one deployment.

    Without a waiter no call ever suspends, so a simulator may drive everything with ``send(None)``;
    an ``OnLoop`` waiter makes empty feeds wait on asyncio's event loop.
    """

    def __init__(self, world: World, name: str = "process", waiter: Waiter | None = None) -> None:
        self._link = Link(world, name, waiter)
        self.log = MemoryLog(self._link)
        self.queue = MemoryQueue(self._link)
        self.notices = MemoryNotices(self._link)
        self.blobs = MemoryBlobs(self._link)
        self.inbox = MemoryInbox(self._link)
        self.archive = MemoryArchive(self._link)
        self.letters = MemoryLetters(self._link)

    def documents(self, bucket: str) -> MemoryDocuments:
        """The bucket of that name."""
        return MemoryDocuments(self._link, bucket)

    async def feed(self, partition: int) -> MemoryFeed:
        """Start receiving a partition's facts."""
        return MemoryFeed(self._link, partition)

    async def close(self) -> None:
        """Let go of everything; twice is fine."""
        self._link.cut("was closed")

    def crash(self) -> None:
        """End as a killed process does: what it held stays held until its lease is over."""
        self._link.cut("crashed")
