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
from dagnats.ports import Append
from dagnats.wire import subjects

_fact = msgspec.json.Decoder(Fact)


def place_of_author(message: Append, partitions: int) -> int | None:
    """The partition that a message is written for; None for what belongs to none, or cannot be told."""
    tokens = message.subject.split(".")
    if not tokens[2].isdigit() or b"replaced by run" in message.payload:
        return None
    author = _author(_fact.decode(message.payload)) if tokens[1] == "fact" else ""
    return subjects.partition_of(author, partitions) if author else int(tokens[2])


def _author(fact: Fact) -> str:
    """The run for which a fact of another one is written; empty for its own."""
    match fact:
        case RunStarted():
            return fact.previous or fact.parent
        case ChildStarted() | ChildClosed():
            return fact.child
        case CancelRequested():
            return fact.reason.removeprefix("run ").removesuffix(" no longer waits for it")
        case GateAsked() | GateLeft():
            return fact.run
        case GateGranted() | GateRefused() | GateChecked():
            return fact.gate
        case _:
            return ""
