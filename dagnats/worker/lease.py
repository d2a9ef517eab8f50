"""Keeping leases from a thread that user code cannot block, and naming the code that blocks the loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol

from msgspec import Struct

from dagnats.clock import Clock
from dagnats.limits import CANCEL_GRACE_MS, LOOP_BLOCKED_MS
from dagnats.ports import Append, Stored

log = logging.getLogger("dagnats.worker")

_TICK_S = 0.2
_PACKAGE = str(Path(__file__).resolve().parent.parent)


class LeaseLink(Protocol):
    """A connection that belongs to another thread than the event loop's."""

    def start(self) -> None:
        """Begin connecting."""
        ...

    def extend(self, replies: Sequence[str]) -> None:
        """Renew the leases of these deliveries."""
        ...

    def publish(self, append: Append) -> concurrent.futures.Future[Stored]:
        """Store a message; the future says whether it is."""
        ...

    def stop(self) -> None:
        """Let go."""
        ...


class Held(Struct):
    """A ticket being worked on. ``deadline_ms`` is on the monotonic clock (0: none).

    ``overdue`` makes the answer to report when the loop is blocked beyond it; ``answer`` is what came
    of reporting it.
    """

    reply: str
    deadline_ms: float = 0
    overdue: Callable[[], Append] | None = None
    answer: concurrent.futures.Future[Stored] | None = None

    @property
    def answered(self) -> bool:
        """Whether the answer is stored: before that the ticket is still somebody's to answer."""
        return self.answer is not None and self.answer.done() and not self.answer.exception()

    def unanswered(self, now: float) -> bool:
        """Whether its time is over by far, and nothing was reported or is being reported."""
        if not self.deadline_ms or now < self.deadline_ms + CANCEL_GRACE_MS:
            return False
        return self.answer is None or (self.answer.done() and bool(self.answer.exception()))


class LeaseKeeper:
    """Extends what is held every third of the lease; watches the loop's pulse."""

    def __init__(self, link: LeaseLink, lease_ms: int, clock: Clock) -> None:
        self._link = link
        self._every_ms = lease_ms / 3
        self._clock = clock
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dagnats-leases", daemon=True)
        self._loop_thread = 0
        self._pulse_ms = 0.0
        self._beat: asyncio.TimerHandle | None = None
        self.blocked_by = ""

    def start(self) -> None:
        """Begin; call on the event loop that is to be watched."""
        self._loop_thread = threading.get_ident()
        self._link.start()
        self._pulse(asyncio.get_running_loop())
        self._thread.start()

    def stop(self) -> None:
        """End, and let go of the connection; twice is fine."""
        if self._beat is not None:
            self._beat.cancel()
        if not self._stopping.is_set():
            self._stopping.set()
            if self._thread.is_alive():
                self._thread.join(2)
            self._link.stop()

    def hold(self, key: str, held: Held) -> None:
        """Keep this ticket's lease from now on."""
        with self._lock:
            self._held[key] = held

    def moved(self, key: str, reply: str) -> None:
        """The ticket was delivered here again: this is the delivery whose lease counts."""
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                held.reply = reply

    def release(self, key: str) -> bool:
        """No longer; False when the keeper has answered for it already."""
        with self._lock:
            held = self._held.pop(key, None)
            return held is None or not held.answered

    def _pulse(self, loop: asyncio.AbstractEventLoop) -> None:
        self._pulse_ms = self._clock.monotonic_ms()
        if not self._stopping.is_set():
            self._beat = loop.call_later(_TICK_S, self._pulse, loop)

    # -- in the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        extended = self._clock.monotonic_ms()
        named = False
        while not self._stopping.wait(_TICK_S):
            now = self._clock.monotonic_ms()
            try:
                if now - extended >= self._every_ms:
                    extended = now
                    self._extend()
                blocked_ms = now - self._pulse_ms
                if blocked_ms < LOOP_BLOCKED_MS:
                    named = False
                    continue
                if not named:
                    named = True
                    self._name_blocker(blocked_ms)
                self._answer_overdue(now)
            except Exception:  # this thread must outlive every surprise
                log.exception("keeping leases")

    def _extend(self) -> None:
        with self._lock:
            replies = [held.reply for held in self._held.values() if not held.answered]
        if replies:
            self._link.extend(replies)

    def _name_blocker(self, blocked_ms: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  (there is no public way)
        self.blocked_by = place_of(frame)
        log.warning(
            "the event loop has been blocked for %.1f s by %s; every other handler of this worker waits. "
            "Make it a plain `def`, or await asyncio.to_thread(…)",
            blocked_ms / 1000,
            self.blocked_by,
        )

    def _answer_overdue(self, now: float) -> None:
        with self._lock:
            overdue = [held for held in self._held.values() if held.unanswered(now)]
        for held in overdue:
            if held.overdue is not None:
                held.answer = self._link.publish(held.overdue())


def place_of(frame: FrameType | None) -> str:
    """Where a blocked thread is, in the user's code if it is there: ``review (tasks.py:42)``."""
    innermost, found = frame, frame
    while frame is not None:
        name = frame.f_code.co_filename
        if is_users(name):
            found = frame
            break
        frame = frame.f_back
    else:
        found = innermost
    if found is None:
        return "code that cannot be seen"
    return f"{found.f_code.co_qualname} ({Path(found.f_code.co_filename).name}:{found.f_lineno})"


def is_users(filename: str) -> bool:
    """Whether a file is neither ours, nor Python's, nor an installed package's."""
    library = ("<frozen", "/asyncio/", "/uvloop/", "/concurrent/", "/site-packages/")
    standard = str(Path(asyncio.__file__).resolve().parent.parent)
    if filename.startswith(_PACKAGE) or any(part in filename for part in library):
        return False
    return not filename.startswith(standard)
