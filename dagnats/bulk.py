"""Many runs at once: start, cancel, retry. At most BULK_MAX in a call; the same again goes on where it stopped."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

from msgspec import Raw, Struct

from dagnats import archive, convert, payloads
from dagnats.core.run import Run
from dagnats.core.schemas import schema_violation
from dagnats.core.state import BUDGET_EXCEEDED, CANCELLED, FAILED, RUNNING
from dagnats.dead import DeadLetters
from dagnats.errors import DagNatsError, InvalidInput, RunAlreadyStarted
from dagnats.ids import new_run_id
from dagnats.limits import BULK_AT_ONCE, BULK_MAX, LIST_MAX
from dagnats.listing import Listing
from dagnats.ports import Outside
from dagnats.registry import Registry
from dagnats.starting import definition_of
from dagnats.wire import subjects
from dagnats.wire.messages import ScheduledRecord

PENDING = "pending"
CANCELLABLE = (RUNNING, PENDING, "all")
Mode = Literal["rerun", "replay", "resume"]
MODES = ("rerun", "replay", "resume")
Told = Callable[[int, int], None]  # so many are done, of so many


class Refused(Struct, frozen=True, kw_only=True):
    """One that could not be done, and why."""

    run_id: str
    error: str


class BulkResult(Struct, frozen=True, kw_only=True):
    """What a call came to. ``matched`` were looked at; ``already`` needed nothing; ``more``: there are more than these.

    ``run_ids`` are the runs that were started, cancelled or retried, in order; in a dry run, that would be.
    """

    matched: int
    done: int
    already: int = 0
    failed: list[Refused]
    run_ids: list[str]
    dry_run: bool = False
    more: bool = False
    batch: str = ""


class Door(Protocol):
    """What ``Client`` brings."""

    outside: Outside
    registry: Registry
    dead: DeadLetters

    async def start(self, workflow: str, input: Any, *, id: str | None) -> Any:
        """Start a run."""
        ...

    async def cancel(self, run_id: str, reason: str = "") -> bool:
        """Cancel a run, or a scheduled start."""
        ...

    async def rerun(self, run_id: str, input: Any = ..., *, id: str | None) -> Any:
        """Start a run anew."""
        ...

    async def retry(self, run_id: str, reason: str = "") -> None:
        """Open a run again."""
        ...

    async def run(self, run_id: str) -> Run:
        """A run, folded."""
        ...

    async def runs(self, **filters: Any) -> Listing:
        """The newest runs."""
        ...

    async def scheduled(self, workflow: str = "") -> list[ScheduledRecord]:
        """The scheduled starts."""
        ...


class Bulk:
    """Many runs at once: ``client.bulk``."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def start(
        self, workflow: str, inputs: Sequence[Any], *, batch: str = "", told: Told | None = None
    ) -> BulkResult:
        """Start one run for each input; all are checked before any starts.

        With the same ``batch`` (a name of yours) again, those that were started are not started again.

        Raises:
            WorkflowNotFound.
            InvalidInput: there is none, too many, or one does not fit: "input[1]: …".
        """
        if not inputs:
            raise InvalidInput("inputs must not be empty")
        _check_count(len(inputs))
        definition, _ = await definition_of(self._door.registry, workflow)
        raws = [each if isinstance(each, Raw) else convert.encode(each) for each in inputs]
        for number, raw in enumerate(raws):
            payloads.refuse_forged(raw, f"input[{number}]")
            violation = schema_violation(definition.input_schema, raw)
            if violation:
                raise InvalidInput(f"input[{number}]: {violation}")
        batch = batch or new_run_id()[:12]
        name = hashlib.sha256(f"{workflow}\x00{batch}".encode()).hexdigest()[:16]
        given = {f"bulk-{name}-{number}": raw for number, raw in enumerate(raws)}

        async def start(run_id: str) -> bool:
            try:
                await self._door.start(workflow, given[run_id], id=run_id)
            except RunAlreadyStarted:
                return False
            return True

        result = await _each(list(given), start, told)
        return BulkResult(
            matched=len(given), done=result.done, already=result.already, failed=result.failed,
            run_ids=list(given), batch=batch,
        )  # fmt: skip

    async def cancel(
        self, workflow: str, status: str = RUNNING, *, after_ms: int = 0, before_ms: int = 0, reason: str = "",
        dry_run: bool = False, told: Told | None = None,
    ) -> BulkResult:  # fmt: skip
        """Cancel the runs of a workflow: ``running``, ``pending`` (scheduled, or not begun), or ``all`` of these.

        Those created from ``after_ms`` on and before ``before_ms``, Unix milliseconds; 0 is no bound.

        Raises:
            InvalidInput: no workflow is named, or the status is none of these.
        """
        if not workflow:
            raise InvalidInput("workflow_id is required: name the workflow whose runs to cancel")
        if status not in CANCELLABLE:
            raise InvalidInput(f'status "{status}": use one of {", ".join(CANCELLABLE)}')
        found = await self._matching(workflow, RUNNING, after_ms, before_ms)
        if status == PENDING:
            found = [run for run in found if (await self._door.run(run)).status == PENDING]
        if status != RUNNING:
            waiting = await self._door.scheduled(workflow)
            found += [
                each.run_id
                for each in waiting
                if each.status != CANCELLED
                and after_ms <= _ms(each.created_at)
                and (not before_ms or _ms(each.created_at) < before_ms)
            ]

        async def cancel(run_id: str) -> bool:
            return await self._door.cancel(run_id, reason)

        return await _bounded(found, cancel, told, dry_run=dry_run)

    async def retry(
        self, workflow: str, mode: Mode = "rerun", *, after_ms: int = 0, before_ms: int = 0, dry_run: bool = False,
        told: Told | None = None,
    ) -> BulkResult:  # fmt: skip
        """Retry the failed runs of a workflow: each once as a new run (``rerun``), or where it failed (``replay``).

        With ``resume``, those that a budget which they share has ended: each where it was.

        Raises:
            InvalidInput: no workflow is named, or the mode is none of them.
        """
        if not workflow:
            raise InvalidInput("workflow_id is required: name the workflow whose runs to retry")
        if mode not in MODES:
            raise InvalidInput(f'mode "{mode}": use one of {", ".join(MODES)}')
        status = BUDGET_EXCEEDED if mode == "resume" else FAILED
        found = await self._matching(workflow, status, after_ms, before_ms)
        if mode == "rerun":
            found = await self._not_rerun(found)

        async def rerun(run_id: str) -> bool:
            try:
                await self._door.rerun(run_id, id=_rerun_id(run_id))
            except RunAlreadyStarted:
                return False
            return True

        async def replay(run_id: str) -> bool:
            await self._door.dead.replay_run(run_id)
            return True

        async def resume(run_id: str) -> bool:
            await self._door.retry(run_id)
            return True

        work = {"rerun": rerun, "replay": replay, "resume": resume}[mode]
        return await _bounded(found, work, told, dry_run=dry_run)

    async def _not_rerun(self, runs: list[str]) -> list[str]:
        """Those that no call before this one has started anew."""
        outside = self._door.outside
        wanted = {run: _rerun_id(run) for run in runs}
        places = {
            subjects.fact(subjects.partition_of(new, outside.log.partitions), new, "client"): run
            for run, new in wanted.items()
        }
        known = {places[entry.subject] for entry in await archive.last_of(outside, list(places))}
        return [run for run in runs if run not in known]

    async def _matching(
        self, workflow: str, status: str, after_ms: int, before_ms: int
    ) -> list[str]:
        listing = await self._door.runs(
            workflow=workflow, status=status, since_ms=after_ms, limit=LIST_MAX
        )
        return [
            row.run_id
            for row in reversed(listing.runs)  # the oldest first
            if not before_ms or _ms(row.created_at) < before_ms
        ]


def _rerun_id(run: str) -> str:
    return "rerun-" + hashlib.sha256(run.encode()).hexdigest()[:26]


def _ms(when: str) -> int:
    return round(datetime.fromisoformat(when).timestamp() * 1000)


def _check_count(count: int) -> None:
    if count > BULK_MAX:
        raise InvalidInput(f"{count} inputs; at most {BULK_MAX} are started in one call")


async def _bounded(
    found: list[str], work: Callable[[str], Awaitable[bool]], told: Told | None, *, dry_run: bool
) -> BulkResult:
    """Do it to the first BULK_MAX; the next call takes the others."""
    chosen = found[:BULK_MAX]
    more = len(found) > BULK_MAX
    if dry_run:
        return BulkResult(
            matched=len(chosen), done=0, failed=[], run_ids=chosen, dry_run=True, more=more
        )
    result = await _each(chosen, work, told)
    return BulkResult(
        matched=len(chosen), done=result.done, already=result.already, failed=result.failed,
        run_ids=chosen, more=more,
    )  # fmt: skip


class _Tally(Struct):
    done: int = 0
    already: int = 0
    failed: list[Refused] = []


async def _each(
    runs: list[str], work: Callable[[str], Awaitable[bool]], told: Told | None
) -> _Tally:
    """Do it to each, BULK_AT_ONCE at a time; what is refused for one run stops no other."""
    tally, room = _Tally(), asyncio.Semaphore(BULK_AT_ONCE)
    ended = 0

    async def one(run_id: str) -> None:
        nonlocal ended
        async with room:
            try:
                if await work(run_id):
                    tally.done += 1
                else:
                    tally.already += 1
            except DagNatsError as error:
                tally.failed.append(Refused(run_id=run_id, error=error.message))
            ended += 1
            if told is not None:
                told(ended, len(runs))

    async with asyncio.TaskGroup() as group:
        for run_id in runs:
            group.create_task(one(run_id))
    return tally
