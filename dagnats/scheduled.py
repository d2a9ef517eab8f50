"""Starts that happen later: asking for one, listing them, taking one back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from dagnats import archive
from dagnats.core.durations import parse_ms
from dagnats.core.entities import StartCancelled, StartScheduled
from dagnats.core.events import RunStarted
from dagnats.core.scheduled import (
    CANCELLED,
    FIRED,
    SCHEDULED,
    ScheduledStart,
    fold_start,
    start_of,
)
from dagnats.core.views import text_of_time
from dagnats.errors import (
    InvalidInput,
    RequestError,
    RunAlreadyStarted,
    WrongSequence,
)
from dagnats.ids import new_run_id
from dagnats.limits import DURATION_MAX_MS, SCHEDULED_LISTED_MAX, SCHEDULED_MAX, SCHEDULED_NOW_MS
from dagnats.ports import Append, Outside
from dagnats.starting import not_found
from dagnats.wire import subjects
from dagnats.wire.codec import encode, event_of, is_fact
from dagnats.wire.messages import ScheduledRecord

When = datetime | timedelta | str
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_record = msgspec.json.Decoder(ScheduledRecord)
_LOOKS: Final = 100
_PAUSE_S: Final = 0.05
_LOOK_S: Final = 0.2


def due_ms(when: When, now_ms: int) -> int:
    """When a run is to start, Unix milliseconds; 0: at once, because it is within a second.

    Args:
        when: A time with a zone (``datetime``, or RFC 3339 text), or how long from now (``timedelta``, or "2h").
        now_ms: The time now.

    Raises:
        InvalidInput: it is neither, lies in the past, or is too far away.
    """
    due = _moment_ms(when, now_ms)
    if due - now_ms > DURATION_MAX_MS:
        raise InvalidInput(f"run_at={when!s} is more than 365 days away")
    if due < now_ms:
        raise InvalidInput(
            f"run_at={text_of_time(due)} has passed; leave it out to start the run now"
        )
    return 0 if due - now_ms <= SCHEDULED_NOW_MS else due


def _moment_ms(when: When, now_ms: int) -> int:
    if isinstance(when, timedelta):
        return now_ms + max(-1, round(when / timedelta(milliseconds=1)))
    if isinstance(when, str):
        try:
            return now_ms + parse_ms(when)
        except ValueError:
            pass
        try:
            when = datetime.fromisoformat(when)
        except ValueError:
            raise _no_time(when) from None
    if not isinstance(when, datetime) or when.tzinfo is None:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise _no_time(when)
    return round((when - _EPOCH) / timedelta(milliseconds=1))


def _no_time(when: object) -> InvalidInput:
    return InvalidInput(
        f"run_at={when!r} is no time: give one with a zone, such as 2026-01-31T09:00:00Z, or "
        "how long from now, such as 2h"
    )


async def schedule(
    outside: Outside, run_id: str, fact: RunStarted, run_at_ms: int, *, idempotent: bool
) -> None:
    """Have a run started later, with its workflow as it is registered then.

    Raises:
        RunAlreadyStarted: it was started, or is scheduled.
        RequestError: too many starts wait already.
    """
    log, entity = outside.log, start_of(run_id)
    documents = outside.documents(subjects.SCHEDULED)
    if await documents.count() >= SCHEDULED_MAX and await _waiting(outside) >= SCHEDULED_MAX:
        raise RequestError(f"{SCHEDULED_MAX:,} starts wait for their time already; cancel some")
    asked = StartScheduled(
        workflow=fact.workflow, definition=fact.definition, run_at_ms=run_at_ms, input=fact.input,
        metadata=fact.metadata, tags=fact.tags, key=fact.key, start=fact.start,
        priority=fact.priority, budget=fact.budget,
    )  # fmt: skip
    subject = subjects.fact(subjects.partition_of(entity, log.partitions), entity, "trigger")
    append = Append(subject, encode(asked), f"{entity}/scheduled", expect_last=0)
    try:
        if await archive.exists(outside, run_id):
            raise WrongSequence("it was started before")
        [stored] = await log.append([append])
    except WrongSequence:
        if idempotent:
            return
        raise RunAlreadyStarted(
            f"run {run_id} was started or scheduled before; choose another id", run_id=run_id
        ) from None
    [entry] = [e for e in await log.history(entity) if e.seq == stored.seq]
    state = ScheduledStart(entity, SCHEDULED, asked)
    await documents.put(run_id, encode(record_of(state, entry.at_ms)))


async def _waiting(outside: Outside) -> int:
    """How many starts wait for their time; those that were cancelled are kept for a while."""
    entries = await outside.documents(subjects.SCHEDULED).all()
    return sum(_record.decode(value).status == SCHEDULED for value, _ in entries.values())


def record_of(state: ScheduledStart, created_ms: int) -> ScheduledRecord:
    """What the bucket holds of a start."""
    assert state.asked is not None  # noqa: S101  (only what was asked for has a status)
    return ScheduledRecord(
        run_id=state.run, workflow_id=state.asked.workflow, input=state.asked.input,
        run_at=text_of_time(state.asked.run_at_ms), created_at=text_of_time(created_ms), status=state.status,
    )  # fmt: skip


async def read_start(outside: Outside, run_id: str, up_to_seq: int = 0) -> ScheduledStart:
    """A scheduled start as its log has it, up to a sequence (0: all of it)."""
    state = ScheduledStart(start_of(run_id))
    for entry in await outside.log.history(state.entity):
        if is_fact(entry) and (not up_to_seq or entry.seq <= up_to_seq):
            state, _ = fold_start(state, event_of(entry))
    return state


async def cancel_start(outside: Outside, run_id: str, reason: str) -> bool:
    """Take a scheduled start back; False when it has fired: then there is a run to cancel.

    Raises:
        RunNotFound: nothing of this id is scheduled.
        RequestError: it was cancelled before.
    """
    state = await read_start(outside, run_id)
    if not state.status:
        raise not_found(run_id)
    if state.status == SCHEDULED:
        log, entity = outside.log, state.entity
        subject = subjects.fact(subjects.partition_of(entity, log.partitions), entity, "trigger")
        fact = StartCancelled(reason=reason, request=new_run_id())
        [stored] = await log.append([Append(subject, encode(fact), f"{entity}/{fact.request}")])
        before = await read_start(outside, run_id, stored.seq - 1)
        if before.status == SCHEDULED and before.asked:
            await _keep_cancelled(outside, run_id)
            return True
        state = before
    if state.status == FIRED:
        started = subjects.fact(
            subjects.partition_of(run_id, outside.log.partitions), run_id, "client"
        )
        for _ in range(_LOOKS):
            if await outside.log.last(started) is not None:
                return False
            await asyncio.sleep(_PAUSE_S)
        text = f"the time of run {run_id} has come, and no scheduler has started it yet; cancel it again in a moment"
        raise RequestError(text, run_id=run_id)
    raise RequestError(f"run {run_id} was cancelled before it was started", run_id=run_id)


async def _keep_cancelled(outside: Outside, run_id: str) -> None:
    documents = outside.documents(subjects.SCHEDULED)
    found = await documents.get(run_id)
    if found is not None:
        record = msgspec.structs.replace(_record.decode(found[0]), status=CANCELLED)
        await documents.put(run_id, encode(record))


class ScheduledStarts:
    """What can be asked of scheduled starts. ``Client`` brings the connection."""

    outside: Outside

    async def scheduled(self, workflow: str = "") -> list[ScheduledRecord]:
        """The starts that wait for their time, or were cancelled before it, the earliest first."""
        entries = await self.outside.documents(subjects.SCHEDULED).all()
        found = [_record.decode(value) for value, _ in entries.values()]
        kept = [each for each in found if workflow in ("", each.workflow_id)]
        # Of very many those that wait are listed, rather than those that were cancelled.
        kept.sort(key=lambda each: (each.status != SCHEDULED, each.run_at))
        return sorted(kept[:SCHEDULED_LISTED_MAX], key=lambda each: each.run_at)

    async def wait_started(self, run_id: str) -> None:
        """Wait until a scheduled start has had its time, or was cancelled."""
        while True:
            record = await self.scheduled_start(run_id)
            if record is None or record.status != SCHEDULED:
                return
            await asyncio.sleep(_LOOK_S)

    async def scheduled_start(self, run_id: str) -> ScheduledRecord | None:
        """One of them; None when there is none of this id: it has fired, or was never asked for."""
        found = await self.outside.documents(subjects.SCHEDULED).get(run_id)
        return _record.decode(found[0]) if found else None
