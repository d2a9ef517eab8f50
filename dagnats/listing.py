"""Finding runs without an index: their starts, read backwards from the end of the log."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import Struct

from dagnats import archive
from dagnats.core.events import RunStarted
from dagnats.core.state import (
    BUDGET_EXCEEDED,
    CANCELLED,
    COMPENSATE_FAILED,
    COMPENSATED,
    COMPLETED,
    CONTINUED,
    FAILED,
    RUNNING,
)
from dagnats.core.views import ErrorView, text_of_time, view_error
from dagnats.errors import CodecError, InvalidInput, RunNotFound
from dagnats.ids import checked_run_id
from dagnats.limits import LIST_COUNTED_MAX, LIST_DEFAULT, LIST_MAX
from dagnats.ports import Entry, Outside
from dagnats.wire import subjects
from dagnats.wire.codec import event_of, run_of
from dagnats.wire.messages import ClosedMark

_PREFIX_MIN = 8
_NAMED_MAX = 5
_mark = msgspec.json.Decoder(ClosedMark)

STATES = (
    RUNNING,
    COMPLETED,
    FAILED,
    CANCELLED,
    COMPENSATED,
    COMPENSATE_FAILED,
    CONTINUED,
    BUDGET_EXCEEDED,
)


class RunRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One run in a list."""

    run_id: str
    workflow: str
    status: str
    created_at: str
    completed_at: str = ""
    duration_ms: int | None = None
    error: ErrorView | None = None
    tags: tuple[str, ...] = ()
    archived: bool = False


class Listing(Struct, frozen=True, kw_only=True):
    """Runs, newest first. ``total`` counts all that match, and is None when that would be long to count.

    ``truncated`` says that there are more than were returned.
    """

    runs: list[RunRow]
    total: int | None
    returned: int
    truncated: bool


class Counts(Struct, frozen=True, kw_only=True):
    """How many runs there are, and in which states."""

    total: int
    running: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    compensated: int = 0
    compensate_failed: int = 0
    continued: int = 0
    budget_exceeded: int = 0


async def runs(
    outside: Outside,
    *,
    workflow: str = "",
    status: str = "",
    since_ms: int = 0,
    limit: int = LIST_DEFAULT,
) -> Listing:
    """The newest runs that match.

    Raises:
        InvalidInput: a status that does not exist, or a limit out of bounds.
    """
    _check_status(status)
    if not 1 <= limit <= LIST_MAX:
        raise InvalidInput(f"a list has 1 to {LIST_MAX} entries, not {limit}")
    plain = not (workflow or status or since_ms)
    wanted, seen = _Wanted(workflow, status, since_ms), set[str]()
    rows: list[RunRow] = []
    matching = looked_at = 0
    async with aclosing(outside.log.newest(subjects.STARTS, since_ms)) as pages:
        async for page in pages:
            seen.update(run_of(entry.subject) for entry in page)
            begun = starts(page, workflow)
            kept = await _rows(outside, begun if status else begun[: limit - len(rows)], status)
            rows += kept[: limit - len(rows)]
            matching += len(kept) if status else len(begun)
            looked_at += len(page)
            if len(rows) == limit and (
                plain or (matching > limit and looked_at >= LIST_COUNTED_MAX)
            ):
                break
        else:
            return await _with_archived(outside, seen, rows, matching, limit, wanted)
    total = max(await outside.log.count(subjects.STARTS), matching) if plain else None
    return Listing(
        runs=rows, total=total, returned=len(rows), truncated=total is None or total > len(rows)
    )


class _Wanted(Struct, frozen=True):
    """What a list is asked for."""

    workflow: str
    status: str
    since_ms: int

    def takes(self, record: archive.Record) -> bool:
        return (
            self.workflow in ("", record.workflow)
            and self.status in ("", record.status)
            and record.created_ms >= self.since_ms
        )


async def _archived(
    outside: Outside, seen: set[str], wanted: _Wanted
) -> AsyncGenerator[list[RunRow], None]:
    """Archived runs that match, each once, in pages; those that are in the log still are left out."""
    async with aclosing(archive.newest(outside, wanted.since_ms)) as pages:
        async for page in pages:
            new = [each for each in page if each.run not in seen]
            seen.update(each.run for each in new)
            yield [_row_of(each) for each in {each.run: each for each in new[::-1]}.values()
                   if wanted.takes(each)][::-1]  # fmt: skip


async def _with_archived(
    outside: Outside, seen: set[str], rows: list[RunRow], matching: int, limit: int, wanted: _Wanted
) -> Listing:
    """The list goes on with runs that left the log; it stops counting after so many."""
    async with aclosing(_archived(outside, seen, wanted)) as pages:
        async for page in pages:
            rows += page[: limit - len(rows)]
            matching += len(page)
            if len(rows) == limit and matching > limit and len(seen) >= LIST_COUNTED_MAX:
                return Listing(runs=rows, total=None, returned=limit, truncated=True)
    return Listing(runs=rows, total=matching, returned=len(rows), truncated=matching > len(rows))


async def count(
    outside: Outside, *, workflow: str = "", status: str = "", since_ms: int = 0
) -> Counts:
    """How many runs match, by state. Reads the start and the end of every one of them.

    Raises:
        InvalidInput: a status that does not exist.
    """
    _check_status(status)
    tally: dict[str, int] = dict.fromkeys(STATES, 0)
    seen: set[str] = set()
    async with aclosing(outside.log.newest(subjects.STARTS, since_ms)) as pages:
        async for page in pages:
            seen.update(run_of(entry.subject) for entry in page)
            for row in await _rows(outside, starts(page, workflow), status):
                tally[row.status] += 1
    wanted = _Wanted(workflow, status, since_ms)
    async with aclosing(_archived(outside, seen, wanted)) as pages:
        async for page in pages:
            for row in page:
                tally[row.status] += 1
    return Counts(total=sum(tally.values()), **tally)


def _check_status(status: str) -> None:
    if status and status not in STATES:
        raise InvalidInput(f'no run is ever "{status}"; states: {", ".join(STATES)}')


Start = tuple[Entry, RunStarted]


def starts(page: list[Entry], workflow: str) -> list[Start]:
    """The starts among the messages of clients, of one workflow or of all."""
    found: list[Start] = []
    for entry in page:
        try:
            fact = event_of(entry).fact
        except CodecError:
            continue
        if isinstance(fact, RunStarted) and (not workflow or fact.workflow == workflow):
            found.append((entry, fact))
    return found


async def closing_marks(outside: Outside, ids: list[str]) -> dict[str, ClosedMark]:
    """How runs have ended, of those that have."""
    wanted = [
        subjects.mark(subjects.partition_of(run, outside.log.partitions), run, "closed")
        for run in ids
    ]
    return {
        run_of(entry.subject): mark
        for entry in await outside.log.last_of(wanted)
        if (mark := _mark.decode(entry.payload)).status != RUNNING  # it was opened again
    }


async def _rows(outside: Outside, begun: list[Start], status: str) -> list[RunRow]:
    ids = [run_of(entry.subject) for entry, _ in begun]
    marks = await closing_marks(outside, ids)
    rows = [
        _row(run, entry, fact, marks.get(run))
        for run, (entry, fact) in zip(ids, begun, strict=True)
    ]
    return [row for row in rows if not status or row.status == status]


def _row(run: str, entry: Entry, fact: RunStarted, mark: ClosedMark | None) -> RunRow:
    return RunRow(
        run_id=run,
        workflow=fact.workflow,
        status=mark.status if mark else RUNNING,
        created_at=text_of_time(entry.at_ms),
        completed_at=text_of_time(mark.closed_ms) if mark else "",
        duration_ms=mark.closed_ms - mark.started_ms if mark else None,
        error=view_error(mark.error) if mark else None,
        tags=fact.tags,
    )


def _row_of(record: archive.Record) -> RunRow:
    return RunRow(
        run_id=record.run,
        workflow=record.workflow,
        status=record.status,
        created_at=text_of_time(record.created_ms),
        completed_at=text_of_time(record.closed_ms),
        duration_ms=record.closed_ms - record.started_ms,
        error=view_error(record.error),
        tags=record.tags,
        archived=True,
    )


async def find(outside: Outside, prefix: str) -> str:
    """The full id of the run that an id, or a unique prefix of it, names.

    Raises:
        RunNotFound: none, or several, do.
    """
    if _may_be_an_id(prefix) and await archive.exists(outside, prefix):
        return prefix
    if len(prefix) < _PREFIX_MIN:
        raise RunNotFound(
            f"no run {prefix}; give its whole id, or at least {_PREFIX_MIN} characters of it"
        )
    starts = await outside.log.subjects_of(subjects.STARTS)
    known = {run_of(subject) for subject in starts}
    async with aclosing(archive.newest(outside)) as pages:
        async for page in pages:
            known.update(each.run for each in page)
    found = sorted(run for run in known if run.startswith(prefix))
    if len(found) > 1:
        named = ", ".join(found[:_NAMED_MAX]) + (", …" if len(found) > _NAMED_MAX else "")
        raise RunNotFound(f"{len(found)} runs begin with {prefix}: {named}; give more of the id")
    if not found:
        raise RunNotFound(f"no run {prefix}; `dagnats run list` shows the runs there are")
    return found[0]


def _may_be_an_id(text: str) -> bool:
    try:
        return bool(checked_run_id(text))
    except InvalidInput:
        return False


async def newest(outside: Outside) -> str:
    """The id of the run started last.

    Raises:
        RunNotFound: there is none.
    """
    listed = await runs(outside, limit=1)
    if not listed.runs:
        raise RunNotFound("there are no runs yet; start one with `dagnats run start WORKFLOW`")
    return listed.runs[0].run_id


class Lists:
    """What can be asked of all runs. ``Client`` brings the connection."""

    outside: Outside

    async def find(self, prefix: str) -> str:
        """The full id of the run that an id, or a unique prefix of at least 8 characters, names.

        Raises:
            RunNotFound: none, or several, do.
        """
        return await find(self.outside, prefix)

    async def runs(self, **filters: Any) -> Listing:
        """The newest runs; see ``listing.runs`` for the filters."""
        return await runs(self.outside, **filters)

    async def count(self, **filters: Any) -> Counts:
        """How many runs there are; see ``listing.count`` for the filters."""
        return await count(self.outside, **filters)
