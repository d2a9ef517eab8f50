"""Following a stream: what is stored, then what comes, in order, without gaps or doubles."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any, Final

from dagnats.errors import NotPermitted, OutsideError
from dagnats.jetstream import direct
from dagnats.jetstream.asking import NO_RESPONDERS, ApiError
from dagnats.jetstream.frames import header
from dagnats.jetstream.link import Link
from dagnats.jetstream.puller import Puller, consumer_seq, delivery
from dagnats.limits import HISTORY_BATCH_MAX
from dagnats.ports import Entry
from dagnats.wire import subjects

log = logging.getLogger("dagnats.nats")

_PULL_MS: Final = 5_000
_IDLE_NS: Final = 30_000_000_000
_RETRY_S: Final = 0.25
_LOOK_S: Final = 0.1
_STARTING: Final = frozenset({NO_RESPONDERS, 10008})  # what a server says that has just come back


class _Reading:
    """One ephemeral consumer's life; ``broken`` when another has to take over."""

    def __init__(self, link: Link, stream: str, name: str) -> None:
        self.buffer: deque[Entry] = deque()
        self.broken = False
        self._expected = 1
        self._change = asyncio.Event()
        self._link = link
        self._puller = Puller(link, stream, name, self._arrived, self._ended, self._break)

    async def open(self) -> None:
        """Start asking."""
        await self._puller.open()
        self._link.on_disconnect.append(self._break)
        self._ended(0)

    async def change(self) -> None:
        """Wait until something arrived or broke."""
        while not self.buffer and not self.broken:
            self._change.clear()
            await self._change.wait()

    def close(self) -> None:
        """Ask for no more."""
        self._puller.close()
        if self._break in self._link.on_disconnect:
            self._link.on_disconnect.remove(self._break)

    def _arrived(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        if consumer_seq(reply.decode()) != self._expected:
            self._break()
        if not self.broken:
            self._expected += 1
            self.buffer.append(_entry(subject, reply, headers, payload))
            self._change.set()
            self._ended(0)

    def _ended(self, _count: int) -> None:
        room = HISTORY_BATCH_MAX - len(self.buffer) - self._puller.outstanding
        if not self.broken and room >= HISTORY_BATCH_MAX // 2:
            self._puller.request(room, _PULL_MS)

    def _break(self) -> None:
        self.broken = True
        self._change.set()


async def follow(
    link: Link, stream: str, subject: str, after_seq: int = 0
) -> AsyncGenerator[Entry, None]:
    """Yield entries for as long as the caller wants; its consumer is removed when it stops.

    Who may not make consumers looks for new messages several times a second.
    """
    at = after_seq
    while True:
        try:
            name = await _make_consumer(link, stream, subject, at + 1)
        except NotPermitted:
            break
        reading = _Reading(link, stream, name)
        try:
            await reading.open()
            while not (reading.broken and not reading.buffer):
                await reading.change()
                while reading.buffer:
                    entry = reading.buffer.popleft()
                    at = entry.seq
                    yield entry
                reading._ended(0)
        finally:
            reading.close()
            await _remove_consumer(link, stream, name)
    while True:
        for record in await direct.read(link, stream, subject, at):
            at = record.entry.seq
            yield record.entry
        await asyncio.sleep(_LOOK_S)


def _entry(subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> Entry:
    got = delivery(subject, reply, headers, payload)
    return Entry(
        got.seq, got.at_ms, got.subject, payload, header(headers, subjects.MSG_ID.encode())
    )


async def _make_consumer(link: Link, stream: str, subject: str, start: int) -> str:
    name = f"follow-{link.client._nuid.next().decode()}"
    config: dict[str, Any] = {
        "name": name, "ack_policy": "none", "deliver_policy": "by_start_sequence",
        "opt_start_seq": start, "filter_subject": subject, "inactive_threshold": _IDLE_NS,
        "mem_storage": True, "num_replicas": 1, "max_deliver": -1,
    }  # fmt: skip
    while True:
        try:
            await link.api(
                f"CONSUMER.CREATE.{stream}.{name}.{subject}",
                {"stream_name": stream, "config": config},
            )
            return name
        except OutsideError as problem:
            final = isinstance(problem, ApiError) and problem.code not in _STARTING
            if final or isinstance(problem, NotPermitted):
                raise
            log.debug("a follower of %s waits: %s", stream, problem)
            await asyncio.sleep(_RETRY_S)


async def _remove_consumer(link: Link, stream: str, name: str) -> None:
    """It would also go by itself, half a minute later; so no waiting for a server that is away."""
    if link.up:
        link.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{name}", b"")
