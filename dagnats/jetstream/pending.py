"""A publish that waits for its answer, and what the answers mean."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Final

from dagnats.errors import BrokerUnavailable, NoRoom, PublishFailed, WrongSequence
from dagnats.jetstream.asking import STORES_NOTHING
from dagnats.ports import Append, Stored
from dagnats.wire import subjects

Fence = Callable[[], bool]

_WRONG_SEQUENCE: Final = frozenset({10071, 10164})
_STORE_FULL: Final = frozenset({10002, 10023, 10028, 10047, 10077, 10122})


class Pending:
    """A publish that has no answer yet."""

    __slots__ = ("append", "deadline", "fence", "frame", "future", "sends", "since")

    def __init__(
        self, append: Append, frame: bytes, fence: Fence | None, now: float, timeout_ms: int
    ) -> None:
        self.append = append
        self.frame = frame
        self.fence = fence
        self.since = now
        self.deadline = now + timeout_ms / 1000
        self.sends = 0
        self.future: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()

    def fail(self, problem: Exception) -> None:
        """Tell whoever waits, once."""
        if not self.future.done():
            self.future.set_exception(problem)
            self.future.exception()  # nobody may be waiting any more; that is not worth a warning


def headers_of(append: Append) -> tuple[tuple[str, str], ...]:
    """What the server has to know, before what the message brings."""
    headers = append.headers
    if append.msg_id:
        headers = ((subjects.MSG_ID, append.msg_id), *headers)
    if append.expect_last is not None:
        headers = ((subjects.EXPECTED_LAST_SUBJECT, str(append.expect_last)), *headers)
    return headers


def message_size(frame: bytes) -> int:
    """What the server limits, headers and payload: the last number of the first line."""
    return int(frame[: frame.index(b"\r\n")].rsplit(b" ", 1)[1])


def stored_of(payload: bytes) -> Stored:
    """``{"stream":"X","seq":12,"duplicate":true}`` without building a dictionary."""
    at = payload.index(b'"seq":') + 6
    end = payload.find(b",", at)
    if end < 0:
        end = payload.index(b"}", at)
    return Stored(int(payload[at:end]), b'"duplicate"' in payload)


def failure_of(payload: bytes, pending: Pending) -> PublishFailed:
    """The error that an answer with ``"error"`` stands for."""
    error = json.loads(payload)["error"]
    code, text = int(error.get("err_code", 0)), str(error.get("description", ""))
    subject = pending.append.subject
    if code in _WRONG_SEQUENCE:
        return WrongSequence(
            f"{subject} was written by somebody else: {text}",
            expected=pending.append.expect_last, resent=pending.sends > 1,
        )  # fmt: skip
    if code in _STORE_FULL or "maximum" in text:
        return NoRoom(
            f"{subject} was not stored: the NATS server has no room left ({text}); raise the "
            "stream's or the server's storage limit, or shorten the retention",
            code=code,
        )
    return PublishFailed(f"{subject} was not stored: {text} ({code})", code=code)


def late(pending: Pending, url: str) -> Exception:
    """The error of a publish whose time is over."""
    subject, seconds = pending.append.subject, round(pending.deadline - pending.since, 1)
    if not pending.sends:
        return BrokerUnavailable(
            f"{subject} was not stored: no connection to NATS at {url} for {seconds} s"
        )
    return PublishFailed(
        f"NATS at {url} did not confirm {subject} within {seconds} s; "
        f"whether it was stored is not known; {STORES_NOTHING}"
    )
