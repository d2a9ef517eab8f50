"""The messages beside the facts: a dispatched ticket, a closing mark, notices. JSON, for any language."""

from __future__ import annotations

import functools
import hashlib
import hmac
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from dagnats.core.budgets import Allowance
from dagnats.core.model import ABSENT, Usage
from dagnats.core.state import StepError

_BLOCK_BYTES: Final = 64  # SHA-256


class CallResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A durable call's recorded result: ``status`` is that of its step, ``step`` its id.

    ``key`` tells what was called and with what: a handler that takes another way asks for another call.
    """

    n: int
    step: str
    status: str
    key: str = ""
    output: Raw = ABSENT
    error: str = ""
    failure: str = ""


class TaskMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A ticket with everything a worker needs. An outcome goes to ``answer_to``, with the nonce.

    ``attempt`` of ``attempts`` counts executions from 1, ``iteration`` from 0. ``error`` is why the attempt
    before failed. Durations are milliseconds; 0 is no limit. ``calls`` are the recorded results of the
    iteration's durable calls, ``history`` how many facts the run has, ``epoch`` the run's: a notice that takes
    tickets back names the last epoch it means. ``control``: the handler may use the control plane. Of a
    ``sticky`` run (``soft`` or ``hard``), ``worker`` names whom it is bound to; who else is given the ticket
    hands it over. ``budgets`` are those that count what the handler uses, as they stood when it was dispatched.
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
    budgets: tuple[Allowance, ...] = ()
    kind: str = "task"
    calls: tuple[CallResult, ...] = ()
    epoch: int = 0
    history: int = 0
    parent: str = ""
    root: str = ""
    control: bool = False


class ClosedMark(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a run ended (one of ``core.state.CLOSED``), or ``running``: it had, and was opened again.

    ``successor`` is the run that continues it, ``epoch`` the run's. Times are the log's. ``usage`` is what its
    handlers had reported by then, by model.
    """

    status: str
    workflow: str
    successor: str = ""
    epoch: int = 0
    output: Raw = ABSENT
    error: StepError | None = None
    started_ms: int = 0
    closed_ms: int = 0
    usage: dict[str, Usage] = {}


class ScheduledRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A scheduled start in its bucket: ``scheduled``, or ``cancelled``. Gone when it has fired. RFC 3339 times."""

    run_id: str
    workflow_id: str
    input: Raw = Raw(b"null")
    run_at: str
    created_at: str
    status: str = "scheduled"


class FiredMark(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a trigger's fire: the run it started, or the ``reason`` why it started none.

    ``key`` tells the fire apart, ``at_ms`` is its instant (Unix time). It may stand for several ``events`` that were
    held back, with the same ``group``; ``note`` is what was unusual about it.
    """

    key: str
    kind: str
    workflow: str
    at_ms: int
    run_id: str = ""
    reason: str = ""
    events: int = 0
    group: str = ""
    note: str = ""


class CancelledNotice(Struct, frozen=True, kw_only=True):
    """Told to all workers: this run's tickets up to an epoch are taken back, whatever you are doing."""

    run: str
    reason: str = ""
    epoch: int = 0


class StartedNotice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Live only: a worker has begun, or is still at, a ticket."""

    type: str
    ticket: str
    worker: str = ""
    detail: Raw = ABSENT


class SettledNotice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Live only, to one worker: a durable call of a ticket is settled."""

    run: str
    ticket: str
    result: CallResult


class ApprovalNotice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What people are told of a question. ``show`` is what it is about, ``expires_at`` RFC 3339 in UTC."""

    token: str
    run_id: str
    step_id: str
    ticket: str
    workflow: str
    subject: str = ""
    description: str = ""
    metadata: dict[str, str] = {}
    show: Raw = ABSENT
    form: Any = None
    quorum: int = 1
    expires_at: str = ""


class Asked(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The mark that a question was put; the token is not in it."""

    ticket: str
    subject: str
    expires_at: str


class ControlMark(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The mark of a decision of the control plane: ``type`` is what was asked for, ``kind`` of which refusal.

    ``name`` is the definition's, or that of the workflow to start.
    """

    type: str
    ticket: str
    workflow: str
    allowed: bool
    name: str = ""
    kind: str = ""
    reason: str = ""


class Response(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The mark that holds a run's response, for whoever waits for it."""

    ticket: str
    status: int = 200
    headers: dict[str, str] = {}
    content_type: str = "application/json"
    body: Raw = Raw(b"null")


class Waiter(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who waits for an external event. ``left`` empty: any event of that name."""

    run: str
    ticket: str
    event: str
    left: str = ""
    value: str = ""
    since_ms: int = 0


class Chunks(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Chunks of one execution's token stream, in order. ``n`` numbers the first, from 0 in the execution.

    An execution is a delivery of a dispatch: ``dispatch`` is its sequence in the log, ``delivery`` counts
    from 1. The newest execution of a step's iteration counts. ``anew``: earlier ones streamed, and no
    longer do. ``run_chunks`` and ``run_bytes`` are what the run has streamed so far, these included.
    """

    step: str
    dispatch: int = 0
    delivery: int = 1
    attempt: int = 1
    iteration: int = 0
    n: int = 0
    chunks: tuple[Raw, ...] = ()
    anew: bool = False
    run_chunks: int = 0
    run_bytes: int = 0


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
    """A worker in the directory; ``seen_ms`` is its own clock, for display.

    ``threads`` are those that its handlers have started and that still run; when many, most are in ``threads_in``.
    """

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
    threads: int = 0
    threads_in: str = ""


class Enquiry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker that may not read the log asks schedulers: whether a ticket is settled, or of its call ``n``.

    ``after_seq``: where its dispatch is in the log. The nonce is the right to ask.
    """

    run: str
    ticket: str
    nonce: str
    step: str = ""
    epoch: int = 0
    after_seq: int = 0
    n: int | None = None


class EnquiryAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether the ticket was answered or its run has ended; what is recorded of the call, if anything."""

    settled: bool = False
    call: CallResult | None = None


class BlobRef(Struct, frozen=True):
    """Stands for a payload in the object store."""

    name: str = msgspec.field(name="$dagnats.blob")
    size: int = 0


def approval_token(secret: bytes, run: str, ticket: str) -> str:
    """What answers a question from outside: HMAC-SHA256 of it, 64 digits. Made when needed, stored nowhere."""
    return hmac.new(secret, f"approval:{run}/{ticket}".encode(), hashlib.sha256).hexdigest()


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
