"""Finding runs without an index: their starts, read backwards from the end of the log."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

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

Start = tuple[Entry, RunStarted]

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
    wanted, logged = _Wanted(workflow, status, since_ms), Logged()
    rows: list[RunRow] = []
    matching = looked_at = 0
    async with aclosing(outside.log.newest(subjects.STARTS, since_ms)) as pages:
        async for page in pages:
            begun = logged.starts(page, workflow)
            kept = await _rows(outside, begun if status else begun[: limit - len(rows)], status)
            rows += kept[: limit - len(rows)]
            matching += len(kept) if status else len(begun)
            looked_at += len(page)
            if len(rows) == limit and (
                plain or (matching > limit and looked_at >= LIST_COUNTED_MAX)
            ):
                break
        else:
            return await _with_archived(outside, logged, rows, matching, limit, wanted)
    total = max(await outside.log.count(subjects.STARTS), matching) if plain else None
    return Listing(
        runs=rows, total=total, returned=len(rows), truncated=total is None or total > len(rows)
    )


class _Wanted(Struct, frozen=True):
    """What a list is asked for."""

    workflow: str
    status: str
    since_ms: int

    def takes(self, row: RunRow) -> bool:
        return self.workflow in ("", row.workflow) and self.status in ("", row.status)


class Logged:
    """What the log was seen to have: runs with their starts, and runs that only something later is known of."""

    def __init__(self) -> None:
        self.runs: set[str] = set()
        self.later: set[str] = set()

    def __len__(self) -> int:
        return len(self.runs)

    def starts(self, page: list[Entry], workflow: str) -> list[Start]:
        """The starts among the messages of clients, of one workflow or of all."""
        found: list[Start] = []
        for entry in page:
            run = run_of(entry.subject)
            try:
                fact = event_of(entry).fact
            except CodecError:
                continue
            if not isinstance(fact, RunStarted):
                self.later.add(run)
                continue
            if run in self.runs:  # a start that was stored twice
                continue
            self.runs.add(run)
            if not workflow or fact.workflow == workflow:
                found.append((entry, fact))
        return found


async def archived(
    outside: Outside, logged: Logged, since_ms: int = 0
) -> AsyncGenerator[list[tuple[archive.Record, ClosedMark | None]], None]:
    """Archived runs that started since then, each once, in pages, without those that begin in the log.

    With the last mark of those that have gone on in the log since.
    """
    async with aclosing(archive.newest(outside, since_ms)) as pages:
        async for page in pages:
            new = {each.run: each for each in page[::-1] if each.run not in logged.runs}
            logged.runs.update(new)
            marks = await _marks(outside, [run for run in new if run in logged.later])
            records = [each for each in reversed(new.values()) if each.created_ms >= since_ms]
            yield [(each, marks.get(each.run)) for each in records]


async def _archived_rows(
    outside: Outside, logged: Logged, wanted: _Wanted
) -> AsyncGenerator[list[RunRow], None]:
    async with aclosing(archived(outside, logged, wanted.since_ms)) as pages:
        async for page in pages:
            rows = [_row_of(record, mark) for record, mark in page]
            yield [row for row in rows if wanted.takes(row)]


async def _with_archived(
    outside: Outside, logged: Logged, rows: list[RunRow], matching: int, limit: int, wanted: _Wanted
) -> Listing:
    """The list goes on with runs that left the log; it stops counting after so many."""
    async with aclosing(_archived_rows(outside, logged, wanted)) as pages:
        async for page in pages:
            rows += page[: limit - len(rows)]
            matching += len(page)
            if len(rows) == limit and matching > limit and len(logged) >= LIST_COUNTED_MAX:
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
    logged = Logged()
    async with aclosing(outside.log.newest(subjects.STARTS, since_ms)) as pages:
        async for page in pages:
            for row in await _rows(outside, logged.starts(page, workflow), status):
                tally[row.status] += 1
    wanted = _Wanted(workflow, status, since_ms)
    async with aclosing(_archived_rows(outside, logged, wanted)) as pages:
        async for page in pages:
            for row in page:
                tally[row.status] += 1
    return Counts(total=sum(tally.values()), **tally)


def _check_status(status: str) -> None:
    if status and status not in STATES:
        raise InvalidInput(f'no run is ever "{status}"; states: {", ".join(STATES)}')


async def closing_marks(outside: Outside, ids: list[str]) -> dict[str, ClosedMark]:
    """How runs have ended, of those that have: not those that were opened again."""
    marks = await _marks(outside, ids)
    return {run: mark for run, mark in marks.items() if mark.status != RUNNING}


async def _marks(outside: Outside, ids: list[str]) -> dict[str, ClosedMark]:
    """The last mark that the log has of each run."""
    wanted = [
        subjects.mark(subjects.partition_of(run, outside.log.partitions), run, "closed")
        for run in ids
    ]
    found = await outside.log.last_of(wanted)
    return {run_of(entry.subject): _mark.decode(entry.payload) for entry in found}


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


def _row_of(record: archive.Record, mark: ClosedMark | None) -> RunRow:
    """An archived run, or what has become of it since."""
    if mark is not None and mark.status == RUNNING:
        return RunRow(
            run_id=record.run,
            workflow=record.workflow,
            status=RUNNING,
            created_at=text_of_time(record.created_ms),
            tags=record.tags,
        )
    if mark is not None:
        record = replace(record, status=mark.status, closed_ms=mark.closed_ms, error=mark.error)
    return RunRow(
        run_id=record.run,
        workflow=record.workflow,
        status=record.status,
        created_at=text_of_time(record.created_ms),
        completed_at=text_of_time(record.closed_ms),
        duration_ms=record.closed_ms - record.started_ms,
        error=view_error(record.error),
        tags=record.tags,
        archived=mark is None,
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
