"""The handlers that may run at once in a worker, and the tickets that wait for one of them to end.

Pulls stay within the free slots (``slots``). Tickets that other workers hand over come on top of what was
asked for, so now and then a ticket finds no slot.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from dagnats.limits import STICKY_PAUSE_MS, STICKY_SOFT_TRIES
from dagnats.ports import Delivery, TaskQueue
from dagnats.wire.messages import TaskMessage
from dagnats.worker.lease import Held, LeaseKeeper

_PASSED_ON_MAX: Final = 3  # deliveries; what came so often waits: nobody else is free either
_WAIT_S: Final = 15.0  # then others are asked again; our own requests for it are over by then


class Places:
    """So many ``slots``, ``free`` of them now; who finds none waits for the next, in turn."""

    def __init__(self, slots: int) -> None:
        self.slots = self.free = slots
        self._turns: deque[asyncio.Future[bool]] = deque()

    def take(self) -> bool:
        """Take a slot, if one is free."""
        if self.free < 1:
            return False
        self.free -= 1
        return True

    async def turn(self, wait_s: float | None = None) -> bool:
        """Wait for a slot; whether one came: not after that time, nor once there are none any more."""
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            await asyncio.wait([turn], timeout=wait_s)
        except asyncio.CancelledError:
            if turn.done() and turn.result():
                self.leave()
            turn.cancel()
            raise
        return turn.result() if turn.done() else not turn.cancel()

    def return_to(self) -> None:
        """Go on in a slot that was given up for a while, though another may be in it by now."""
        self.free -= 1

    def leave(self) -> None:
        """Give up a slot: to who has waited longest, unless more are taken than there are."""
        while self.free >= 0 and self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(True)
                return
        self.free += 1

    def close(self) -> None:
        """Send away who waits."""
        for turn in self._turns:
            if not turn.done():
                turn.set_result(False)
        self._turns.clear()


class Room(Places):
    """The slots of a worker; ``waiting``: the tickets (``<run>/<ticket>``) that wait for one."""

    def __init__(self, slots: int, worker: str, queue: TaskQueue, keeper: LeaseKeeper) -> None:
        super().__init__(slots)
        self.waiting: set[str] = set()
        self._worker = worker
        self._queue = queue
        self._keeper = keeper
        self._closed = False

    async def wait(self, delivery: Delivery, message: TaskMessage) -> bool:
        """Take the next slot that is given up, keeping the ticket's lease; False: it was given back.

        A ticket that others may run goes on to them first; one that only we may run stays.
        """
        ours = message.sticky if message.worker == self._worker else ""
        if self._closed or (ours != "hard" and delivery.delivered < _PASSED_ON_MAX):
            await self._queue.give_back(delivery.reply)
            return False
        if ours == "soft" and delivery.delivered <= STICKY_SOFT_TRIES:
            await self._queue.give_back(delivery.reply, STICKY_PAUSE_MS)
            return False
        key = f"{message.run}/{message.ticket}"
        self.waiting.add(key)
        self._keeper.hold(key, Held(delivery.reply))
        try:
            got = await self.turn(None if ours == "hard" else _WAIT_S)
        finally:
            self.waiting.discard(key)
            self._keeper.release(key)
        if not got:
            await self._queue.give_back(delivery.reply)
        return got

    def close(self) -> None:
        """Send away who waits: nothing more begins here."""
        self._closed = True
        super().close()
