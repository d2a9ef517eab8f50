"""What goes wrong between the processes and the server, and a connection that can be interrupted.

``Slow`` is a process's ``Outside`` over the memory adapters: each call may suspend before and after it
happens, so that whoever drives the process can stop it there, kill it, or let others go first.
"""

from __future__ import annotations

import random
import types
from collections.abc import Callable, Generator, Sequence

from dagnats.errors import BrokerUnavailable, LeaseLost, PublishFailed
from dagnats.limits import DUPLICATE_WINDOW_MS
from dagnats.memory.clock import VirtualClock
from dagnats.memory.log import MemoryFeed
from dagnats.memory.mischief import Fault
from dagnats.memory.outside import Memory
from dagnats.memory.storage import MemoryDocuments
from dagnats.memory.world import World
from dagnats.ports import Append, Delivery, Entry, Stored
from dagnats.wire import subjects

LEASES_HESITATION = 0.5  # who owns what is where it matters who comes first

Fence = Callable[[], bool]
Wrote = Callable[[Append, Stored, bool], None]


@types.coroutine
def breathe() -> Generator[None]:
    """Let the driver decide who goes on."""
    yield


class Turn:
    """``asyncio.Lock``, without an event loop."""

    def __init__(self) -> None:
        self._taken = False

    async def __aenter__(self) -> None:
        while self._taken:
            await breathe()
        self._taken = True

    async def __aexit__(self, *_: object) -> None:
        self._taken = False


class Gremlin:
    """Seeded mischief; ``calm`` ends it."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.calm = False

    def _happens(self, chance: float) -> bool:
        return not self.calm and self._rng.random() < chance

    def fail_append(self, message: Append) -> Fault:
        """Now and then the writer hears nothing."""
        if not self._happens(0.015):
            return ""
        return "before" if self._rng.random() < 0.5 else "after"

    def drop_ack(self, reply: str) -> bool:
        """Acknowledgements are the first to get lost."""
        return self._happens(0.1)

    def redeliver(self, subject: str, delivered: int) -> bool:
        """Some deliveries come twice."""
        return delivered < 4 and self._happens(0.05)

    def pick(self, waiting: int) -> int:
        """Tickets go out in any order."""
        return self._rng.randrange(waiting) if self._happens(0.5) else 0


class Slow:
    """One scheduler's connection."""

    def __init__(
        self, world: World, name: str, clock: VirtualClock, rng: random.Random, wrote: Wrote
    ) -> None:
        self.memory = Memory(world, name)
        self.clock = clock
        self.rng = rng
        self.wrote = wrote
        self.hesitation = 0.12
        self.cut_until_ms = 0.0
        self.log = SlowLog(self)
        self.queue = SlowQueue(self)
        self.notices = SlowNotices(self)
        self.inbox = SlowInbox(self)
        self.blobs = self.memory.blobs
        self.archive = self.memory.archive

    def documents(self, bucket: str) -> SlowDocuments:
        """The bucket of that name."""
        more = LEASES_HESITATION if bucket == subjects.LEASES and self.hesitation > 0.1 else 0.0
        return SlowDocuments(self, self.memory.documents(bucket), more)

    async def feed(self, partition: int) -> SlowFeed:
        """Start receiving a partition's facts."""
        await self.way()
        return SlowFeed(self, await self.memory.feed(partition))

    async def way(self, more: float = 0.0) -> None:
        """The way to the server and back, which may take a while, or not be there."""
        if self.clock.monotonic_ms() < self.cut_until_ms:
            raise BrokerUnavailable("this process is cut off for a while")
        while self.rng.random() < self.hesitation + more:
            await breathe()

    async def close(self) -> None:
        """Let go of everything."""
        await self.memory.close()


class SlowLog:
    """``ports.EventLog``, as far as a scheduler needs it."""

    def __init__(self, slow: Slow) -> None:
        self._slow = slow
        self._log = slow.memory.log

    @property
    def partitions(self) -> int:
        """How many partitions runs hash to."""
        return self._log.partitions

    async def append(self, messages: Sequence[Append], fence: Fence | None = None) -> list[Stored]:
        """Message by message, with room for others in between; a refusal does not stop the next."""
        stored: list[Stored] = []
        refused: PublishFailed | None = None
        for message in messages:
            await self._slow.way()
            try:
                stored.append(await self._one(message, fence))
            except PublishFailed as failure:
                refused = refused or failure
        await self._slow.way()
        if refused:
            raise refused
        return stored

    async def _one(self, message: Append, fence: Fence | None) -> Stored:
        slow = self._slow
        late = slow.rng.random() < slow.hesitation / 20
        if late:  # the process stops between asking its fence and writing
            asked_ms = slow.clock.monotonic_ms()
            if fence and not fence():
                raise LeaseLost("the lease was over", subject=message.subject)
            await breathe()
            if slow.clock.monotonic_ms() - asked_ms > DUPLICATE_WINDOW_MS / 2:
                raise BrokerUnavailable("the server gave the connection up")
        answer = (await self._log.append([message], None if late else fence))[0]
        slow.wrote(message, answer, late)
        return answer

    async def history(self, run: str, after_seq: int = 0) -> list[Entry]:
        """A run's facts, dispatches and marks after a sequence, in order."""
        await self._slow.way()
        found = await self._log.history(run, after_seq)
        await self._slow.way()
        return found

    async def remove(self, run: str, up_to_seq: int, *, marks_kept: int = 0) -> None:
        """Remove a run's messages up to a sequence; or its facts, and all but so many marks."""
        await self._slow.way()
        await self._log.remove(run, up_to_seq, marks_kept=marks_kept)
        await self._slow.way()

    async def last(self, subject: str) -> Entry | None:
        """The last message of a literal subject."""
        await self._slow.way()
        return await self._log.last(subject)

    async def last_seq(self) -> int:
        """The sequence of the log's last message."""
        await self._slow.way()
        found = await self._log.last_seq()
        await self._slow.way()
        return found

    async def disarm(self, run: str) -> None:
        """Remove a run's timer, if one is armed."""
        await self._slow.way()
        await self._log.disarm(run)


class SlowFeed:
    """``ports.FactFeed``."""

    def __init__(self, slow: Slow, feed: MemoryFeed) -> None:
        self._slow = slow
        self._feed = feed

    async def next(self, limit: int) -> list[Delivery]:
        """The facts that have arrived, as many as the network brings at once."""
        await self._slow.way()
        return await self._feed.next(self._slow.rng.choice((1, 2, 5, limit)))

    async def acknowledge(self, delivery: Delivery, fence: Fence | None = None) -> None:
        """This fact and all before it need not come again."""
        await self._slow.way()
        await self._feed.acknowledge(delivery, fence)

    async def rewind(self) -> None:
        """Have everything that was not acknowledged delivered again, at once."""
        await self._slow.way()
        await self._feed.rewind()
        await self._slow.way()

    async def close(self) -> None:
        """Ask for no more."""
        await self._feed.close()


class SlowDocuments:
    """``ports.Documents``."""

    def __init__(self, slow: Slow, documents: MemoryDocuments, more: float) -> None:
        self._slow = slow
        self._more = more
        self._documents = documents

    async def get(self, key: str) -> tuple[bytes, int] | None:
        """The value and its revision."""
        await self._slow.way(self._more)
        return await self._documents.get(key)

    async def put(self, key: str, value: bytes) -> int:
        """Write; return the revision."""
        await self._slow.way(self._more)
        revision = await self._documents.put(key, value)
        await self._slow.way(self._more)
        return revision

    async def swap(self, key: str, value: bytes, revision: int) -> int | None:
        """Write if the key is still at ``revision``."""
        await self._slow.way(self._more)
        found = await self._documents.swap(key, value, revision)
        await self._slow.way(self._more)
        return found

    async def delete(self, key: str) -> None:
        """Remove a key."""
        await self._slow.way(self._more)
        await self._documents.delete(key)

    async def all(self, prefix: str = "") -> dict[str, tuple[bytes, int]]:
        """Every key with its value and revision."""
        await self._slow.way(self._more)
        found = await self._documents.all(prefix)
        await self._slow.way(self._more)
        return found


class SlowQueue:
    """``ports.TaskQueue``: all a scheduler does with it."""

    def __init__(self, slow: Slow) -> None:
        self._slow = slow

    async def purge_run(self, run: str) -> None:
        """Remove the waiting tickets of a run."""
        await self._slow.way()
        await self._slow.memory.queue.purge_run(run)


class SlowNotices:
    """``ports.Notices``: all a scheduler does with it."""

    def __init__(self, slow: Slow) -> None:
        self._slow = slow

    async def tell(self, subject: str, payload: bytes) -> None:
        """Send to whoever listens now."""
        await self._slow.way()
        await self._slow.memory.notices.tell(subject, payload)


class SlowInbox:
    """``ports.Inbox``: all a scheduler does with it."""

    def __init__(self, slow: Slow) -> None:
        self._slow = slow
        self._inbox = slow.memory.inbox

    async def since(self, name: str, since_ms: int) -> list[Entry]:
        """The stored events of a name from a time on."""
        await self._slow.way()
        return await self._inbox.since(name, since_ms)

    async def last_seq(self, stream: str) -> int:
        """The sequence of the newest message."""
        await self._slow.way()
        return await self._inbox.last_seq(stream)

    async def messages(
        self, stream: str, subject: str, after_seq: int, since_ms: int
    ) -> list[Entry]:
        """The stored messages of a subject filter after a sequence."""
        await self._slow.way()
        return await self._inbox.messages(stream, subject, after_seq, since_ms)
