"""The messages beside the facts: a dispatched ticket, a closing mark, notices. JSON, for any language."""

from __future__ import annotations

import functools
import hashlib
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from dagnats.core.model import ABSENT
from dagnats.core.state import StepError

_BLOCK_BYTES: Final = 64  # SHA-256


class TaskMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A ticket with everything a worker needs. An outcome goes to ``answer_to``, with the nonce.

    ``attempt`` of ``attempts`` counts executions from 1, ``iteration`` from 0. ``error`` is why the attempt
    before failed. Durations are milliseconds; 0 is no limit. Of a ``sticky`` run (``soft`` or ``hard``),
    ``worker`` names whom it is bound to; who else is given the ticket hands it over.
    """

    ticket: str
    run: str
    step: str
    task: str
    workflow: str
    answer_to: str
    nonce: str = ""
    input: Raw = Raw(b"null")
    attempt: int = 1
    attempts: int = 1
    iteration: int = 0
    max_iterations: int = 0
    loop: bool = False
    checkpoint: Raw = ABSENT
    timeout_ms: int = 0
    metadata: dict[str, str] = {}
    run_metadata: dict[str, str] = {}
    error: str = ""
    sticky: str = ""
    worker: str = ""
    budget_warn_at: int = 0
    budget_force_at: int = 0


class ClosedMark(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a run ended: ``completed``, ``failed`` or ``cancelled``. Times are the log's."""

    status: str
    workflow: str
    output: Raw = ABSENT
    error: StepError | None = None
    started_ms: int = 0
    closed_ms: int = 0


class CancelledNotice(Struct, frozen=True, kw_only=True):
    """Told to all workers: this run is over, whatever you are doing for it."""

    run: str
    reason: str = ""


class StartedNotice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Live only: a worker has begun, or is still at, a ticket."""

    type: str
    ticket: str
    worker: str = ""
    detail: Raw = ABSENT


class Chunk(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of a token stream. ``n`` counts from 0 within a ticket's delivery."""

    n: int
    data: Raw
    step: str = ""
    attempt: int = 1
    iteration: int = 0


class Offer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A worker asks another, to whom a ticket's run is bound, to take it. Without a ticket: is anybody there?

    Nothing is handed over yet. A yes holds for ``within_ms`` of the clock of who gave it.
    """

    run: str = ""
    ticket: str = ""
    task: str = ""
    within_ms: int = 0


class OfferAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``yes`` (send it to ``at``), ``busy`` (ask again later) or ``no`` (with the reason why not)."""

    says: str
    at: str = ""
    reason: str = ""


class HandedOver(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A delivery that its receiver owns from now on; ``message`` is the ticket, the rest as in ``Delivery``."""

    message: Raw
    subject: str
    reply: str
    seq: int
    at_ms: int = 0
    delivered: int = 1
    origin_seq: int = 0


class WorkerRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A worker in the directory; ``seen_ms`` is its own clock, for display."""

    worker: str
    tasks: tuple[str, ...]
    group: str = ""
    concurrency: int = 0
    running: int = 0
    pid: int = 0
    host: str = ""
    version: str = ""
    language: str = "python"
    started_ms: int = 0
    seen_ms: int = 0


class BlobRef(Struct, frozen=True):
    """Stands for a payload in the object store."""

    name: str = msgspec.field(name="$dagnats.blob")
    size: int = 0


@functools.lru_cache(maxsize=8)
def _keyed(secret: bytes) -> tuple[Any, Any]:
    """The two hashes of HMAC with the key taken in, to be copied: half the work of each nonce."""
    block = hashlib.sha256(secret).digest() if len(secret) > _BLOCK_BYTES else secret
    block = block.ljust(_BLOCK_BYTES, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))
    return inner, outer


def nonce(secret: bytes, run: str, ticket: str) -> str:
    """Proof of having been given a ticket: HMAC-SHA256 (RFC 2104) of ``<run>/<ticket>``, 16 digits."""
    inner, outer = _keyed(secret)
    within, around = inner.copy(), outer.copy()
    within.update(f"{run}/{ticket}".encode())
    around.update(within.digest())
    return around.hexdigest()[:16]
