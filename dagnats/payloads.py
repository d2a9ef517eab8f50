"""Large payloads live in the object store: a reference travels in their place, both ways, unseen by users.

A reference is ``{"$dagnats.blob": <sha256>, "size": <bytes>}``. It may stand for a whole payload or for
the members of an object (the outputs of several parents). Its name is the hash of the content, so
storing twice is storing once and every scheduler makes the same reference.
"""

from __future__ import annotations

import hashlib

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from dagnats.core.events import (
    ApprovalDecided,
    ChildClosed,
    Event,
    Fact,
    RunStarted,
    SignalReceived,
    StepCalled,
    StepPlanned,
    StepSucceeded,
)
from dagnats.core.state import step_of_ticket
from dagnats.errors import InvalidInput, PayloadGone, PayloadTooLarge
from dagnats.limits import OFFLOAD_SIZE_BYTES, PAYLOAD_SIZE_MAX_BYTES
from dagnats.ports import Blobs
from dagnats.wire.messages import BlobRef

MARK = b'"$dagnats.blob"'
_refs = msgspec.json.Decoder(BlobRef, strict=True)
_members = msgspec.json.Decoder(dict[str, Raw])
_items = msgspec.json.Decoder(list[Raw])


async def offload(
    blobs: Blobs,
    payload: Raw,
    what: str,
    threshold: int = OFFLOAD_SIZE_BYTES,
    most: int = PAYLOAD_SIZE_MAX_BYTES,
    prefix: str = "",
) -> Raw:
    """The payload, or its reference when it is larger than the threshold; ``most`` 0 is no limit.

    With a ``prefix`` of its own it shares its place with no other payload, and may be removed.

    Raises:
        PayloadTooLarge: it is above what DagNats carries at all.
    """
    data = bytes(payload)
    if len(data) <= threshold:
        return payload
    if most and len(data) > most:
        raise PayloadTooLarge(
            f"{what} is {len(data):,} bytes of JSON; at most {most // 2**20} MB can be carried"
        )
    name = prefix + hashlib.sha256(data).hexdigest()
    await blobs.put(name, data)
    return Raw(msgspec.json.encode(BlobRef(name, len(data))))


def reference(payload: Raw) -> BlobRef | None:
    """The reference that a payload is; None when it is a value."""
    if MARK not in bytes(payload)[:32]:
        return None
    try:
        ref = _refs.decode(payload)
    except msgspec.DecodeError:
        return None
    return ref


async def restore(blobs: Blobs, payload: Raw) -> Raw:
    """The payload with every reference in it, at whatever depth, replaced by what it stands for.

    Raises:
        PayloadGone: the object store no longer holds it.
    """
    if MARK not in bytes(payload):
        return payload
    ref = reference(payload)
    if ref is not None:
        return await restore(blobs, await _fetch(blobs, ref))  # it may hold references itself
    try:
        if bytes(payload).lstrip()[:1] == b"[":
            items = _items.decode(payload)
            return Raw(msgspec.json.encode([await restore(blobs, item) for item in items]))
        members = _members.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return payload
    restored = {key: await restore(blobs, value) for key, value in members.items()}
    return Raw(msgspec.json.encode(restored))


async def _fetch(blobs: Blobs, ref: BlobRef) -> Raw:
    data = await blobs.get(ref.name)
    if data is None:
        raise PayloadGone(
            f"payload {ref.name} ({ref.size:,} bytes) is no longer in the object store; its retention is over"
        )
    return Raw(data)


async def prepared(blobs: Blobs, inspected: frozenset[str], event: Event) -> Event:
    """The event with its payload fetched, where the engine itself looks into it (``Graph.inspected``).

    A payload that is gone stays a reference: what looks into it finds nothing there, and says so.
    """
    fact = event.fact
    changes: dict[str, Raw] = {}
    try:
        for field in _looked_into(fact, inspected):
            value: Raw = getattr(fact, field)
            restored = await restore(blobs, value)
            if restored is not value:
                changes[field] = restored
    except PayloadGone:
        return event
    return Event(event.seq, event.at_ms, replace(fact, **changes)) if changes else event


def _looked_into(fact: Fact, inspected: frozenset[str]) -> tuple[str, ...]:
    """The payloads of a fact that the engine looks into."""
    match fact:
        case RunStarted():
            return ("fork", "input") if "" in inspected else ("fork",) if fact.fork else ()
        case StepPlanned():
            return ("plan",)
        case StepCalled():
            return ("input",)
        case SignalReceived():
            return ("payload",)
        case ApprovalDecided():
            return ("answer",)
        case StepSucceeded() | ChildClosed():
            return ("output",) if _is_inspected(step_of_ticket(fact.ticket), inspected) else ()
        case _:
            return ()


def _is_inspected(step: str, inspected: frozenset[str]) -> bool:
    """Whether a step is looked into: itself, or as an item or a plan's step of one that is."""
    if not inspected or step in inspected:
        return bool(inspected)
    owner = step.partition("#")[0]
    return any(owner == name or owner.startswith(f"{name}.") for name in inspected if name)


def refuse_forged(payload: Raw, what: str) -> None:
    """A user's value may not hold what looks like a reference.

    Raises:
        InvalidInput: it does.
    """
    if MARK in bytes(payload) and _holds_reference(payload):
        raise InvalidInput(f'{what} has the reserved key "$dagnats.blob"; rename it')


def _holds_reference(payload: Raw) -> bool:
    if reference(payload) is not None:
        return True
    try:
        if bytes(payload).lstrip()[:1] == b"[":
            return any(_holds_reference(item) for item in _items.decode(payload))
        return any(_holds_reference(value) for value in _members.decode(payload).values())
    except (msgspec.DecodeError, RecursionError):
        return False
