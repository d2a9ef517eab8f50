"""Reporting outcomes: stored before the ticket is acknowledged; an outage is waited out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from dagnats.core.events import Answer as Outcome
from dagnats.errors import OutsideError
from dagnats.ports import Append, EventLog
from dagnats.wire.codec import encode
from dagnats.wire.messages import TaskMessage

log = logging.getLogger("dagnats.worker")

_PAUSE_S = (0.1, 0.3, 1.0, 2.0)


def answer_message(message: TaskMessage, outcome: Outcome) -> Append:
    """The message that answers a ticket; one id for whatever the answer, so the first one counts."""
    return Append(message.answer_to, encode(outcome), f"{message.run}/{message.ticket}:answer")


async def report(
    events: EventLog,
    message: TaskMessage,
    outcome: Outcome,
    settled: Callable[[], Awaitable[bool]],
) -> None:
    """Store an outcome, however long it takes: the work is done and must not be lost.

    When its id is known already, ``settled`` says whether that was an answer that counts.
    """
    append = answer_message(message, outcome)
    attempt = 0
    while True:
        try:
            [stored] = await events.append([append])
            if stored.duplicate and append.msg_id and not await settled():
                append = replace(append, msg_id="")  # somebody took it who has no nonce
                continue
        except (OutsideError, TimeoutError) as error:
            text = "the outcome of %s in run %s is not stored yet: %s"
            log.warning(text, message.ticket, message.run, error)
            await asyncio.sleep(_PAUSE_S[min(attempt, len(_PAUSE_S) - 1)])
            attempt += 1
        else:
            return
