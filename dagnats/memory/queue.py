"""The work queue, as workers see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dagnats.errors import BrokerUnsuitable
from dagnats.memory.link import Link
from dagnats.memory.tickets import Request, TicketLine
from dagnats.ports import Delivery
from dagnats.wire import subjects

Deliver = Callable[[Delivery], None]
Ended = Callable[[int], None]


class MemoryTicketSource:
    """``ports.TicketSource``."""

    def __init__(self, link: Link, line: TicketLine, deliver: Deliver, ended: Ended) -> None:
        self._link = link
        self._line = line
        self._deliver = deliver
        self._ended = ended
        self._requests: list[Request] = []
        self._end = link.until_cut(self._withdraw)
        self._open = True

    async def request(self, count: int, expires_ms: int) -> None:
        """Ask for up to ``count`` tickets; they arrive through the callback given at opening."""
        world = self._link.world
        if not self._open or count < 1:
            return
        until_ms = world.clock.monotonic_ms() + expires_ms
        request = Request(count, until_ms, self._hand_over, self._end_request)
        self._requests = [each for each in self._requests if each in self._line.requests]
        self._requests.append(request)
        world.queue.request(self._line, request)

    def _hand_over(self, delivery: Delivery) -> None:
        if self._open:
            self._deliver(delivery)

    def _end_request(self, missing: int) -> None:
        if self._open:
            self._ended(missing)

    def _withdraw(self) -> None:
        self._open = False
        for request in self._requests:
            if request in self._line.requests:
                self._line.requests.remove(request)

    async def close(self) -> None:
        """Ask for no more."""
        self._end()


class MemoryQueue:
    """``ports.TaskQueue``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def open(
        self,
        task: str,
        group: str,
        lease_ms: int,
        deliver: Deliver,
        ended: Ended,
        *,
        singleton: bool = False,
    ) -> MemoryTicketSource:
        """Join a task and group; the lease given last holds for everybody.

        Raises:
            BrokerUnsuitable: others use it now who do not agree that it is (no) singleton.
        """
        line = self._link.world.queue.line(subjects.token(task), subjects.group_token(group))
        if not line.agree(singleton=singleton):
            raise BrokerUnsuitable(
                f"task {task} is {'' if singleton else 'no '}singleton here, and those who serve it now "
                "take it the other way; stop them first"
            )
        line.lease_ms = lease_ms
        return MemoryTicketSource(self._link, line, deliver, ended)

    async def done(self, reply: str) -> None:
        """The ticket was answered: remove it."""
        self._link.world.queue.settle(reply, None)

    def renew(self, reply: str) -> None:
        """The ticket's lease begins anew."""
        self._link.world.queue.extend(reply)

    async def give_back(self, reply: str, delay_ms: int = 0) -> None:
        """Let another worker have it."""
        self._link.world.queue.settle(reply, delay_ms)

    def extend(self, replies: Sequence[str]) -> None:
        """These tickets are still being worked on; what a worker's lease keeper calls."""
        for reply in replies:
            self._link.world.queue.extend(reply)

    async def purge_run(self, run: str) -> None:
        """Remove the waiting tickets of a run."""
        self._link.world.queue.purge_run(run)

    async def waiting(self, run: str) -> frozenset[str]:
        """The message ids of a run's tickets, also those that are out."""
        return self._link.world.queue.waiting(run)

    async def last_taken_ms(self, task: str, group: str) -> int:
        """When somebody was last given a ticket of a task and group; 0 when nobody ever was."""
        line = self._link.world.queue.line(subjects.token(task), subjects.group_token(group))
        return line.taken_ms

    async def last_seq(self) -> int:
        """The sequence of the newest ticket ever queued."""
        return self._link.world.streams[subjects.TASKS].last_seq
