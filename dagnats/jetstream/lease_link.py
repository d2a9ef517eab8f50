"""A second connection in a thread of its own: what a blocked event loop must not hold up."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Sequence
from typing import Final

from dagnats.errors import OutsideError, PublishFailed
from dagnats.jetstream.access import NOBODY
from dagnats.jetstream.connect import connect, patiently
from dagnats.jetstream.frames import publish_frame
from dagnats.jetstream.link import Link
from dagnats.jetstream.publisher import Publisher
from dagnats.ports import Append, Stored
from dagnats.settings import Access

log = logging.getLogger("dagnats.nats")

_JOIN_S: Final = 5.0
_IN_PROGRESS: Final = b"+WPI"


class LeaseKeeperLink:
    """Thread-safe from any thread; ``start`` does not wait for the connection."""

    def __init__(self, url: str, *, name: str, access: Access = NOBODY) -> None:
        self._url = url
        self._name = name
        self._access = access
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._link: Link | None = None
        self._publisher: Publisher | None = None
        self._begun = threading.Event()
        self.connected = threading.Event()

    def start(self) -> None:
        """Start the thread; it connects, and waits for a server that is away."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name=f"dagnats-{self._name}", daemon=True
            )
            self._thread.start()
            self._begun.wait()

    def extend(self, replies: Sequence[str]) -> None:
        """Tell the server that these deliveries are still being worked on."""
        if replies:
            self._call(self._extend, list(replies))

    def publish(self, append: Append) -> concurrent.futures.Future[Stored]:
        """Store a message; wait for the result with its ``result(timeout)``."""
        done: concurrent.futures.Future[Stored] = concurrent.futures.Future()
        if not self._call(self._publish, append, done):
            done.set_exception(
                PublishFailed(f"{append.subject} was not stored: the lease keeper is stopped")
            )
        return done

    def stop(self) -> None:
        """Close the connection and end the thread; twice is fine."""
        thread = self._thread
        if thread is None:
            return
        self._call(self._stop)
        thread.join(_JOIN_S)
        self._thread = None

    # -- in the thread ---------------------------------------------------------------------------

    def _call(self, what: object, *args: object) -> bool:
        loop = self._loop
        if loop is None or loop.is_closed():
            return False
        try:
            loop.call_soon_threadsafe(what, *args)  # type: ignore[arg-type]
        except RuntimeError:  # it was closed in this moment
            return False
        return True

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._begun.set()
        opening = self._loop.create_task(self._open())
        await self._stopping.wait()
        opening.cancel()
        await asyncio.wait([opening])
        if self._publisher:
            self._publisher.close()
        if self._link:
            await self._link.close()

    async def _open(self) -> None:
        try:
            self._link = await patiently(
                lambda: connect(self._url, name=self._name, access=self._access),
                "leases are not kept yet",
            )
            self._publisher = await Publisher(self._link).open()
        except OutsideError as problem:
            log.error("the lease keeper cannot work: %s", problem)  # noqa: TRY400 - no trace needed
            return
        self.connected.set()

    def _extend(self, replies: list[str]) -> None:
        if self._link:
            for reply in replies:
                self._link.send(publish_frame(reply, _IN_PROGRESS))

    def _publish(self, append: Append, done: concurrent.futures.Future[Stored]) -> None:
        if self._publisher is None:
            done.set_exception(PublishFailed(f"{append.subject} was not stored: no connection yet"))
            return

        def settled(stored: asyncio.Future[Stored]) -> None:
            problem = stored.exception()
            if problem:
                done.set_exception(problem)
            else:
                done.set_result(stored.result())

        try:
            self._publisher.publish(append).add_done_callback(settled)
        except Exception as problem:  # noqa: BLE001 - whoever waits for it has to hear of it
            done.set_exception(problem)

    def _stop(self) -> None:
        if self._stopping:
            self._stopping.set()
