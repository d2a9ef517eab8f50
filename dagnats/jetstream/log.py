"""The log on JetStream, and a partition's facts."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from dagnats.errors import LeaseLost, WrongSequence
from dagnats.jetstream import direct
from dagnats.jetstream.consumers import ensure_consumer
from dagnats.jetstream.frames import publish_frame
from dagnats.jetstream.link import Link
from dagnats.jetstream.publisher import Publisher
from dagnats.jetstream.puller import Puller
from dagnats.limits import FACTS_BATCH_MAX, FACTS_UNACKED_MAX, PULL_EXPIRES_MS
from dagnats.ports import Append, Delivery, Entry, Stored
from dagnats.wire import subjects

_ACK_WAIT_NS: Final = 30_000_000_000
_BUFFER_MAX: Final = 2 * FACTS_BATCH_MAX


class JetStreamLog:
    """``ports.EventLog``."""

    def __init__(self, link: Link, publisher: Publisher, partitions: int) -> None:
        self._link = link
        self._publisher = publisher
        self._partitions = partitions

    @property
    def partitions(self) -> int:
        """How many partitions runs hash to."""
        return self._partitions

    async def append(
        self, messages: Sequence[Append], fence: Callable[[], bool] | None = None
    ) -> list[Stored]:
        """Store messages, pipelined, in order; return when all are stored."""
        try:
            return await self._publisher.publish_all(messages, fence)
        except WrongSequence as wrong:
            if len(messages) != 1 or not wrong.facts.get("resent"):
                raise
            own = await self._own(messages[0])
            if own is None:
                raise
            return [own]

    async def _own(self, message: Append) -> Stored | None:
        """Whether what is there is this message, stored by a try whose answer was lost.

        A single server checks the expected sequence before the message id, so it says "wrong
        sequence" to the repetition of a write that it has stored itself.
        """
        found = await self.last(message.subject)
        if found and message.msg_id and found.msg_id == message.msg_id:
            return Stored(found.seq, duplicate=True) if found.payload == message.payload else None
        return None

    async def history(self, run: str, after_seq: int = 0) -> list[Entry]:
        """A run's facts, dispatches and marks after a sequence, in order."""
        subject = subjects.history(subjects.partition_of(run, self._partitions), run)
        found = await direct.read(self._link, subjects.EVENTS, subject, after_seq)
        return [record.entry for record in found]

    async def last(self, subject: str) -> Entry | None:
        """The last message of a literal subject of the log."""
        found = await direct.last(self._link, subjects.EVENTS, subject)
        return found.entry if found else None

    async def last_seq(self) -> int:
        """The sequence of the log's last message."""
        info: dict[str, Any] = await self._link.api(f"STREAM.INFO.{subjects.EVENTS}")
        return int(info["state"]["last_seq"])


class JetStreamFeed:
    """``ports.FactFeed``: the durable consumer of one partition.

    After a reconnect the next ``next`` rewinds first: what the old connection lost on its way would
    otherwise come only after the ack wait, and behind younger facts.
    """

    def __init__(self, link: Link, partition: int) -> None:
        self._link = link
        self._name = subjects.scheduler_consumer(partition)
        self._filter = subjects.facts_of_partition(partition)
        self._buffer: deque[Delivery] = deque()
        self._arrival: asyncio.Event = asyncio.Event()
        self._puller: Puller | None = None
        self._wanted = False
        self._stale = False
        self._closed = False

    async def open(self) -> JetStreamFeed:
        """Make the consumer if it is not there, and start asking."""
        await self._ensure()
        self._puller = await self._new_puller().open()
        self._link.on_reconnect.append(self._reconnected)
        self._top_up()
        return self

    async def next(self, limit: int) -> list[Delivery]:
        """The facts that have arrived; after about a second without any, none."""
        if self._stale and not self._closed:
            await self.rewind()
        if not self._buffer and not self._closed:
            await self._arrived_soon()
        taken = [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]
        self._top_up()
        return taken

    async def acknowledge(
        self, delivery: Delivery, fence: Callable[[], bool] | None = None
    ) -> None:
        """This fact and all before it need not come again.

        Raises:
            LeaseLost: the fence said no; nothing was sent.
        """
        if fence is not None and not fence():
            raise LeaseLost(
                f"the lease for {self._filter} is gone; fact {delivery.seq} stays unacknowledged"
            )
        self._link.send(publish_frame(delivery.reply, b"+ACK"))

    async def rewind(self) -> None:
        """Have everything that was not acknowledged delivered again, at once."""
        if self._puller:
            self._puller.close()  # its inbox goes too, so nothing from before can arrive after
        self._buffer.clear()
        self._stale = False
        try:
            await self._ensure()  # a reset of a consumer that is not there is never answered
            await self._link.api(f"CONSUMER.RESET.{subjects.EVENTS}.{self._name}")
            if not self._closed:
                self._puller = await self._new_puller().open()
        except BaseException:
            self._stale = True
            raise
        self._top_up()

    async def close(self) -> None:
        """Ask for no more."""
        self._closed = True
        self._arrival.set()
        if self._puller:
            self._puller.close()
        if self._reconnected in self._link.on_reconnect:
            self._link.on_reconnect.remove(self._reconnected)

    # -- inside ----------------------------------------------------------------------------------

    async def _ensure(self) -> None:
        settings = {
            "ack_policy": "all",
            "ack_wait": _ACK_WAIT_NS,
            "max_ack_pending": FACTS_UNACKED_MAX,
        }
        await ensure_consumer(self._link, subjects.EVENTS, self._name, self._filter, settings)

    async def _arrived_soon(self) -> None:
        self._wanted = True
        self._top_up()
        self._arrival.clear()
        try:
            async with asyncio.timeout(PULL_EXPIRES_MS / 1000):
                await self._arrival.wait()
        except TimeoutError:
            pass
        finally:
            self._wanted = False

    def _new_puller(self) -> Puller:
        return Puller(
            self._link, subjects.EVENTS, self._name, self._arrived, self._ended, self._reconnected
        )

    def _arrived(self, delivery: Delivery) -> None:
        self._buffer.append(delivery)
        self._arrival.set()

    def _ended(self, _count: int) -> None:
        if self._wanted:
            self._top_up()

    def _reconnected(self) -> None:
        self._stale = True
        self._arrival.set()

    def _top_up(self) -> None:
        """Keep a request open, and a second one before the first is used up."""
        if self._puller is None or self._closed or self._stale:
            return
        room = _BUFFER_MAX - len(self._buffer) - self._puller.outstanding
        if room >= _BUFFER_MAX // 2:
            self._puller.request(room, PULL_EXPIRES_MS)
