"""Moving finished runs of one partition from the log to the archive.

A turn goes through the closing marks that have become old enough, in the order of the log: so its cost follows
what ends, not what is kept. It writes histories and records, waits a moment, and only then removes the runs from
the log; last it notes how far it came. Whoever is killed anywhere in between has the next owner do the turn
again, which changes nothing that is there: a run is whole in one of both places, all the time.

The wait is for those who start a run with an id or key of their own: they ask the archive first and the log
then, and must not miss a run that is moved between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, MutableMapping

from msgspec import Struct

from dagnats import archive
from dagnats.clock import Clock
from dagnats.errors import DagNatsError, LeaseLost
from dagnats.limits import (
    ARCHIVE_EVERY_MS,
    ARCHIVE_PAUSE_MS,
    ARCHIVED_AT_ONCE,
    ARCHIVED_PER_TURN_MAX,
    RETENTION_MS,
)
from dagnats.ports import Append, Entry, Outside
from dagnats.scheduler.endings import Endings
from dagnats.scheduler.entities import is_entity
from dagnats.wire import subjects
from dagnats.wire.codec import run_of
from dagnats.wire.messages import ClosedMark

log = logging.getLogger("dagnats.scheduler")


class Retention(Struct, frozen=True):
    """``after_ms``: how long finished runs stay in the log (0: for ever). ``keep_ms``: how long in the archive.

    They are looked for every ``every_ms``, and are in both places for ``pause_ms``.
    """

    after_ms: int = 0
    keep_ms: int = 0
    every_ms: int = ARCHIVE_EVERY_MS
    pause_ms: int = ARCHIVE_PAUSE_MS


NO_RETENTION = Retention()


class Moved(Struct, frozen=True):
    """A run that the archive has up to a sequence."""

    run: str
    last_seq: int
    closing: Entry


class Archiver:
    """The move, for the owner of a partition. ``ended``: the runs whose late facts it does not look at."""

    def __init__(
        self, number: int, outside: Outside, clock: Clock, fence: Callable[[], bool], retention: Retention,
        ended: MutableMapping[str, None],
    ) -> None:  # fmt: skip
        self._number = number
        self._outside = outside
        self._clock = clock
        self._fence = fence
        self._retention = retention
        self._ended = ended
        self._documents = outside.documents(subjects.CONTROL)
        self._key = f"archived.{number}"
        self._endings = Endings(
            number, outside, clock, fence, retention.after_ms + (retention.keep_ms or RETENTION_MS)
        )
        self._after = -1  # the closing mark up to which everything was moved; -1: not read yet

    async def run(self) -> None:
        """Look again and again, until cancelled; what fails is tried again."""
        while self._retention.after_ms:
            try:
                more = await self.turn() | await self._endings.turn()
            except LeaseLost:
                return
            except (DagNatsError, TimeoutError) as error:
                log.warning("finished runs of partition %d stay for now: %s", self._number, error)
                more = False
            await asyncio.sleep(0 if more else self._retention.every_ms / 1000)

    async def turn(self) -> bool:
        """Move what is due; whether there is more."""
        if self._after < 0:
            found = await self._documents.get(self._key)
            self._after = int(found[0]) if found else 0
        moved: list[Moved] = []
        seen, more = self._after, True
        while more and len(moved) < ARCHIVED_PER_TURN_MAX:
            page = await self._outside.log.following(subjects.closings(self._number), seen)
            due = self._clock.wall_ms() - self._retention.after_ms
            old = [each for each in page if each.at_ms <= due]
            for at in range(0, len(old), ARCHIVED_AT_ONCE):
                moved += await self._keep(old[at : at + ARCHIVED_AT_ONCE])
            seen = old[-1].seq if old else seen
            more = bool(old) and len(old) == len(page)
        if moved:
            await asyncio.sleep(self._retention.pause_ms / 1000)
        for each in moved:
            await self._remove(each)
        if seen > self._after:
            await self._documents.put(self._key, b"%d" % seen)
            self._after = seen
        if moved:
            log.info("%d finished runs of partition %d were archived", len(moved), self._number)
        return more

    # -- writing -----------------------------------------------------------------------------------

    async def _keep(self, closings: list[Entry]) -> list[Moved]:
        """Have the archive hold the runs that ended with these marks."""
        moved: list[Moved] = []
        ended: list[tuple[list[Entry], ClosedMark]] = []
        for closing in closings:
            run = run_of(closing.subject)
            if is_entity(run):
                continue
            found = await archive.find(self._outside, run)
            if found and found.last_seq >= closing.seq:  # by whoever began this turn
                moved.append(Moved(run, found.last_seq, closing))
                continue
            self._ended.pop(run, None)
            entries = await archive.history(self._outside, run)
            mark = archive.finished(entries, closing.seq)
            if mark:
                ended.append((entries, mark))
                moved.append(Moved(run, entries[-1].seq, closing))
        if ended:
            await self._write(ended)
        return moved

    async def _write(self, ended: list[tuple[list[Entry], ClosedMark]]) -> None:
        """Histories, and then the records that say where they are."""
        subject = subjects.archive(self._number)
        parts = [await asyncio.to_thread(archive.packed, entries) for entries, _ in ended]
        bodies = [Append(subject, part) for each in parts for part in each]
        stored = iter(await self._outside.log.append(bodies, self._fence))
        records = [
            archive.described(entries, mark, tuple(next(stored).seq for _ in each))
            for each, (entries, mark) in zip(parts, ended, strict=True)
        ]
        await self._outside.log.append(records, self._fence)

    # -- removing ----------------------------------------------------------------------------------

    async def _remove(self, moved: Moved) -> None:
        if not self._fence():
            raise LeaseLost(f"partition {self._number} went to another scheduler")
        await self._outside.log.remove(moved.run, moved.last_seq)
        self._ended.pop(moved.run, None)
        if await self._outside.log.history(moved.run):
            await self._mark_rest(moved)

    async def _mark_rest(self, moved: Moved) -> None:
        """What came while the run was moved, and changes nothing: a mark has it moved in its time."""
        found = await archive.read(self._outside, moved.run)
        if found.closed or not archive.finished(found.entries, moved.closing.seq):
            return
        again = f"{moved.run}:closed:{found.entries[-1].seq}"
        mark = Append(moved.closing.subject, moved.closing.payload, again)
        await self._outside.log.append([mark], self._fence)
