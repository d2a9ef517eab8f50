"""Finished runs that left the log: their records, their histories, and where to look for a run.

A run's history is what the archive has of it, then what the log has after that. A run that was never moved is
in the log alone, and begins there with its start: then nobody asks the archive. Of a run that is moved the start
leaves the log first; so whatever is missing there, the archive has.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Final

import msgspec
from msgspec import Struct

from dagnats.core.events import BudgetRaised, RetryRequested, RunStarted
from dagnats.core.model import Usage
from dagnats.core.state import RUNNING, StepError
from dagnats.errors import CodecError
from dagnats.limits import ARCHIVE_PART_BYTES
from dagnats.ports import Append, Entry, Outside
from dagnats.wire import subjects
from dagnats.wire.codec import encode, event_of, is_fact, run_of
from dagnats.wire.messages import ClosedMark

TENANT: Final = "tenant"  # the key of a run's metadata that says for whom it is

_mark = msgspec.json.Decoder(ClosedMark)
_entries = msgspec.msgpack.Decoder(list[Entry])


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the archive says of a run. ``parts`` are where its history is; it goes up to ``last_seq`` of the log.

    Of several records of a run the one that goes furthest counts. Times are the log's, Unix milliseconds. ``usage`` is
    what its handlers had reported when it ended, by model, for the ``tenant`` of its metadata.
    """

    run: str
    workflow: str
    status: str
    last_seq: int
    parts: tuple[int, ...]
    created_ms: int
    started_ms: int
    closed_ms: int
    tags: tuple[str, ...] = ()
    error: StepError | None = None
    tenant: str = ""
    usage: dict[str, Usage] = {}


class History(Struct, frozen=True):
    """All that is stored of a run, in order. The archive has it up to ``archived_seq`` (0: it has nothing)."""

    entries: list[Entry]
    archived_seq: int = 0

    @property
    def closed(self) -> bool:
        """Whether the log itself has a closing mark: what a finished run has there will be moved by it."""
        return any(
            each.subject.endswith(".closed") and each.seq > self.archived_seq
            for each in self.entries
        )


_record = msgspec.json.Decoder(Record)


# -- reading ---------------------------------------------------------------------------------------


async def find(outside: Outside, run: str) -> Record | None:
    """The record of an archived run."""
    found = [
        _record.decode(each.payload)
        for each in await outside.archive.records(subjects.archived(run))
    ]
    return max(
        (each for each in found if each.run == run), key=lambda each: each.last_seq, default=None
    )


async def read(outside: Outside, run: str, after_seq: int = 0) -> History:
    """A run's history, from both places. After a sequence (a fold that was saved) only the log is asked."""
    hot = await outside.log.history(run, after_seq)
    if after_seq or (hot and starts(hot[0])):
        return History(hot)
    record = await find(outside, run)
    kept = await unpacked(outside, record) if record else []
    if record is None or not kept:
        return History(hot)
    return History([*kept, *(e for e in hot if e.seq > record.last_seq)], record.last_seq)


async def history(outside: Outside, run: str) -> list[Entry]:
    """Everything that is stored of a run, in order; nothing when there is no such run."""
    return (await read(outside, run)).entries


async def last(outside: Outside, subject: str) -> Entry | None:
    """The last message of one of a run's subjects; of a run that begins in the log, the log's."""
    found = await outside.log.last(subject)
    if found is not None:
        return found
    run = run_of(subject)
    start = subjects.fact(subjects.partition_of(run, outside.log.partitions), run, "client")
    begun = await outside.log.last(start) if start != subject else None
    if begun is not None and starts(begun):
        return None
    entries = (await read(outside, run)).entries
    return next((each for each in reversed(entries) if each.subject == subject), None)


async def last_of(outside: Outside, wanted: Sequence[str]) -> list[Entry]:
    """The last message of each of many subjects of runs, as ``last`` finds them."""
    found = await outside.log.last_of(wanted)
    there = {each.subject for each in found}
    moved = [await last(outside, subject) for subject in wanted if subject not in there]
    return [*found, *(each for each in moved if each)]


async def exists(outside: Outside, run: str) -> bool:
    """Whether a run was ever started, as far as anybody remembers."""
    start = subjects.fact(subjects.partition_of(run, outside.log.partitions), run, "client")
    return await outside.log.last(start) is not None or await is_archived(outside, run)


async def is_archived(outside: Outside, run: str) -> bool:
    """Whether a run that was started is in the archive: a start that was cancelled before is not one."""
    record = await find(outside, run)
    return record is not None and record.started_ms > 0


async def newest(outside: Outside, since_ms: int = 0) -> AsyncGenerator[list[Record], None]:
    """The records of archived runs in pages; who was archived last comes first. A run may come again."""
    async with aclosing(outside.archive.newest(since_ms)) as pages:
        async for page in pages:
            yield [_record.decode(each.payload) for each in page]


def starts(entry: Entry) -> bool:
    """Whether a message is the first fact of a run."""
    if not entry.subject.endswith(".client"):
        return False
    with suppress(CodecError):
        return isinstance(event_of(entry).fact, RunStarted)
    return False


# -- writing ---------------------------------------------------------------------------------------


def finished(entries: list[Entry], closing_seq: int) -> ClosedMark | None:
    """The mark of that sequence, if the run ended with it: none came later, and nobody asked it to go on."""
    mark: ClosedMark | None = None
    for entry in entries:
        if entry.subject.endswith(".closed"):
            mark = _mark.decode(entry.payload) if entry.seq == closing_seq else None
        elif mark is not None and is_fact(entry):
            with suppress(CodecError):
                fact = event_of(entry).fact
                if isinstance(fact, RetryRequested | BudgetRaised) and fact.epoch == mark.epoch + 1:
                    return None
    return None if mark is None or mark.status == RUNNING else mark


def packed(entries: list[Entry]) -> list[bytes]:
    """A history as the archive keeps it, in parts that a message can hold."""
    whole = zlib.compress(msgspec.msgpack.encode(entries))
    return [whole[at : at + ARCHIVE_PART_BYTES] for at in range(0, len(whole), ARCHIVE_PART_BYTES)]


async def unpacked(outside: Outside, record: Record) -> list[Entry]:
    """The history of a record; nothing when it has expired."""
    parts: list[bytes] = []
    for seq in record.parts:
        part = await outside.archive.part(seq)
        if part is None:
            return []
        parts.append(part)
    return _entries.decode(zlib.decompress(b"".join(parts)))


def described(entries: list[Entry], mark: ClosedMark, parts: tuple[int, ...]) -> Append:
    """The record of a history that is stored in these parts."""
    first = next((each for each in entries if starts(each)), entries[0])
    tags, tenant = (), ""
    with suppress(CodecError):
        fact = event_of(first).fact
        if isinstance(fact, RunStarted):
            tags, tenant = fact.tags, fact.metadata.get(TENANT, "")
    run, last_seq = run_of(first.subject), entries[-1].seq
    record = Record(
        run=run, workflow=mark.workflow, status=mark.status, last_seq=last_seq, parts=parts,
        created_ms=first.at_ms, started_ms=mark.started_ms, closed_ms=mark.closed_ms, tags=tags,
        error=mark.error, tenant=tenant, usage=mark.usage,
    )  # fmt: skip
    return Append(subjects.archived(run), encode(record), f"{run}:archived:{last_seq}")
