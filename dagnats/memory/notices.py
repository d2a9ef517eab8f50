"""Live messages, and following what a stream stores."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from dagnats.memory.link import Link
from dagnats.memory.live import End, Heard
from dagnats.memory.stream import Stream
from dagnats.ports import Entry


async def _following(
    link: Link, stream: Stream, subject: str, after_seq: int
) -> AsyncGenerator[Entry, None]:
    """Stored messages of a filter, then new ones; ends where its process does not wait for them."""
    seq = after_seq

    def look_again() -> bool:
        return stream.next_after(subject, seq) is not None or not link.up

    while True:
        await link.waiter.wait(look_again, None)
        found = stream.next_after(subject, seq) if link.up else None
        if found is None:
            return
        seq = found.seq
        yield found


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

    async def ask(
        self, subject: str, payload: bytes, wait_ms: int, *, enough: int = 0
    ) -> list[bytes]:
        """Ask everybody who listens; back when all (or ``enough``) have answered, or the time is over."""
        world = self._link.world
        answers: list[bytes] = []
        inbox = f"_INBOX.{world.listeners.number()}"
        end = world.listeners.add(inbox, lambda _subject, answer, _reply: answers.append(answer))
        try:
            asked = world.tell(subject, payload, inbox)
            wanted = min(asked, enough) if enough else asked
            await self._link.waiter.wait(lambda: len(answers) >= wanted, wait_ms)
        finally:
            end()
        return answers

    def follow(self, stream: str, subject: str, after_seq: int = 0) -> AsyncGenerator[Entry, None]:
        """Stored messages of a subject filter from a sequence on, then new ones as they come."""
        return _following(self._link, self._link.world.streams[stream], subject, after_seq)

    async def last(self, stream: str, subject: str) -> Entry | None:
        """The last stored message of a subject filter."""
        return self._link.world.streams[stream].last_matching(subject)
