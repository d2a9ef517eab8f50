"""Buckets of keys and bytes: key-value streams, spoken to directly."""

from __future__ import annotations

import re
from typing import Final

from dagnats.errors import PublishFailed, WrongSequence
from dagnats.jetstream import direct
from dagnats.jetstream.frames import header
from dagnats.jetstream.link import Link
from dagnats.jetstream.plans import kv_stream
from dagnats.jetstream.publisher import Publisher
from dagnats.ports import Append

_OPERATION: Final = "KV-Operation"
_PLAIN: Final = re.compile(r"[A-Za-z0-9_=/-]+(\.[A-Za-z0-9_=/-]+)*\Z")
_ESCAPE: Final = "="  # ``%`` is not allowed in a key of this kind of bucket


class JetStreamDocuments:
    """``ports.Documents``."""

    def __init__(self, link: Link, publisher: Publisher, bucket: str) -> None:
        self._link = link
        self._publisher = publisher
        self._stream = kv_stream(bucket)
        self._prefix = f"$KV.{bucket}."

    async def get(self, key: str) -> tuple[bytes, int] | None:
        """The value and its revision."""
        found = await direct.last(self._link, self._stream, self._subject(key))
        if found is None or _deleted(found):
            return None
        return found.entry.payload, found.entry.seq

    async def put(self, key: str, value: bytes) -> int:
        """Write; return the revision. The id lets a lost connection or leader not fail it."""
        msg_id = self._link.client._nuid.next().decode()
        return (await self._publisher.publish(Append(self._subject(key), value, msg_id))).seq

    async def swap(self, key: str, value: bytes, revision: int) -> int | None:
        """Write if the key is still at ``revision`` (0: not there)."""
        subject = self._subject(key)
        try:
            return await self._expecting(subject, value, revision)
        except WrongSequence as wrong:
            found = await direct.last(self._link, self._stream, subject)
            if wrong.facts.get("resent") and found and found.entry.payload == value:
                return found.entry.seq  # stored by the try whose answer was lost
            if revision or found is None or not _deleted(found):
                return None
        try:  # not there, but a marker of its deletion is
            return await self._expecting(subject, value, found.entry.seq)
        except WrongSequence:
            return None

    async def delete(self, key: str) -> None:
        """Remove a key; fine when it is not there."""
        marker = Append(self._subject(key), b"", headers=((_OPERATION, "PURGE"),))
        await self._publisher.publish(marker)  # a bucket keeps one message for each key: this one

    async def count(self) -> int:
        """About how many keys there are, with markers of those that were deleted."""
        info = await self._link.api(f"STREAM.INFO.{self._stream}")
        return int(info["state"]["messages"])

    async def all(self, prefix: str = "") -> dict[str, tuple[bytes, int]]:
        """Every key with its value and revision; only those below a prefix that ends with a dot."""
        found: dict[str, tuple[bytes, int]] = {}
        for record in await direct.read(self._link, self._stream, f"{self._prefix}{prefix}>"):
            key = decoded(record.entry.subject.removeprefix(self._prefix))
            if _deleted(record):
                found.pop(key, None)
            else:
                found[key] = (record.entry.payload, record.entry.seq)
        return found

    async def _expecting(self, subject: str, value: bytes, revision: int) -> int:
        stored = await self._publisher.publish(Append(subject, value, expect_last=revision))
        if stored.seq <= 0:
            raise PublishFailed(f"{subject} was not stored")
        return stored.seq

    def _subject(self, key: str) -> str:
        return self._prefix + encoded(key)


def _deleted(record: direct.Record) -> bool:
    return bool(
        header(record.headers, _OPERATION.encode()) or header(record.headers, b"Nats-Marker-Reason")
    )


def encoded(key: str) -> str:
    """A key as bucket tools accept it; injective. ``a b`` is ``a=20b``."""
    if _PLAIN.match(key) and _ESCAPE not in key:
        return key
    return "".join(
        char if char.isascii() and (char.isalnum() or char in "_-/") else
        "".join(f"={byte:02X}" for byte in char.encode())
        for char in key
    )  # fmt: skip


def decoded(text: str) -> str:
    """The key that a name in the bucket stands for."""
    if _ESCAPE not in text:
        return text
    return re.sub(
        rb"=([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), text.encode()
    ).decode()
