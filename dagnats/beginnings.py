"""Logs of triggers and gates that were cut: a saved state stands for what they began with, in a bucket without an age.

A snapshot may get lost: then the log is folded from its beginning. So the beginning is written first, and never set
back; only then the log is cut. Who reads both looks whether it was cut in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Struct

from dagnats.core.gates import stored as gates
from dagnats.core.gates.gate import Gate
from dagnats.core.triggers import stored as triggers
from dagnats.core.triggers.fold import TriggerState
from dagnats.errors import CodecError, PayloadTooLarge
from dagnats.kept import kept
from dagnats.limits import FIRES_KEPT
from dagnats.ports import Entry, Outside
from dagnats.wire import subjects


class Folded(Protocol):
    """The state of an entity."""

    @property
    def seq(self) -> int:
        """The last fact in it."""
        ...


S = TypeVar("S", bound=Folded)


class Kind(NamedTuple, Generic[S]):
    """A kind of entities: their first state, and how one is restored (what comes last is all of it, or None)."""

    new: Callable[[str], S]
    restore: Callable[[bytes], Iterable[S | None]]


TRIGGERS: Final = Kind(lambda entity: TriggerState(entity=entity), triggers.restore)
GATES: Final = Kind(Gate, lambda data: [gates.restore(data)])


class _Saved(Struct):
    seq: int = 0


async def read(outside: Outside, entity: str, kind: Kind[S]) -> tuple[S, list[Entry]]:
    """The newest saved state of an entity, and what its log has after that.

    Raises:
        CodecError: its log was cut, and a newer version wrote what it began with.
    """
    documents = outside.documents(subjects.BEGINNINGS)
    while True:
        found = await documents.get(entity)
        begins = await _restored(found[0], kind) if found else kind.new(entity)
        if begins is None:
            text = f"{entity} was saved by a newer dagnats; upgrade this process"
            raise CodecError(text)
        snapshot = await kept(outside, subjects.SNAPSHOTS, entity)
        saved = await _restored(snapshot, kind) if snapshot else None
        state = saved if saved and saved.seq > begins.seq else begins
        entries = await outside.log.history(entity, state.seq)
        if await documents.get(entity) == found:
            return state, entries


async def cut(outside: Outside, entity: str, state: bytes, seq: int) -> None:
    """Have a log begin with the state that it had with a fact; of what became of fires the newest stay.

    That fact stays, too: gates are listed by what they have in the log. A state that no message can carry stands for
    nothing: it lives among the large payloads, which expire.
    """
    documents = outside.documents(subjects.BEGINNINGS)
    found = await documents.get(entity)
    if found and _seq_of(found[0]) >= seq:
        return
    try:
        written = await documents.swap(entity, state, found[1] if found else 0)
    except PayloadTooLarge:
        return
    if written is not None:
        await outside.log.remove(entity, seq - 1, marks_kept=FIRES_KEPT)


def _seq_of(data: bytes) -> int:
    return msgspec.json.decode(data.partition(triggers.BETWEEN)[0], type=_Saved).seq


async def _restored(data: bytes, kind: Kind[S]) -> S | None:
    state: S | None = None
    for state in kind.restore(data):  # noqa: B007  (what comes last counts)
        await asyncio.sleep(0)  # it may be much: leases are renewed meanwhile
    return state
