"""Finding runs without an index: the newest starts, read from the end of the log."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from dagnats.core.events import RunStarted
from dagnats.core.state import RUNNING
from dagnats.core.views import ErrorView, text_of_time, view_error
from dagnats.errors import CodecError, InvalidInput, RunNotFound
from dagnats.limits import LIST_DEFAULT, LIST_MAX
from dagnats.ports import Entry, Outside
from dagnats.wire import subjects
from dagnats.wire.codec import event_of, run_of
from dagnats.wire.messages import ClosedMark

_PREFIX_MIN = 8
_mark = msgspec.json.Decoder(ClosedMark)

STATES = ("running", "completed", "failed", "cancelled")


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


class Listing(Struct, frozen=True, kw_only=True):
    """Runs, newest first. ``truncated`` says that there are more; ``total`` counts those that were seen to match."""

    runs: list[RunRow]
    total: int
    returned: int
    truncated: bool


async def runs(
    outside: Outside, *, workflow: str = "", status: str = "", since_ms: int = 0, limit: int = LIST_DEFAULT
) -> Listing:
    """The newest runs that match.

    Raises:
        InvalidInput: a status that does not exist, or a limit out of bounds.
    """
    if status and status not in STATES:
        raise InvalidInput(f'no runs are ever "{status}"; states: {", ".join(STATES)}')
    if not 1 <= limit <= LIST_MAX:
        raise InvalidInput(f"a list has 1 to {LIST_MAX} entries, not {limit}")
    starts = await outside.log.newest(subjects.STARTS, since_ms)
    rows: list[RunRow] = []
    total = 0
    for first in range(0, len(starts), LIST_MAX):
        part = starts[first : first + LIST_MAX]
        found = [(entry, fact) for entry in part if (fact := _started(entry)) and (not workflow or fact.workflow == workflow)]
        marks = await _marks(outside, [entry for entry, _ in found])
        for entry, fact in found:
            row = _row(entry, fact, marks.get(run_of(entry.subject)))
            if not status or row.status == status:
                total += 1
                if len(rows) < limit:
                    rows.append(row)
    return Listing(runs=rows, total=total, returned=len(rows), truncated=total > len(rows))


def _started(entry: Entry) -> RunStarted | None:
    try:
        fact = event_of(entry).fact
    except CodecError:
        return None
    return fact if isinstance(fact, RunStarted) else None


async def _marks(outside: Outside, entries: list[Entry]) -> dict[str, Entry]:
    wanted = {
        subjects.mark(subjects.partition_of(run_of(e.subject), outside.log.partitions), run_of(e.subject), "closed")
        for e in entries
    }
    found = await outside.log.last_of(sorted(wanted))
    return {run_of(entry.subject): entry for entry in found}


def _row(entry: Entry, fact: RunStarted, closed: Entry | None) -> RunRow:
    mark = _mark.decode(closed.payload) if closed else None
    return RunRow(
        run_id=run_of(entry.subject),
        workflow=fact.workflow,
        status=mark.status if mark else RUNNING,
        created_at=text_of_time(entry.at_ms),
        completed_at=text_of_time(mark.closed_ms) if mark else "",
        duration_ms=mark.closed_ms - mark.started_ms if mark else None,
        error=view_error(mark.error) if mark else None,
        tags=fact.tags,
    )


async def find(outside: Outside, prefix: str) -> str:
    """The full id of the run that an id or a unique prefix names; ``--last`` is the newest.

    Raises:
        RunNotFound: none, or several, do.
    """
    partition = subjects.partition_of(prefix, outside.log.partitions)
    if prefix and await outside.log.last(subjects.fact(partition, prefix, "client")) is not None:
        return prefix
    if len(prefix) < _PREFIX_MIN:
        raise RunNotFound(f"no run {prefix}; give its whole id, or at least {_PREFIX_MIN} characters of it")
    starts = await outside.log.newest(subjects.STARTS, 0)
    found = sorted({run for e in starts if (run := run_of(e.subject)).startswith(prefix)})
    if len(found) > 1:
        raise RunNotFound(f"{len(found)} runs begin with {prefix}: {', '.join(found[:5])}; give more of the id")
    if not found:
        raise RunNotFound(f"no run {prefix}; `dagnats run list` shows the runs there are")
    return found[0]


async def newest(outside: Outside) -> str:
    """The id of the run started last.

    Raises:
        RunNotFound: there is none.
    """
    listed = await runs(outside, limit=1)
    if not listed.runs:
        raise RunNotFound("there are no runs yet; start one with `dagnats run start WORKFLOW`")
    return listed.runs[0].run_id
