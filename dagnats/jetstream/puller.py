"""Pull requests of our own over one inbox per consumer, several open at a time.

nats-py's ``fetch`` allows one at a time and sleeps out its time-out across a server restart.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Final

from dagnats.jetstream.asking import NO_RESPONDERS
from dagnats.jetstream.frames import Heard, description_of, header, publish_frame, status_of
from dagnats.jetstream.link import Link
from dagnats.ports import Delivery

log = logging.getLogger("dagnats.nats")

_PAUSE_S: Final = 0.25  # before asking a consumer again that is gone or moving
_SILENCE_S: Final = 2.0  # how long after its expiry a request without a word counts as lost
_ENDS_QUIETLY: Final = frozenset({404, 408})  # no messages, time-out
_SHORT_REPLY_TOKENS: Final = 9  # without domain and account


class Puller:
    """Open requests on one consumer. ``ended(n)`` is called when ``n`` messages will not come.

    While the connection is away requests are kept and made when it is back.
    """

    def __init__(
        self,
        link: Link,
        stream: str,
        consumer: str,
        deliver: Heard,
        ended: Callable[[int], None],
        missing: Callable[[], None] | None = None,
    ) -> None:
        self._link = link
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._deliver = deliver
        self._ended = ended
        self._missing = missing
        self._inbox = link.client.new_inbox()
        self._requests = 0
        self._asked: dict[int, int] = {}
        self._kept: list[tuple[int, int]] = []
        self._quiet_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._stop: Callable[[], None] | None = None
        self.outstanding = 0

    async def open(self) -> Puller:
        """Subscribe to the inbox."""
        self._stop = await self._link.listen(f"{self._inbox}.*", self._heard)
        self._link.on_disconnect.append(self._dropped)
        self._link.on_reconnect.append(self._returned)
        return self

    def request(self, count: int, expires_ms: int) -> None:
        """Ask for up to ``count`` more."""
        if self._stop is None or count <= 0:
            return
        self.outstanding += count
        if not self._link.up:
            self._kept.append((count, expires_ms))
            return
        self._requests += 1
        self._asked[self._requests] = count
        body = json.dumps({"batch": count, "expires": expires_ms * 1_000_000}).encode()
        self._link.send(publish_frame(self._subject, body, f"{self._inbox}.{self._requests}"))
        loop = asyncio.get_running_loop()
        self._quiet_at = max(self._quiet_at, loop.time() + expires_ms / 1000 + _SILENCE_S)
        if self._watch is None:
            self._watch = loop.call_at(self._quiet_at, self._look)

    def close(self) -> None:
        """Ask for no more; what is open at the server dies with the inbox."""
        if self._stop is None:
            return
        self._stop()
        self._stop = None
        self._link.on_disconnect.remove(self._dropped)
        self._link.on_reconnect.remove(self._returned)
        if self._watch:
            self._watch.cancel()

    def _heard(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        if not reply:
            self._status(subject, headers)
            return
        self.outstanding = max(0, self.outstanding - 1)
        self._deliver(subject, reply, headers, payload)

    def _status(self, subject: bytes, headers: bytes) -> None:
        """A request ended. What the server does not say is left of it was never begun."""
        asked = self._asked.pop(int(subject[len(self._inbox) + 1 :]), 0)
        left = header(headers, b"Nats-Pending-Messages")
        undelivered = min(int(left) if left else asked, self.outstanding)
        self.outstanding -= undelivered
        status = status_of(headers)
        if status in _ENDS_QUIETLY:
            self._ended(undelivered)
            return
        log.debug("a pull on %s ended: %s %s", self._subject, status, description_of(headers))
        gone = status == NO_RESPONDERS or b"Deleted" in headers or b"Leadership" in headers
        asyncio.get_running_loop().call_later(_PAUSE_S, lambda: self._later(undelivered, gone=gone))

    def _later(self, undelivered: int, *, gone: bool) -> None:
        if self._stop is None:
            return
        if gone and self._missing:
            self._missing()
        self._ended(undelivered)

    def _look(self) -> None:
        """A request whose end was never heard of must not stop us from asking."""
        loop = asyncio.get_running_loop()
        self._watch = None
        if loop.time() < self._quiet_at:
            self._watch = loop.call_at(self._quiet_at, self._look)
            return
        self._asked.clear()
        lost, self.outstanding = self.outstanding, 0
        if lost:
            log.debug("%d messages asked of %s were never answered for", lost, self._subject)
            self._later(lost, gone=True)

    def _dropped(self) -> None:
        self._asked.clear()
        self._kept.clear()
        lost, self.outstanding = self.outstanding, 0
        if lost:
            self._ended(lost)

    def _returned(self) -> None:
        kept, self._kept = self._kept, []
        for count, expires_ms in kept:
            self.outstanding -= count
            self.request(count, expires_ms)


def delivery(subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> Delivery:
    """What the reply subject says about a message.

    ``$JS.ACK.<stream>.<consumer>.<delivered>.<seq>.<consumer seq>.<ns>.<pending>``, or the longer
    form with domain and account after ``$JS.ACK`` and one more token at the end.
    """
    handle = reply.decode()
    words = handle.split(".")
    at = 4 if len(words) == _SHORT_REPLY_TOKENS else 6
    source = header(headers, b"Nats-Stream-Source") if headers else ""
    return Delivery(
        seq=int(words[at + 1]),
        at_ms=int(words[at + 3]) // 1_000_000,
        subject=subject.decode(errors="backslashreplace"),  # subjects may be any bytes
        payload=payload,
        reply=handle,
        delivered=int(words[at]),
        pending=int(words[at + 4]),
        origin_seq=_origin(source),
    )


def _origin(source: str) -> int:
    """The sequence in ``<stream> <sequence> …``; anybody may have written a header of that name."""
    words = source.split(" ", 2)
    return int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0


def consumer_seq(reply: str) -> int:
    """The consumer's own count of deliveries, without gaps unless something was missed."""
    words = reply.split(".")
    return int(words[6 if len(words) == _SHORT_REPLY_TOKENS else 8])
