"""The log on JetStream."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from dagnats.errors import NotPermitted, WrongSequence
from dagnats.jetstream import direct, lookup
from dagnats.jetstream.link import Link
from dagnats.jetstream.publisher import Publisher
from dagnats.ports import Append, Entry, Stored
from dagnats.wire import subjects as names

log = logging.getLogger("dagnats.nats")

_OF_THE_LOG = tuple(each.removesuffix(">") for each in names.EVENTS_SUBJECTS)


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
            stored = await self._publisher.publish_all(messages, fence)
        except WrongSequence as wrong:
            if len(messages) != 1 or not wrong.facts.get("resent"):
                raise
            own = await self._own(messages[0])
            if own is None:
                raise
            return [own]
        if any(each.duplicate for each in stored):
            with suppress(NotPermitted):  # who may not read asks whether it counts: see ``report``
                return [
                    await self._ours(*each, fence) for each in zip(messages, stored, strict=True)
                ]
        return stored

    async def _ours(
        self, message: Append, stored: Stored, fence: Callable[[], bool] | None
    ) -> Stored:
        """Stored under its id, by us or by who writes the same; an id that another took is given up.

        The server knows ids by stream: who may write anywhere in it could keep a message of others out.
        """
        if not stored.duplicate or not message.subject.startswith(_OF_THE_LOG):
            return stored
        found = await direct.get(self._link, names.EVENTS, stored.seq)
        if found is None or found.entry.subject == message.subject:
            return stored
        log.warning(
            "the id %s of a message for %s was taken by one on %s",
            message.msg_id, message.subject, found.entry.subject,
        )  # fmt: skip
        [again] = await self._publisher.publish_all([replace(message, msg_id="")], fence)
        return again

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
        subject = names.history(names.partition_of(run, self._partitions), run)
        while True:
            found = await direct.read(self._link, names.EVENTS, subject, after_seq)
            # A run that is removed meanwhile loses its start first; then this was only a part of it.
            first = found[0].entry.seq if found and not after_seq else 0
            if not first or await direct.get(self._link, names.EVENTS, first):
                return [record.entry for record in found]

    async def last(self, subject: str) -> Entry | None:
        """The last message of a literal subject of the log."""
        found = await direct.last(self._link, names.EVENTS, subject)
        return found.entry if found else None

    async def last_of(self, subjects: Sequence[str]) -> list[Entry]:
        """The last message of each of many literal subjects; those that have none are left out."""
        found = await direct.last_of_each(self._link, names.EVENTS, subjects)
        return [record.entry for record in found]

    def newest(self, subject: str, since_ms: int = 0) -> AsyncGenerator[list[Entry], None]:
        """The messages of a wildcard filter in pages, newest first, none from before a time."""
        return lookup.newest(self._link, names.EVENTS, subject, since_ms)

    async def following(self, subject: str, after_seq: int) -> list[Entry]:
        """The first messages of a wildcard filter after a sequence, in order."""
        found, _ = await direct.page(self._link, names.EVENTS, subject, after_seq + 1)
        return [record.entry for record in found]

    async def remove(self, run: str, up_to_seq: int, *, marks_kept: int = 0) -> None:
        """Remove a run's messages up to a sequence, its start first; or its facts, and all but so many marks."""
        place, before = names.partition_of(run, self._partitions), {"seq": up_to_seq + 1}
        asked: list[dict[str, Any]] = [
            {"filter": names.fact(place, run, "client"), **before},
            {"filter": names.history(place, run), **before},
        ]
        if marks_kept:
            asked = [
                {"filter": names.facts_of_run(place, run), **before},
                {"filter": names.marks_of_run(place, run), "keep": marks_kept},
            ]
        for each in asked:
            await self._link.api(f"STREAM.PURGE.{names.EVENTS}", each)

    async def subjects_of(self, subject: str) -> list[str]:
        """The literal subjects of a wildcard filter that have messages, in no order."""
        return await lookup.subjects_of(self._link, names.EVENTS, subject)

    async def count(self, subject: str) -> int:
        """How many literal subjects of a wildcard filter have messages."""
        return await lookup.count(self._link, names.EVENTS, subject)

    async def disarm(self, run: str) -> None:
        """Remove a run's timer, if one is armed."""
        timer = names.timer(names.partition_of(run, self._partitions), run)
        await self._link.api(f"STREAM.PURGE.{names.TIMERS}", {"filter": timer})

    async def last_seq(self) -> int:
        """The sequence of the log's last message."""
        info: dict[str, Any] = await self._link.api(f"STREAM.INFO.{names.EVENTS}")
        return int(info["state"]["last_seq"])
