"""Logs of triggers that were cut: a saved state stands for what they began with, in a bucket without an age.

A snapshot may get lost: then the log is folded from its beginning. So the beginning is written first, and never set
back; only then the log is cut. Who reads both looks whether it was cut in between.
"""

from __future__ import annotations

import asyncio

from dagnats.core.triggers import stored
from dagnats.core.triggers.fold import TriggerState
from dagnats.errors import CodecError, PayloadTooLarge
from dagnats.kept import kept
from dagnats.limits import FIRES_KEPT
from dagnats.ports import Entry, Outside
from dagnats.wire import subjects


async def read(outside: Outside, entity: str) -> tuple[TriggerState, list[Entry]]:
    """The newest saved state of a trigger, and what its log has after that.

    Raises:
        CodecError: its log was cut, and a newer version wrote what it began with.
    """
    documents = outside.documents(subjects.BEGINNINGS)
    while True:
        found = await documents.get(entity)
        begins = await _restored(found[0]) if found else TriggerState(entity=entity)
        if begins is None:
            text = f"{entity} was saved by a newer dagnats; upgrade this process"
            raise CodecError(text)
        snapshot = await kept(outside, subjects.SNAPSHOTS, entity)
        saved = await _restored(snapshot) if snapshot else None
        state = saved if saved and saved.seq > begins.seq else begins
        entries = await outside.log.history(entity, state.seq)
        if await documents.get(entity) == found:
            return state, entries


async def cut(outside: Outside, entity: str, state: bytes, seq: int) -> None:
    """Have a trigger's log begin with its state after a sequence; of what became of its fires the newest stay.

    A state that no message can carry stands for nothing: it lives among the large payloads, which expire.
    """
    documents = outside.documents(subjects.BEGINNINGS)
    found = await documents.get(entity)
    before = await _restored(found[0]) if found else TriggerState(entity=entity)
    if before is None or before.seq >= seq:
        return
    try:
        written = await documents.swap(entity, state, found[1] if found else 0)
    except PayloadTooLarge:
        return
    if written is not None:
        await outside.log.remove(entity, seq, marks_kept=FIRES_KEPT)


async def _restored(data: bytes) -> TriggerState | None:
    state: TriggerState | None = None
    for state in stored.restore(data):  # noqa: B007  (what comes last counts)
        await asyncio.sleep(0)  # it may be much: leases are renewed meanwhile
    return state
