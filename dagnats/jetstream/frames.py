"""NATS protocol frames: a reader that nats-py's connection uses instead of its own, and an encoder.

nats-py keeps the connection: sockets, TLS, authentication, reconnecting, subscribing again. Its
parser matches regular expressions on a shifted buffer and hands every message to a task; this one
walks each buffer once and calls a plain function per subscription, which costs a tenth.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from nats.errors import Error, ProtocolError

log = logging.getLogger("dagnats.nats")

Heard = Callable[[bytes, bytes, bytes, bytes], None]
"""Called with subject, reply, headers (raw, empty without) and payload."""

_M, _H = b"MH"
_LINE_MAX_BYTES: Final = 64 * 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class FrameReader:
    """Stands in for ``nats.protocol.parser.Parser``: the same two methods."""

    def __init__(self, client: Any, refused: list[Callable[[str], None]]) -> None:
        self.direct: dict[int, Heard] = {}
        self._client = client
        self._refused = refused
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 0

    def reset(self) -> None:
        """Forget what was read of an unfinished frame."""
        self._parts.clear()
        self._have = self._need = 0

    async def parse(self, data: bytes = b"") -> None:
        """Read every whole frame; keep the rest for the next call.

        Raises:
            ProtocolError: these are no frames; nats-py then connects again.
        """
        try:
            await self._read(data)
        except (ValueError, IndexError) as problem:  # nats-py would stop reading, without a word
            raise ProtocolError(str(problem)) from problem

    async def _read(self, data: bytes) -> None:
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:  # a large payload: join its pieces once, not once each
                return
            data = b"".join(self._parts)
            self.reset()
        at, end = 0, len(data)
        while at < end:
            line = data.find(b"\r\n", at)
            if line < 0:
                if end - at > _LINE_MAX_BYTES:
                    raise ProtocolError("a line without end")
                break
            if data[at] != _M and data[at] != _H:
                await self._control(data[at:line])
                at = line + 2
                continue
            words = data[at:line].split()
            stop = line + 2 + int(words[-1])
            if stop + 2 > end:
                self._need = stop + 2 - at
                break
            headed = data[at] == _H
            reply = words[3] if len(words) == 5 + headed else b""
            split = line + 2 + int(words[-2]) if headed else line + 2
            headers, payload = data[line + 2 : split], data[split:stop]
            at = stop + 2
            number = int(words[2])
            heard = self.direct.get(number)
            if heard is not None:
                self._hear(heard, words[1], reply, headers, payload)
            else:
                await self._client._process_msg(number, words[1], reply, payload, headers)
        if at < end:
            self._parts.append(data[at:] if at else data)
            self._have = end - at

    def _hear(
        self, heard: Heard, subject: bytes, reply: bytes, headers: bytes, data: bytes
    ) -> None:
        try:
            heard(subject, reply, headers, data)
        except Exception:  # one bad message must not end the reading of all others
            log.exception("a message on %s could not be handled", subject.decode(errors="replace"))

    async def _control(self, line: bytes) -> None:
        word = line[:4].upper()
        if word == b"PING":
            await self._client._process_ping()
        elif word == b"PONG":
            try:
                await self._client._process_pong()
            except asyncio.InvalidStateError:  # whoever waited for it has given up
                log.debug("a late PONG")
        elif word == b"INFO":
            await self._client._process_info(json.loads(line[5:]))
        elif word == b"-ERR":
            await self._error(line[5:].decode(errors="replace").strip(" '"))
        elif word[:3] != b"+OK":
            raise ProtocolError(f"unknown frame {line[:32]!r}")

    async def _error(self, text: str) -> None:
        """A refusal concerns one subject; anything else ends the connection, and we come back."""
        if "permissions violation" in text.lower():
            log.warning("NATS refused: %s", text)
            for tell in self._refused:
                tell(text)
            return
        log.warning("the NATS server closes the connection: %s", text)
        await self._client._process_op_err(Error(f"nats: {text}"))


def publish_frame(
    subject: str, payload: bytes, reply: str = "", headers: Iterable[tuple[str, str]] = ()
) -> bytes:
    """The bytes of a publish.

    Raises:
        ValueError: the subject could be read as something else.
    """
    if not subject or " " in subject or not subject.isprintable():
        raise ValueError(f"{subject!r} is not a subject that can be published to")
    block = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in headers)
    if not block:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(payload), payload)
    head = b"NATS/1.0\r\n%b\r\n" % block.encode()
    return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
        subject.encode(), reply.encode(), len(head), len(head) + len(payload), head, payload,
    )  # fmt: skip


def _one_line(value: str) -> str:
    return value if value.isprintable() else value.replace("\r", " ").replace("\n", " ")


def status_of(headers: bytes) -> int:
    """The status of a message that only carries one (404, 408, 503 …), else 0."""
    code = headers[9:12]
    return int(code) if code.isdigit() else 0


def header(headers: bytes, name: bytes) -> str:
    """One header's value, or nothing."""
    at = headers.find(b"\r\n%b:" % name)
    if at < 0:
        return ""
    start = at + len(name) + 3
    return headers[start : headers.find(b"\r\n", start)].strip().decode(errors="replace")


def added_header(headers: bytes, name: bytes) -> str:
    """A header that the server added behind those of the publisher, who may have used its name."""
    at = headers.rfind(b"\r\n%b:" % name)
    return header(headers[at:], name) if at >= 0 else ""


def own_headers(headers: bytes) -> tuple[tuple[str, str], ...]:
    """The headers that a publisher gave a message, without those for and of the server (``Nats-…``)."""
    found: list[tuple[str, str]] = []
    for line in headers.split(b"\r\n")[1:]:
        name, colon, value = line.decode(errors="replace").partition(":")
        if colon and not name.startswith("Nats-"):
            found.append((name, value.strip()))
    return tuple(found)


def description_of(headers: bytes) -> str:
    """The words after a status."""
    return headers[12 : headers.find(b"\r\n")].strip().decode(errors="replace")


def milliseconds(stamp: str) -> int:
    """A server's RFC 3339 time as Unix milliseconds, rounded down like a delivery's."""
    return (datetime.fromisoformat(stamp) - _EPOCH) // _MILLISECOND


def rfc3339(unix_ms: int) -> str:
    """Unix milliseconds as the server reads times."""
    return (_EPOCH + unix_ms * _MILLISECOND).isoformat().replace("+00:00", "Z")
