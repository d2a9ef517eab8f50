"""Sending signals to runs, and publishing external events: what anybody may do."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from dagnats import archive, convert, payloads
from dagnats.core.events import SignalReceived
from dagnats.core.problems import name_problems
from dagnats.core.state import RUNNING
from dagnats.errors import InvalidInput, PayloadTooLarge, RunNotFound, SignalRefused
from dagnats.ids import checked_run_id
from dagnats.limits import EVENT_SIZE_MAX_BYTES, SIGNAL_SIZE_MAX_BYTES
from dagnats.ports import Append, Outside
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import ClosedMark

_mark = msgspec.json.Decoder(ClosedMark)


async def send_signal(outside: Outside, run_id: str, name: str, payload: Raw) -> None:
    """Send data to a run; it is kept until somebody waits for a signal of that name.

    Raises:
        RunNotFound: there is no such run.
        SignalRefused: it has ended.
        InvalidInput, PayloadTooLarge: the name cannot be one, or the data are too large.
    """
    _check("signal", name, payload, SIGNAL_SIZE_MAX_BYTES)
    log = outside.log
    place = subjects.partition_of(checked_run_id(run_id), log.partitions)
    if not await archive.exists(outside, run_id):
        text = f"no run {run_id}; `dagnats run list` shows the runs there are"
        raise RunNotFound(text, run_id=run_id)
    closed = await archive.last(outside, subjects.mark(place, run_id, "closed"))
    if closed is not None and _mark.decode(closed.payload).status != RUNNING:
        status = _mark.decode(closed.payload).status
        text = f"run {run_id} is {status}; it takes no signals any more"
        raise SignalRefused(text, run_id=run_id, status=status)
    given = await payloads.offload(outside.blobs, payload, f"signal {name}")
    fact = SignalReceived(name=name, payload=given)
    await log.append([Append(subjects.signal(place, run_id, name), encode(fact))])


async def publish_event(outside: Outside, name: str, payload: object = None) -> int:
    """Publish an external event; its sequence in the inbox.

    Raises:
        InvalidInput, PayloadTooLarge: the name cannot be one, or the payload is no JSON or too large.
    """
    raw = payload if isinstance(payload, Raw) else convert.encode(payload)
    _check("event", name, raw, EVENT_SIZE_MAX_BYTES)
    [stored] = await outside.log.append([Append(subjects.inbox(name), bytes(raw))])
    return stored.seq


def _check(what: str, name: str, payload: Raw, most: int) -> None:
    for problem in name_problems(what, name):
        raise InvalidInput(str(problem))
    payloads.refuse_forged(payload, f"the {what}")
    size = len(bytes(payload))
    if size > most:
        raise PayloadTooLarge(
            f"{what} {name} is {size:,} bytes of JSON; at most {most // 1024} KB can be sent"
        )
