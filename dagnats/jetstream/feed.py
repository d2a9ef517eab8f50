"""A partition's facts, for its owner."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from dagnats.errors import LeaseLost
from dagnats.jetstream.consumers import ensure_consumer
from dagnats.jetstream.frames import publish_frame
from dagnats.jetstream.link import Link
from dagnats.jetstream.puller import Puller, consumer_seq, delivery
from dagnats.limits import FACTS_BATCH_MAX, FACTS_UNACKED_MAX, PULL_EXPIRES_MS
from dagnats.ports import Delivery
from dagnats.wire import subjects

_ACK_WAIT_NS: Final = 30_000_000_000
_BUFFER_MAX: Final = 2 * FACTS_BATCH_MAX


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
        self._handed: int | None = None  # the consumer's count of deliveries; none before the first
        self._missed = False
        self._unacked: deque[tuple[int, str]] = deque()  # what came since the last rewind

    async def open(self) -> JetStreamFeed:
        """Make the consumer if it is not there, and start asking."""
        await self._ensure()
        self._puller = await self._new_puller().open()
        self._link.on_reconnect.append(self._reconnected)
        self._top_up()
        return self

    async def next(self, limit: int) -> list[Delivery]:
        """The facts that have arrived; after about a second without any, none.

        Raises:
            LeaseLost: facts in between were handed to another reader, one that was paused and does not
                know yet that it lost its lease; what comes after them must not be acknowledged.
        """
        if self._stale and not self._closed:
            await self.rewind()
        if not self._buffer and not self._closed:
            await self._arrived_soon()
        if self._missed:
            raise LeaseLost(f"facts of {self._filter} were handed to another scheduler: rewind")
        taken = [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]
        self._top_up()
        return taken

    async def acknowledge(
        self, delivery: Delivery, fence: Callable[[], bool] | None = None
    ) -> None:
        """This fact and all before it need not come again.

        After a rewind the server counts anew. A handle from before would make it ignore all that is
        acknowledged until it has counted as far, so the handle of the new delivery is sent instead.

        Raises:
            LeaseLost: the fence said no; nothing was sent.
        """
        if fence is not None and not fence():
            raise LeaseLost(
                f"the lease for {self._filter} is gone; fact {delivery.seq} stays unacknowledged"
            )
        newest = ""
        while self._unacked and self._unacked[0][0] <= delivery.seq:
            newest = self._unacked.popleft()[1]
        if newest:
            self._link.send(publish_frame(newest, b"+ACK"))

    async def rewind(self) -> None:
        """Have everything that was not acknowledged delivered again, at once."""
        if self._puller:
            self._puller.close()  # its inbox goes too, so nothing from before can arrive after
        self._buffer.clear()
        self._stale = False
        try:
            await self._ensure()  # a reset of a consumer that is not there is never answered
            await self._link.api(f"CONSUMER.RESET.{subjects.EVENTS}.{self._name}")
            self._handed, self._missed = 0, False  # the server counts from 1 again
            self._unacked.clear()
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

    def _arrived(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        fact = delivery(subject, reply, headers, payload)
        handed = consumer_seq(fact.reply)
        self._missed = self._missed or (self._handed is not None and handed != self._handed + 1)
        self._handed = handed
        self._unacked.append((fact.seq, fact.reply))
        self._buffer.append(fact)
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
