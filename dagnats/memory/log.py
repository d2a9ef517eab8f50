"""The log and the feed of its facts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence

from dagnats.errors import LeaseLost, PublishFailed
from dagnats.limits import PULL_EXPIRES_MS
from dagnats.memory.link import Link
from dagnats.memory.stream import Stream
from dagnats.ports import Append, Delivery, Entry, Stored
from dagnats.wire import subjects as names


class MemoryLog:
    """``ports.EventLog``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def partitions(self) -> int:
        """How many partitions runs hash to."""
        return self._link.world.partitions

    @property
    def _events(self) -> Stream:
        return self._link.world.streams[names.EVENTS]

    async def append(
        self, messages: Sequence[Append], fence: Callable[[], bool] | None = None
    ) -> list[Stored]:
        """Store messages as a pipelined writer does: one that is refused does not stop the next.

        Raises:
            WrongSequence: an ``expect_last`` did not hold.
            LeaseLost: the fence said no.
            PublishFailed: a message was refused, or mischief kept its acknowledgement.
        """
        stored: list[Stored] = []
        refused: PublishFailed | None = None
        for message in messages:
            if fence and not fence():
                raise LeaseLost(
                    f"{self._link.name!r} no longer holds the lease for {message.subject}: "
                    f"{len(stored)} of {len(messages)} messages were written, and no more will be",
                    subject=message.subject,
                )
            try:
                stored.append(self._link.world.store(message))
            except PublishFailed as failure:
                refused = refused or failure
        if refused:
            raise refused
        return stored

    async def history(self, run: str, after_seq: int = 0) -> list[Entry]:
        """A run's facts, dispatches and marks after a sequence, in order."""
        return self._link.world.history(run, after_seq)

    async def last(self, subject: str) -> Entry | None:
        """The last message of a literal subject of the log."""
        return self._events.last(subject)

    async def last_of(self, subjects: Sequence[str]) -> list[Entry]:
        """The last message of each of many literal subjects; those that have none are left out."""
        found = [self._events.last(subject) for subject in subjects]
        return [entry for entry in found if entry is not None]

    async def newest(self, subject: str, since_ms: int = 0) -> AsyncGenerator[list[Entry], None]:
        """The messages of a wildcard filter, newest first, none from before a time, in one page."""
        found = [each for each in self._events.matching(subject) if each.at_ms >= since_ms]
        if found:
            yield found[::-1]

    async def following(self, subject: str, after_seq: int) -> list[Entry]:
        """The messages of a wildcard filter after a sequence, in order."""
        return [each for each in self._events.matching(subject) if each.seq > after_seq]

    async def remove(self, run: str, up_to_seq: int, *, marks_kept: int = 0) -> None:
        """Remove a run's messages up to a sequence; or its facts, and all but so many marks."""
        self._link.world.remove(run, up_to_seq, marks_kept)

    async def subjects_of(self, subject: str) -> list[str]:
        """The literal subjects of a wildcard filter that have messages, in no order."""
        return list({each.subject for each in self._events.matching(subject)})

    async def count(self, subject: str) -> int:
        """How many literal subjects of a wildcard filter have messages."""
        return len(await self.subjects_of(subject))

    async def last_seq(self) -> int:
        """The sequence of the log's last message."""
        return self._events.last_seq

    async def disarm(self, run: str) -> None:
        """Remove a run's timer, if one is armed."""
        self._link.world.timers.disarm(names.timer(names.partition_of(run, self.partitions), run))


class MemoryFeed:
    """``ports.FactFeed``. What an owner before held comes only after a ``rewind``, or 30 s."""

    def __init__(self, link: Link, partition: int) -> None:
        self._link = link
        self._partition = partition
        self._open = True
        self._cursor = link.world.cursors[str(partition)]
        self._handed = self._cursor.handed

    async def next(self, limit: int) -> list[Delivery]:
        """The facts that have arrived, at most ``limit``.

        Raises:
            LeaseLost: facts before these were handed to somebody else.
        """
        await self._link.waiter.wait(self._look_again, PULL_EXPIRES_MS)
        world = self._link.world
        before = self._cursor.handed
        taken = world.take_facts(self._partition, limit) if self._open else []
        if taken and before != self._handed:
            raise LeaseLost(
                f"facts of partition {self._partition} were handed to somebody else than "
                f"{self._link.name!r}: begin again with what is not acknowledged",
                seq=taken[0].seq,
            )
        if taken:
            self._handed = self._cursor.handed
        return taken

    def _look_again(self) -> bool:
        return self._cursor.waiting or not self._open or not self._link.up

    async def acknowledge(
        self, delivery: Delivery, fence: Callable[[], bool] | None = None
    ) -> None:
        """This fact and all before it need not come again.

        Raises:
            LeaseLost: the fence said no.
        """
        if fence and not fence():
            raise LeaseLost(
                f"{self._link.name!r} no longer holds the lease of partition {self._partition}: "
                f"fact {delivery.seq} was not acknowledged",
                seq=delivery.seq,
            )
        self._link.world.acknowledge_facts(self._partition, delivery)

    async def rewind(self) -> None:
        """Have everything that was not acknowledged delivered again, at once."""
        if self._link.world:
            self._cursor.rewind()
            self._handed = 0

    async def close(self) -> None:
        """Ask for no more."""
        self._open = False
        self._link.waiter.wake()
