"""Live messages, and following what a stream stores."""

from __future__ import annotations

from collections.abc import AsyncIterator

from dagnats.memory.link import Link
from dagnats.memory.live import End, Heard
from dagnats.memory.stream import Stream
from dagnats.ports import Entry


class Following:
    """Stored messages of a filter, then new ones; ends where its process does not wait for them."""

    def __init__(self, link: Link, stream: Stream, subject: str, after_seq: int) -> None:
        self._link = link
        self._stream = stream
        self._subject = subject
        self._seq = after_seq

    def __aiter__(self) -> AsyncIterator[Entry]:
        return self

    async def __anext__(self) -> Entry:
        await self._link.waiter.wait(self._look_again, None)
        found = self._stream.next_after(self._subject, self._seq) if self._link.up else None
        if found is None:
            raise StopAsyncIteration
        self._seq = found.seq
        return found

    def _look_again(self) -> bool:
        found = self._stream.next_after(self._subject, self._seq)
        return found is not None or not self._link.up


class MemoryNotices:
    """``ports.Notices``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def tell(self, subject: str, payload: bytes) -> None:
        """Send to whoever listens now; a stream that takes the subject keeps it as well."""
        self._link.world.tell(subject, payload)

    async def listen(self, subject: str, heard: Heard) -> End:
        """Call ``heard(subject, payload, reply)`` for each message; returns what ends it."""
        return self._link.until_cut(self._link.world.listeners.add(subject, heard))

    async def ask(self, subject: str, payload: bytes, wait_ms: int) -> list[bytes]:
        """Ask everybody who listens; back when all have answered, or the time is over."""
        world = self._link.world
        answers: list[bytes] = []
        inbox = f"_INBOX.{world.listeners.number()}"
        end = world.listeners.add(inbox, lambda _subject, answer, _reply: answers.append(answer))
        try:
            asked = world.tell(subject, payload, inbox)
            await self._link.waiter.wait(lambda: len(answers) >= asked, wait_ms)
        finally:
            end()
        return answers

    def follow(self, stream: str, subject: str, after_seq: int = 0) -> AsyncIterator[Entry]:
        """Stored messages of a subject filter from a sequence on, then new ones as they come."""
        return Following(self._link, self._link.world.streams[stream], subject, after_seq)
