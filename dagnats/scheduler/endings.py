"""Scheduled starts that have fired or were cancelled, and triggers that were deleted: they leave the log in the end.

Each leaves a mark when it ends. The owner of the partition goes through these in the order of the log, as it does
through closing marks, and removes what ended as long ago as runs leave the archive.
"""

from __future__ import annotations

from collections.abc import Callable

from dagnats.clock import Clock
from dagnats.core.scheduled import ScheduledStart, is_start
from dagnats.errors import LeaseLost
from dagnats.ports import Append, Entry, Outside
from dagnats.triggers import read_trigger_state
from dagnats.wire import subjects
from dagnats.wire.codec import run_of


def ended(partition: int, entity: str, seq: int) -> Append:
    """The mark that an entity is no more since a fact."""
    return Append(subjects.mark(partition, entity, "ended"), b"{}", f"{entity}:ended:{seq}")


class Endings:
    """Removes them, for the owner of a partition, ``after_ms`` their end."""

    def __init__(
        self, number: int, outside: Outside, clock: Clock, fence: Callable[[], bool], after_ms: int
    ) -> None:
        self._number = number
        self._outside = outside
        self._clock = clock
        self._fence = fence
        self._after_ms = after_ms
        self._documents = outside.documents(subjects.CONTROL)
        self._key = f"ended.{number}"
        self._seen = -1  # the mark up to which everything was removed; -1: not read yet

    async def turn(self) -> bool:
        """Remove what is due; whether there may be more."""
        if self._seen < 0:
            found = await self._documents.get(self._key)
            self._seen = int(found[0]) if found else 0
        page = await self._outside.log.following(subjects.endings(self._number), self._seen)
        due = self._clock.wall_ms() - self._after_ms
        old = [each for each in page if each.at_ms <= due]
        for mark in old:
            await self._remove(mark)
        if old:
            self._seen = old[-1].seq
            await self._documents.put(self._key, b"%d" % self._seen)
        return bool(old) and len(old) == len(page)

    async def _remove(self, mark: Entry) -> None:
        """Remove what ended with a mark, unless it goes on or has ended again meanwhile."""
        entity = run_of(mark.subject)
        entries = await self._outside.log.history(entity)
        again = any(each.subject == mark.subject and each.seq > mark.seq for each in entries)
        if again or not entries:
            return
        if not is_start(entity) and (await read_trigger_state(self._outside, entity)).trigger:
            return
        if not self._fence():
            raise LeaseLost(f"partition {self._number} went to another scheduler")
        kept = subjects.SCHEDULED if is_start(entity) else subjects.BEGINNINGS
        key = ScheduledStart(entity).run if is_start(entity) else entity
        await self._outside.documents(kept).delete(key)
        await self._outside.documents(subjects.SNAPSHOTS).delete(entity)
        await self._outside.log.remove(entity, entries[-1].seq)
