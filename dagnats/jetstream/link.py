"""One connection to NATS: raw frames, plain-function subscriptions, the JetStream API."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from nats.aio.client import Client

from dagnats.jetstream.asking import Answer, ApiError, Questions, Refusals, leaderless, unheard
from dagnats.jetstream.frames import FrameReader, Heard, publish_frame
from dagnats.limits import REQUEST_TIMEOUT_MS

log = logging.getLogger("dagnats.nats")

_SETTLE_S: Final = 2


class Link:
    """A connection that comes back by itself. What is sent while it is away is dropped.

    Frames are gathered and written once per loop turn. ``before_write`` hooks add frames at the
    last moment, which is where the publisher asks its fences.
    """

    def __init__(self, client: Client, url: str, who: str = "") -> None:
        self.client = client
        self.who = who or "this NATS user"
        self.url = url
        self.reconnects = 0
        self.on_reconnect: list[Callable[[], None]] = []
        self.on_disconnect: list[Callable[[], None]] = []
        self.on_refused: list[Callable[[str], None]] = []
        self.before_write: list[Callable[[list[bytes]], None]] = []
        self._frames = FrameReader(client, self.on_refused)
        client._ps = self._frames  # type: ignore[assignment]
        self._out: list[bytes] = []
        self._write_planned = False
        self.came_back: asyncio.Event = asyncio.Event()
        self._closed = False
        self._questions = Questions(self)
        self.refusals = Refusals(self)
        self.on_refused += [self._questions.refused, self.refusals.heard]

    async def open(self) -> None:
        """Subscribe to the inbox for answers; the client must be connected."""
        self.came_back.set()
        await self._questions.open(self.client.new_inbox())

    # -- state -----------------------------------------------------------------------------------

    @property
    def up(self) -> bool:
        """Whether bytes can be written now."""
        return self.came_back.is_set() and self.client.is_connected and not self._closed

    @property
    def clustered(self) -> bool:
        """Whether the server is one of several: leaders may be away for some seconds."""
        return bool(self.client._server_info.get("cluster"))

    def dropped(self) -> None:
        """The connection went away (called by nats-py's callback)."""
        self.came_back.clear()
        self._out.clear()
        self._questions.dropped()
        for tell in self.on_disconnect:
            tell()

    def returned(self) -> None:
        """The connection is back, subscriptions too (called by nats-py's callback)."""
        self.reconnects += 1
        self.came_back.set()
        for tell in self.on_reconnect:
            tell()
        self.plan_write()

    # -- sending ---------------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """Write a frame at the end of this loop turn; dropped when the connection is away."""
        self._out.append(frame)
        self.plan_write()

    def publish(
        self, subject: str, payload: bytes, reply: str = "", headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """A core publish: to whoever listens now."""
        self.send(publish_frame(subject, payload, reply, headers))

    def plan_write(self) -> None:
        """See that ``before_write`` hooks are asked, and what is gathered is written, soon."""
        if not self._write_planned:
            self._write_planned = True
            asyncio.get_running_loop().call_soon(self.write)

    def write(self) -> None:
        """Write what was gathered, now."""
        self._write_planned = False
        if not self.up:
            self._out.clear()
            return
        for add in self.before_write:
            add(self._out)
        client = self.client
        if client._pending:  # nats-py's own (subscriptions): first, so that no answer is missed
            self._out[:0] = client._pending
            client._pending = []
            client._pending_data_size = 0
        if self._out and client._transport is not None:
            client._transport.write(b"".join(self._out))
            self._out.clear()

    # -- receiving -------------------------------------------------------------------------------

    async def listen(self, subject: str, heard: Heard) -> Callable[[], None]:
        """Call ``heard`` for every message, for as long as the link lives; returns what ends it."""
        client = self.client
        number = client._sid + 1  # known before the server can answer
        self._frames.direct[number] = heard
        subscription = await client.subscribe(subject, cb=_unused)

        def stop() -> None:
            if self._frames.direct.pop(number, None) is None:
                return
            subscription._closed = True
            subscription._stop_processing()
            client._remove_sub(number)
            self.send(b"UNSUB %d\r\n" % number)

        return stop

    async def exchange(
        self,
        subject: str,
        payload: bytes,
        *,
        last: Callable[[Answer], bool] = lambda _: True,
        headers: Iterable[tuple[str, str]] = (),
        timeout_ms: int = REQUEST_TIMEOUT_MS,
        again: Callable[[Answer], bool] = unheard,
    ) -> list[Answer]:
        """Ask; collect answers until the last. Asked again when the connection goes away meanwhile.

        Raises:
            BrokerUnavailable: nothing answered in time.
        """
        return await self._questions.ask(
            subject, payload, last=last, headers=headers, timeout_ms=timeout_ms, again=again
        )

    async def api(
        self, subject: str, body: Any = None, *, timeout_ms: int = REQUEST_TIMEOUT_MS
    ) -> dict[str, Any]:
        """A request to ``$JS.API.<subject>``.

        Raises:
            ApiError: it was refused; ``code`` is JetStream's, 503 when no JetStream answers.
            BrokerUnavailable: nothing answered.
        """
        payload = b"" if body is None else json.dumps(body).encode()
        [answer] = await self.exchange(
            f"$JS.API.{subject}", payload, timeout_ms=timeout_ms, again=leaderless
        )
        if answer.status:
            raise ApiError(answer.status, "no JetStream answers here", subject)
        found: dict[str, Any] = json.loads(answer.payload)
        if error := found.get("error"):
            code = int(error.get("err_code") or error.get("code") or 0)
            raise ApiError(code, str(error.get("description", "")), subject)
        return found

    async def settle(self) -> None:
        """Wait until the server has seen everything sent so far, if it is there."""
        if not self.up:
            return
        self.write()
        try:
            await self.client.flush(timeout=_SETTLE_S)
        except Exception as problem:  # noqa: BLE001 - it went away; a reconnect sends what matters
            log.debug("flush: %r", problem)

    async def close(self) -> None:
        """Write what is gathered, then close; twice is fine."""
        if self._closed:
            return
        await self.settle()
        self._closed = True
        await self.client.close()


async def _unused(_message: Any) -> None:
    """nats-py wants a callback; ours is asked before it gets here."""


def max_payload(link: Link) -> int:
    """The largest message (headers included) that the server takes, in bytes."""
    return link.client.max_payload
