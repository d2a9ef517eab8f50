"""Who may write what: every message of a scheduler is written for a run or a gate, by the owner of its partition."""

from __future__ import annotations

import msgspec

from dagnats.core.entities import GateAsked, GateLeft
from dagnats.core.events import (
    CancelRequested,
    ChildClosed,
    ChildStarted,
    Fact,
    GateChecked,
    GateGranted,
    GateRefused,
    RunStarted,
)
from dagnats.core.scheduled import start_of
from dagnats.core.triggers.model import entity_of
from dagnats.ports import Append
from dagnats.wire import subjects
from dagnats.wire.codec import run_of

_UNTOLD = (b"replaced by run", b"cancelled before it was started")
_fact = msgspec.json.Decoder(Fact)


def place_of_author(message: Append, partitions: int) -> int | None:
    """The partition that a message is written for; None for what belongs to none, or cannot be told."""
    tokens = message.subject.split(".")
    if not tokens[2].isdigit() or any(words in message.payload for words in _UNTOLD):
        return None
    author = ""
    if tokens[1] == "fact":
        author = _author(run_of(message.subject), _fact.decode(message.payload))
    return subjects.partition_of(author, partitions) if author else int(tokens[2])


def _author(run: str, fact: Fact) -> str:
    """The run for which a fact of another one is written; empty for its own."""
    match fact:
        case RunStarted():
            trigger = fact.metadata.get("dagnats.trigger", "")
            started = entity_of(trigger) if trigger else start_of(run)
            return fact.previous or fact.parent or started
        case ChildStarted() | ChildClosed():
            return fact.child
        case CancelRequested() if fact.reason.startswith("trigger "):
            return entity_of(fact.reason.split(" ")[1])
        case CancelRequested():
            return fact.reason.removeprefix("run ").removesuffix(" no longer waits for it")
        case GateAsked() | GateLeft():
            return fact.run
        case GateGranted() | GateRefused() | GateChecked():
            return fact.gate
        case _:
            return ""
