"""A trigger as bytes. What it holds comes in portions, so that nobody has to read all of it at one go."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec
from msgspec.structs import replace

from dagnats.core.triggers.fold import VERSION, TriggerState
from dagnats.core.triggers.held import Group, Held

_PORTION: Final = 1_000
BETWEEN: Final = b"\x00"  # which no JSON holds
_state = msgspec.json.Decoder(TriggerState)
_groups = msgspec.json.Decoder(dict[str, Group])


def save(state: TriggerState) -> bytes:
    """The state as it is stored."""
    held = state.held
    if held is None:
        return msgspec.json.encode(state)
    bare = Held(now_ms=held.now_ms, armed_ms=held.armed_ms, kept=held.kept, size=held.size)
    portions = (msgspec.json.encode(each) for each in _portions(held.groups))
    return BETWEEN.join([msgspec.json.encode(replace(state, held=bare)), *portions])


def _portions(groups: dict[str, Group]) -> Iterator[dict[str, Group]]:
    rest = iter(groups.items())
    while portion := dict(islice(rest, _PORTION)):
        yield portion


def restore(data: bytes) -> Iterator[TriggerState | None]:
    """A stored state, again and again while it is read; what comes last is all of it.

    None: it is not one that this version can use, and the log is to be folded instead.
    """
    try:
        first, *portions = data.split(BETWEEN)
        state = _state.decode(first)
        held = state.held
        if held is not None:
            for portion in portions:
                held.groups.update(_groups.decode(portion))
                yield state
    except msgspec.DecodeError:
        yield None
        return
    if held is not None:
        held.rebuild()
    yield state if state.version <= VERSION else None
