"""The work queue on JetStream: one durable consumer per task and group."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from dagnats.errors import BrokerUnsuitable, OutsideError
from dagnats.jetstream import direct
from dagnats.jetstream.asking import ApiError
from dagnats.jetstream.consumers import NOT_FOUND, ensure_consumer
from dagnats.jetstream.frames import publish_frame
from dagnats.jetstream.link import Link
from dagnats.jetstream.puller import Puller, delivery
from dagnats.limits import CONCURRENCY_MAX
from dagnats.ports import Delivery
from dagnats.wire import subjects

_UNACKED_MAX: Final = CONCURRENCY_MAX * 100  # all workers of a task and group together


class JetStreamSource:
    """``ports.TicketSource``."""

    def __init__(self, puller: Puller) -> None:
        self._puller = puller

    async def request(self, count: int, expires_ms: int) -> None:
        """Ask for up to ``count`` tickets."""
        self._puller.request(count, expires_ms)

    async def close(self) -> None:
        """Ask for no more."""
        self._puller.close()


class JetStreamQueue:
    """``ports.TaskQueue``."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._mending: set[asyncio.Task[None]] = set()

    async def open(
        self,
        task: str,
        group: str,
        lease_ms: int,
        deliver: Callable[[Delivery], None],
        ended: Callable[[int], None],
        *,
        singleton: bool = False,
    ) -> JetStreamSource:
        """Join the consumer of a task and group.

        Raises:
            BrokerUnsuitable: it is there for other subjects, or others use it the other way.
        """

        async def ensure() -> None:
            await ensure_consumer(
                self._link, subjects.TASKS, subjects.worker_consumer(task, group),
                subjects.queue(task, group), _settings(lease_ms, singleton=singleton),
                lambda info: _agreed(task, info, singleton=singleton),
            )  # fmt: skip

        def missing() -> None:
            mending = asyncio.get_running_loop().create_task(_quietly(ensure))
            self._mending.add(mending)
            mending.add_done_callback(self._mending.discard)

        def arrived(subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
            deliver(delivery(subject, reply, headers, payload))

        await ensure()
        puller = Puller(
            self._link,
            subjects.TASKS,
            subjects.worker_consumer(task, group),
            arrived,
            ended,
            missing,
        )
        return JetStreamSource(await puller.open())

    async def done(self, reply: str) -> None:
        """The ticket was answered: remove it."""
        self._link.send(publish_frame(reply, b"+ACK"))

    def renew(self, reply: str) -> None:
        """The ticket's lease begins anew. On the connection of the other answers, so that it does not overtake them."""
        self._link.send(publish_frame(reply, b"+WPI"))

    async def give_back(self, reply: str, delay_ms: int = 0) -> None:
        """Let another worker have it, now or later."""
        body = b"-NAK"
        if delay_ms > 0:
            body += b" " + json.dumps({"delay": delay_ms * 1_000_000}).encode()
        self._link.send(publish_frame(reply, body))

    async def purge_run(self, run: str) -> None:
        """Remove the waiting tickets of a run."""
        await self._link.api(
            f"STREAM.PURGE.{subjects.TASKS}", {"filter": subjects.queue_of_run(run)}
        )

    async def waiting(self, run: str) -> frozenset[str] | None:
        """The message ids of a run's tickets, also those that are out; None when the queue lags behind the log."""
        subject = subjects.queue_of_run(run)
        info = await self._link.api(f"STREAM.INFO.{subjects.TASKS}", {"subjects_filter": subject})
        if any(source.get("lag", 0) for source in info.get("sources", ())):
            return None
        if not info["state"].get("subjects"):
            return frozenset()
        found = await direct.read(self._link, subjects.TASKS, subject)
        return frozenset(record.entry.msg_id for record in found)

    async def last_taken_ms(self, task: str, group: str) -> int:
        """When somebody was last given a ticket of a task and group; 0 when nobody ever was."""
        consumer = subjects.worker_consumer(task, group)
        try:
            info = await self._link.api(f"CONSUMER.INFO.{subjects.TASKS}.{consumer}")
        except ApiError as error:
            if error.code == NOT_FOUND:
                return 0
            raise
        last = info["delivered"].get("last_active")
        return round(datetime.fromisoformat(last).timestamp() * 1_000) if last else 0

    async def last_seq(self) -> int:
        """The sequence of the newest ticket ever queued."""
        info = await self._link.api(f"STREAM.INFO.{subjects.TASKS}")
        return int(info["state"]["last_seq"])


def _settings(lease_ms: int, *, singleton: bool) -> dict[str, Any]:
    return {
        "ack_policy": "explicit", "ack_wait": lease_ms * 1_000_000,
        "max_ack_pending": 1 if singleton else _UNACKED_MAX,
    }  # fmt: skip


def _agreed(task: str, info: dict[str, Any], *, singleton: bool) -> None:
    """Whether one execution at a time is what all workers of a task want.

    Who asks for tickets now has opened it as it is. One ticket that is out counts too when it is the
    only one that may be: somebody is at it, and relies on that.
    """
    was = info["config"].get("max_ack_pending") == 1
    if was is singleton:
        return
    words = ("several at a time", "a singleton")
    text = f"task {task} is {words[singleton]} in this worker, but {words[was]} in "
    if info.get("num_waiting", 0) > 0:
        raise BrokerUnsuitable(
            f"{text}those that serve it now; stop them first, or start the same code everywhere"
        )
    if was and info.get("num_ack_pending", 0) > 0:
        raise BrokerUnsuitable(
            f"{text}the one that has its ticket; let that end first. If that worker is gone for good: "
            f"`nats consumer rm {subjects.TASKS} {info['name']}` (no ticket is lost)"
        )


async def _quietly(ensure: Callable[[], Any]) -> None:
    """Mending is tried again with the next request; its own failure is not news."""
    try:
        await ensure()
    except OutsideError:
        return
