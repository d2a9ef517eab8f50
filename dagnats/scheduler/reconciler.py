"""Tickets that are in force and not in the queue: somebody removed them there, and nobody would ever answer.

Only runs of which nothing is heard are looked at, a few at a time, and only those that have tickets out are
looked at again. What is missing twice in a row is dispatched again: the same ticket with the same nonce, under an
id made from where its last dispatch stands in the log, so that two owners write the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import islice

from dagnats.core.commands import Dispatch
from dagnats.core.machine import outstanding
from dagnats.errors import DagNatsError
from dagnats.limits import RECONCILED_PER_LOOK_MAX
from dagnats.ports import Append, Entry, Outside
from dagnats.scheduler.entities import is_entity
from dagnats.scheduler.loading import Loader
from dagnats.wire import subjects
from dagnats.wire.codec import run_of

log = logging.getLogger("dagnats.scheduler")

_DISPATCH = ":dispatch"
_AFTER_ALL = 1 << 62  # as a sequence: no fact is to be done again


class Reconciler:
    """The silent runs of one partition, each with the dispatches that its last look found missing."""

    def __init__(
        self, partition: int, outside: Outside, loader: Loader, fence: Callable[[], bool]
    ) -> None:
        self._partition = partition
        self._outside = outside
        self._loader = loader
        self._fence = fence
        self._silent: dict[str, frozenset[str]] = {}
        self._begun = False

    def __len__(self) -> int:
        return len(self._silent)

    def note(self, run: str) -> None:
        """A run with tickets out, of which nothing was heard for a while."""
        self._silent.setdefault(run, frozenset())

    async def patrol(self, every_ms: float) -> None:
        """Look now and then, until cancelled. What fails is tried again with the next look."""
        while True:
            await asyncio.sleep(every_ms / 1000)
            try:
                await self.look()
            except (DagNatsError, TimeoutError) as error:
                log.warning("the queue was not compared with the log: %s", error)

    async def look(self, most: int = RECONCILED_PER_LOOK_MAX) -> int:
        """Look at some of the silent runs, and dispatch again what they lost; return how many tickets.

        Raises:
            LeaseLost, PublishFailed: the partition is another's by now, or something was not stored.
        """
        if not self._begun:  # taking over: any run that has not ended may be silent
            started = await self._runs_of(subjects.fact(self._partition, "*", "client"))
            ended = await self._runs_of(subjects.mark(self._partition, "*", "closed"))
            for run in started - ended:
                self.note(run)
            self._begun = True
        again = 0
        for run in list(islice(self._silent, most)):
            before = self._silent[run]
            missing = await self._missing(run)
            del self._silent[run]
            if missing is None:
                continue
            lost = [each for each in missing if each.msg_id in before]
            self._silent[run] = frozenset({each.msg_id for each in missing}) - before
            if lost:
                log.warning("run %s: %d tickets were not in the queue any more", run, len(lost))
                await self._outside.log.append([_again(each) for each in lost], self._fence)
                again += len(lost)
        return again

    async def _runs_of(self, subject: str) -> set[str]:
        found = map(run_of, await self._outside.log.subjects_of(subject))
        return {run for run in found if not is_entity(run)}

    async def _missing(self, run: str) -> list[Entry] | None:
        """The last dispatches of tickets in force that the queue does not have; None when none is in force.

        The queue is asked first: a ticket that was answered is removed after the answer is in the log.
        """
        queued = await self._outside.queue.waiting(run)
        loaded = await self._loader.load(run, _AFTER_ALL)
        if loaded is None:
            return None
        in_force = {each.id for each in outstanding(loaded.run) if isinstance(each, Dispatch)}
        if not in_force:
            return None
        if queued is None:
            return []
        dispatched: dict[str, Entry] = {}
        for entry in await self._outside.log.history(run):
            ticket = entry.msg_id.rpartition(_DISPATCH)[0] + _DISPATCH
            if ticket in in_force and entry.subject.startswith(subjects.DISPATCHES):
                dispatched[ticket] = entry
        return [each for each in dispatched.values() if each.msg_id not in queued]


def _again(entry: Entry) -> Append:
    ticket = entry.msg_id.rpartition(_DISPATCH)[0] + _DISPATCH
    return Append(entry.subject, entry.payload, f"{ticket}:{entry.seq}")
