"""What commands come to besides messages in the log: documents, live notices, tickets taken back."""

from __future__ import annotations

from msgspec import Struct

from dagnats.core.commands import AwaitEvent
from dagnats.ports import Append


class Before(Struct, frozen=True):
    """A message that is stored before the others, so that these imply it."""

    append: Append


class Tell(Struct, frozen=True):
    """A live message; whoever misses it finds out otherwise."""

    subject: str
    payload: bytes


class TakeBack(Struct, frozen=True):
    """A run's tickets up to an epoch are worth nothing any more."""

    run: str
    epoch: int
    reason: str


class LookOut(Struct, frozen=True):
    """A ticket waits for an external event."""

    watch: AwaitEvent


class LookAway(Struct, frozen=True):
    """A ticket waits for it no longer."""

    run: str
    ticket: str


class Drop(Struct, frozen=True):
    """A payload that nobody refers to any more: removed when what made it so is stored."""

    name: str


class Keep(Struct, frozen=True):
    """A document to be written when what made it so is stored; without a value, removed."""

    bucket: str
    key: str
    value: bytes | None = None


class Cut(Struct, frozen=True):
    """A trigger's or gate's state after a fact: its log may begin with it once what made it so is stored."""

    entity: str
    state: bytes
    seq: int


Kept = Keep | Cut
Effect = Before | Drop | Tell | TakeBack | LookOut | LookAway
