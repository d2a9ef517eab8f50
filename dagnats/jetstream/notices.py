"""Live messages: core NATS, and following a stream from any point on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final

from dagnats.jetstream import lookup
from dagnats.jetstream.asking import NO_RESPONDERS
from dagnats.jetstream.follow import follow
from dagnats.jetstream.frames import status_of
from dagnats.jetstream.link import Link
from dagnats.ports import Entry

ANSWERS_MAX: Final = 10_000


class JetStreamNotices:
    """``ports.Notices``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def tell(self, subject: str, payload: bytes) -> None:
        """Send to whoever listens now."""
        self._link.publish(subject, payload)

    async def listen(
        self, subject: str, heard: Callable[[str, bytes, str], None]
    ) -> Callable[[], None]:
        """Call ``heard(subject, payload, reply)`` for each message; returns what ends it."""

        def pass_on(subject: bytes, reply: bytes, _headers: bytes, payload: bytes) -> None:
            heard(subject.decode(), payload, reply.decode())

        stop = await self._link.listen(subject, pass_on)
        await self._link.settle()  # whoever is told after this returned has a listener
        self._link.refusals.check(subject)
        return stop

    async def ask(
        self, subject: str, payload: bytes, wait_ms: int, *, enough: int = 0
    ) -> list[bytes]:
        """Ask everybody who listens; the answers that came within the time, or the first ``enough``."""
        answers: list[bytes] = []
        complete = asyncio.Event()

        def answered(_subject: bytes, _reply: bytes, headers: bytes, payload: bytes) -> None:
            if headers and status_of(headers) == NO_RESPONDERS:
                complete.set()
            elif len(answers) < ANSWERS_MAX:
                answers.append(payload)
                if len(answers) == enough:
                    complete.set()

        inbox = self._link.client.new_inbox()
        stop = await self._link.listen(inbox, answered)
        try:
            self._link.publish(subject, payload, inbox)
            async with asyncio.timeout(wait_ms / 1000):
                await complete.wait()
        except TimeoutError:
            pass
        finally:
            stop()
        return answers

    def follow(self, stream: str, subject: str, after_seq: int = 0) -> AsyncGenerator[Entry, None]:
        """Stored messages of a subject filter from a sequence on, then new ones as they come."""
        return follow(self._link, stream, subject, after_seq)

    async def last(self, stream: str, subject: str) -> Entry | None:
        """The last stored message of a subject filter; the stream's leader is asked, who has them all."""
        return await lookup.last(self._link, stream, subject)
