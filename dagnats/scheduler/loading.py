"""Bringing a run back into memory: its snapshot, if there is one, and the tail of its log."""

from __future__ import annotations

import logging
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from dagnats import archive, payloads
from dagnats.core import signals
from dagnats.core import snapshot as snapshots
from dagnats.core.commands import (
    ELSEWHERE,
    CancelChild,
    CloseRun,
    Command,
    LeaveGate,
    StartChild,
    TellUsage,
)
from dagnats.core.events import ANSWERS, Answer, Event, RunStarted
from dagnats.core.machine import advance, new_run, outstanding
from dagnats.core.run import Run
from dagnats.core.state import PENDING, RUNNING, UNSTARTED
from dagnats.errors import CodecError, PayloadTooLarge
from dagnats.ports import Documents, Entry, Outside
from dagnats.registry import Registry
from dagnats.wire import subjects
from dagnats.wire.codec import event_of, is_fact
from dagnats.wire.messages import nonce

_NOT_REMEMBERED = (LeaveGate, CancelChild, TellUsage)
_SIGNAL = ".signal."  # in the subject of a fact

log = logging.getLogger("dagnats.scheduler")


class Loaded(Struct, frozen=True):
    """A run as the log has it, and what is outstanding but not stored yet.

    ``saved_facts`` is how many facts its snapshot held (0: there was none). ``late_seq`` is where the log ends of
    a run that is archived, but for what came after its end (0: no such run). ``refused`` are the signals among what
    was not acknowledged that the run has no room for.
    """

    run: Run
    missing: list[Command]
    saved_facts: int = 0
    late_seq: int = 0
    refused: list[Entry] = []


class Loader:
    """Folds runs from storage. The same log gives the same run in every process."""

    def __init__(self, outside: Outside, registry: Registry, secret: bytes) -> None:
        self._outside = outside
        self._registry = registry
        self._secret = secret
        self._snapshots: Documents = outside.documents(subjects.SNAPSHOTS)

    async def load(self, run_id: str, since_seq: int = 0) -> Loaded | None:
        """The run; None when the log knows no start of it.

        What facts from ``since_seq`` on (those that were not acknowledged) took back from gates is taken back again,
        and so are children that were given up: a run does not remember what it no longer needs. Nor does one that has
        ended remember whom it told of what was used since.
        """
        run, stored, saved = await self._from_snapshot(run_id)
        gone: list[Command] = []
        refused: list[Entry] = []
        found = await archive.read(self._outside, run_id, run.seq if run else 0)
        for entry in found.entries:
            if entry.msg_id:
                stored.add(entry.msg_id)
            if is_fact(entry):
                if entry.seq >= since_seq and run and no_room(run, entry.subject):
                    refused.append(entry)
                run, commands = await self._fold(run_id, run, entry)
                if entry.seq >= since_seq:
                    gone.extend(c for c in commands if isinstance(c, _NOT_REMEMBERED))
        if run is None or run.status == UNSTARTED:
            return None
        gone = [c for c in gone if not await self._done(c)]
        missing = [c for c in outstanding(run) if c.id not in stored and not await self._done(c)]
        if run.closed and not any(isinstance(c, CloseRun) for c in missing):
            missing = []  # the mark is stored last, also after what is not in the log
        late = run.closed and found.archived_seq and not found.closed
        late_seq = found.entries[-1].seq if late else 0
        return Loaded(run, [*gone, *missing], saved, late_seq, refused)

    async def _done(self, command: Command) -> bool:
        """Whether what a command is to bring about in another run shows there."""
        if isinstance(command, StartChild):
            return await archive.exists(self._outside, command.child)
        if isinstance(command, CancelChild):
            place = subjects.partition_of(command.child, self._outside.log.partitions)
            closed = subjects.mark(place, command.child, "closed")
            return await archive.last(self._outside, closed) is not None
        return False

    async def _from_snapshot(self, run_id: str) -> tuple[Run | None, set[str], int]:
        found = await self._snapshots.get(run_id)
        saved = snapshots.read(found[0]) if found else None
        if saved is None:
            return None, set(), 0
        run = snapshots.restore(saved, await self._registry.graph(saved.definition))
        if run is None:
            return None, set(), 0
        # Snapshots are taken only when all that was outstanding had been stored; timers are armed again.
        # One that waits to be let in again owes what it will owe then, and has done before.
        again = replace(run, status=RUNNING) if run.opened and run.status == PENDING else run
        stored = {c.id for c in outstanding(again) if not isinstance(c, ELSEWHERE)}
        return run, stored, saved.facts

    async def _fold(
        self, run_id: str, run: Run | None, entry: Entry
    ) -> tuple[Run | None, list[Command]]:
        try:
            event = event_of(entry)
        except CodecError:
            return run, []  # it was dead-lettered when it was delivered
        if run is None:
            if not isinstance(event.fact, RunStarted):
                return None, []
            run = new_run(run_id, await self._registry.graph(event.fact.definition))
        event = await self.prepared(run, event)
        return advance(run, event) if self.authentic(run_id, event) else (run, [])

    def authentic(self, run_id: str, event: Event) -> bool:
        """Whether a worker's answer returns the nonce of its ticket; other facts need none."""
        fact = event.fact
        if not isinstance(fact, ANSWERS):
            return True
        fact = cast("Answer", fact)
        return fact.nonce == nonce(self._secret, run_id, fact.ticket)

    async def prepared(self, run: Run, event: Event) -> Event:
        """The event as the engine needs it: payloads it looks into are fetched."""
        if run.graph is None:
            return event
        return await payloads.prepared(self._outside.blobs, run.graph.inspected, event)

    async def save(self, run: Run) -> None:
        """Write a run's snapshot. Only when everything outstanding is stored.

        One that is too large for a message is left out: the run can be folded from its log.
        """
        try:
            await self._snapshots.put(run.id, snapshots.save(run))
        except PayloadTooLarge as error:
            log.debug("run %s has no snapshot: %s", run.id, error)

    async def drop(self, run_id: str) -> None:
        """Remove a run's snapshot."""
        await self._snapshots.delete(run_id)


def no_room(run: Run, subject: str) -> bool:
    """Whether a fact of that subject is a signal which the run does not keep."""
    return _SIGNAL in subject and run.status == RUNNING and signals.full(run)
