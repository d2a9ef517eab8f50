"""Pulling tickets within the free slots: never more than can be run, and no request for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dagnats.limits import PULL_EXPIRES_MS
from dagnats.ports import Delivery, TaskQueue, TicketSource
from dagnats.worker.slots import Demand, allot

_GATHER_S = 0.004  # how long single freed slots are gathered before more tickets are asked for
_LONG_PULL_MS = 15_000


class Channel:
    """One queue of a worker: a task and a group."""

    def __init__(self, task: str, group: str, *, singleton: bool = False) -> None:
        self.task = task
        self.group = group
        self.singleton = singleton
        self.demand = Demand(most=1 if singleton else 0)
        self.source: TicketSource | None = None


class Pulling:
    """Asks each queue for what may be run now; ``busy`` says how many slots are taken."""

    def __init__(
        self,
        channels: list[Channel],
        slots: int,
        busy: Callable[[], int],
        take: Callable[[Delivery], None],
    ) -> None:
        self.channels = channels
        self._slots = slots
        self._busy = busy
        self._take = take
        self._turn = 0
        self._closed = False
        self._filling: asyncio.Handle | None = None
        self._requests: set[asyncio.Task[None]] = set()

    async def open(self, queue: TaskQueue, lease_ms: int) -> None:
        """Join every queue, and ask for the first tickets.

        Raises:
            BrokerUnsuitable: a queue is already used in another way.
        """
        for channel in self.channels:
            channel.source = await queue.open(
                channel.task, channel.group, lease_ms, self._delivers(channel), self._ends(channel),
                singleton=channel.singleton,
            )  # fmt: skip
        self._fill()

    async def close(self) -> None:
        """Ask for no more; what arrives all the same is handed to ``take``."""
        self._closed = True
        for channel in self.channels:
            if channel.source is not None:
                await channel.source.close()

    def _delivers(self, channel: Channel) -> Callable[[Delivery], None]:
        def deliver(delivery: Delivery) -> None:
            channel.demand.requested = max(0, channel.demand.requested - 1)
            channel.demand.backlog = delivery.pending
            self._take(delivery)

        return deliver

    def _ends(self, channel: Channel) -> Callable[[int], None]:
        def ended(undelivered: int) -> None:
            channel.demand.requested = max(0, channel.demand.requested - undelivered)
            if undelivered:
                channel.demand.backlog = 0
            self.slot_freed()

        return ended

    def _free(self) -> int:
        requested = sum(channel.demand.requested for channel in self.channels)
        return self._slots - self._busy() - requested

    def slot_freed(self) -> None:
        """Ask for more: at once when many slots are free, else after gathering a few."""
        if self._filling is not None or self._closed:
            return
        loop = asyncio.get_running_loop()
        if self._free() * 4 >= self._slots:
            self._filling = loop.call_soon(self._fill)
        else:
            self._filling = loop.call_later(_GATHER_S, self._fill)

    def _fill(self) -> None:
        self._filling = None
        free = self._free()
        if free <= 0 or self._closed or not self.channels:
            return
        grants = allot(free, [channel.demand for channel in self.channels], self._turn)
        self._turn += 1
        expires = PULL_EXPIRES_MS if len(self.channels) > 1 else _LONG_PULL_MS
        for channel, count in zip(self.channels, grants, strict=True):
            # Topping up a request that is still large would cost a message for nothing.
            if count and channel.source is not None and count >= channel.demand.requested:
                channel.demand.requested += count
                self._request(channel.source, count, expires)

    def _request(self, source: TicketSource, count: int, expires_ms: int) -> None:
        request = asyncio.get_running_loop().create_task(source.request(count, expires_ms))
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)
