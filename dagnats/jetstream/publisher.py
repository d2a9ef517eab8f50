"""Pipelined JetStream publishes: one inbox, one future per message, deadlines, fences.

A message waits in the backlog until the window allows it; its fence is asked in the same loop step
that writes its bytes. When the connection goes away, what had been written goes back to the front
of the backlog if it cannot be stored twice (it has an id or an expected sequence), else it fails.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from dagnats.errors import (
    LeaseLost,
    PayloadTooLarge,
    PublishFailed,
)
from dagnats.jetstream.asking import NO_RESPONDERS, STORES_NOTHING, not_permitted
from dagnats.jetstream.frames import publish_frame, status_of
from dagnats.jetstream.link import Link, max_payload
from dagnats.jetstream.pending import (
    Fence,
    Pending,
    failure_of,
    headers_of,
    late,
    message_size,
    stored_of,
)
from dagnats.limits import APPENDS_IN_FLIGHT_MAX, PUBLISH_TIMEOUT_MS
from dagnats.ports import Append, Stored
from dagnats.wire import subjects

IN_FLIGHT_SIZE_MAX_BYTES: Final = 32 * 1024 * 1024
_SWEEP_S: Final = 0.25
_HOLD_S: Final = 0.25
_SILENT_S: Final = 1.0  # in a cluster: the leader may have gone, and what it was sent with it
_UNANSWERED_S: Final = 0.6  # how long "no responders" may be a server that is still starting


class Publisher:
    """Publishes for one link. ``publish`` never blocks; wait for what it returns."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._inbox = link.client.new_inbox()
        self._skip = len(self._inbox) + 1
        self._backlog: deque[tuple[int, Pending]] = deque()
        self._waiting: dict[int, Pending] = {}
        self._again: list[tuple[int, Pending]] = []
        self._size = 0
        self._tokens = 0
        self._held_until = 0.0
        self._sent_at = 0.0  # when the oldest that wait were sent
        self._sweeping = False
        self.held = False  # what is published meanwhile waits
        self._closed = False

    async def open(self) -> Publisher:
        """Subscribe to the inbox and join the link's writing."""
        await self._link.listen(f"{self._inbox}.*", self._answered)
        self._link.before_write.append(self._fill)
        self._link.on_disconnect.append(self._dropped)
        self._link.on_refused.append(self._refused)
        return self

    def publish(self, append: Append, fence: Fence | None = None) -> asyncio.Future[Stored]:
        """Store a message; the future has where, or the reason why not.

        Raises:
            PayloadTooLarge: at once; nothing is sent.
        """
        self._tokens += 1
        token = self._tokens
        frame = publish_frame(
            append.subject, append.payload, f"{self._inbox}.{token}", headers_of(append)
        )
        if len(frame) > max_payload(self._link) and message_size(frame) > max_payload(self._link):
            raise PayloadTooLarge(
                f"a message of {len(append.payload)} bytes for {append.subject} is above the "
                f"server's max_payload of {max_payload(self._link)}; raise that or send less"
            )
        pending = Pending(append, frame, fence, self._loop.time(), PUBLISH_TIMEOUT_MS)
        if self._closed:
            pending.fail(
                PublishFailed(f"{append.subject} was not stored: the connection is closed")
            )
            return pending.future
        self._backlog.append((token, pending))
        self._link.plan_write()
        self._sweep_later()
        return pending.future

    async def publish_all(
        self, appends: Sequence[Append], fence: Fence | None = None
    ) -> list[Stored]:
        """Store messages in order; return when every one is stored, raise the first failure."""
        futures = [self.publish(append, fence) for append in appends]
        stored: list[Stored] = []
        failed: Exception | None = None
        for future in futures:
            try:
                stored.append(await future)
            except Exception as problem:  # noqa: BLE001 - raised below, after the others
                failed = failed or problem
        if failed is not None:
            raise failed
        return stored

    # -- writing ---------------------------------------------------------------------------------

    def _fill(self, out: list[bytes]) -> None:
        """What window and fences allow goes from the backlog to the socket; the link calls this."""
        if self.held or self._loop.time() < self._held_until:
            return
        if self._again:
            self._put_back_again()
        asked: dict[int, bool] = {}
        backlog, waiting = self._backlog, self._waiting
        while (
            backlog
            and len(waiting) < APPENDS_IN_FLIGHT_MAX
            and self._size < IN_FLIGHT_SIZE_MAX_BYTES
        ):
            token, pending = backlog.popleft()
            fence = pending.fence
            if fence is not None:
                allowed = asked.get(id(fence))
                if allowed is None:
                    allowed = asked[id(fence)] = fence()
                if not allowed:
                    self._refuse_fenced(pending, fence)
                    continue
            pending.sends += 1
            if not waiting:
                self._sent_at = self._loop.time()
            waiting[token] = pending
            self._size += len(pending.frame)
            out.append(pending.frame)

    def _refuse_fenced(self, pending: Pending, fence: Fence) -> None:
        """Nothing more of a writer whose lease is gone, even if the next moment said otherwise."""
        lost = LeaseLost(
            f"the lease for writing {pending.append.subject} is gone; nothing more is written"
        )
        pending.fail(lost)
        kept = [(token, other) for token, other in self._backlog if other.fence is not fence]
        for _, other in self._backlog:
            if other.fence is fence:
                other.fail(lost)
        self._backlog = deque(kept)

    # -- answers ---------------------------------------------------------------------------------

    def _answered(self, subject: bytes, _reply: bytes, headers: bytes, payload: bytes) -> None:
        token = int(subject[self._skip :])
        pending = self._waiting.pop(token, None)
        if pending is None:
            return
        self._size -= len(pending.frame)
        self._sent_at = self._loop.time()  # somebody answers
        if self._backlog:
            self._link.plan_write()
        if headers and status_of(headers) == NO_RESPONDERS:
            self._unanswered(token, pending)
        elif b'"error"' in payload:
            pending.fail(failure_of(payload, pending))
        elif not pending.future.done():
            pending.future.set_result(stored_of(payload))

    def _unanswered(self, token: int, pending: Pending) -> None:
        """Nobody owns the subject: certainly not stored, and perhaps only for a moment."""
        now = self._loop.time()
        allowed = pending.deadline if self._link.clustered else pending.since + _UNANSWERED_S
        if now < allowed:
            self._again.append((token, pending))
            self._held_until = now + _HOLD_S
            self._loop.call_later(_HOLD_S + 0.001, self._link.plan_write)
            return
        pending.fail(
            PublishFailed(
                f"{pending.append.subject} was not stored: JetStream is not enabled or the stream "
                f"{subjects.EVENTS} (or the one for this subject) is missing; start "
                f"`dagnats scheduler` or `dagnats serve` once, or {STORES_NOTHING}"
            )
        )

    def _put_back_again(self) -> None:
        """To the front of the backlog, in the order in which they were published."""
        self._backlog = deque(sorted([*self._again, *self._backlog], key=lambda item: item[0]))
        self._again.clear()

    def _dropped(self) -> None:
        for token, pending in self._waiting.items():
            if _repeatable(pending):
                self._again.append((token, pending))
            else:
                pending.fail(
                    PublishFailed(
                        f"the connection was lost while {pending.append.subject} was being stored; "
                        "whether it was is not known"
                    )
                )
        self._waiting.clear()
        self._size = 0
        self._put_back_again()

    def _refused(self, text: str) -> None:
        """A permissions violation names its subject; the server sends no other answer."""
        for token, pending in list(self._waiting.items()):
            if f'Publish to "{pending.append.subject}"'.lower() in text.lower():
                del self._waiting[token]
                self._size -= len(pending.frame)
                pending.fail(not_permitted(self._link, "publish to", pending.append.subject))

    # -- deadlines -------------------------------------------------------------------------------

    def _sweep_later(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(_SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Fail what has waited too long. Both are oldest first: looking at the heads is enough."""
        self._sweeping = False
        now = self._loop.time()
        for token, pending in list(self._waiting.items()):
            if pending.deadline > now:
                break
            del self._waiting[token]
            self._size -= len(pending.frame)
            pending.fail(late(pending, self._link.url))
        while self._backlog and self._backlog[0][1].deadline <= now:
            pending = self._backlog.popleft()[1]
            pending.fail(late(pending, self._link.url))
        if self._waiting and self._link.clustered and now - self._sent_at > _SILENT_S:
            self._send_again()
        if self._waiting or self._backlog or self._again:
            self._sweep_later()

    def _send_again(self) -> None:
        """All that waits, in its order, where sending it twice stores it once."""
        self._sent_at = self._loop.time()
        for token, pending in list(self._waiting.items()):
            if _repeatable(pending):
                del self._waiting[token]
                self._size -= len(pending.frame)
                self._again.append((token, pending))
        self._link.plan_write()

    def close(self) -> None:
        """Fail what has no answer; take nothing more."""
        self._closed = True
        left = [*self._waiting.values(), *(item[1] for item in (*self._again, *self._backlog))]
        self._waiting.clear()
        self._backlog.clear()
        for pending in left:
            pending.fail(
                PublishFailed(
                    f"the connection was closed before {pending.append.subject} was stored"
                )
            )


def _repeatable(pending: Pending) -> bool:
    """Whether the server tells a second sending from the first."""
    return bool(pending.append.msg_id) or pending.append.expect_last is not None
