"""Large payloads: the object-store layout that the ``nats`` command line reads, at full speed."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, Final

from dagnats.clock import Clock, SystemClock
from dagnats.errors import OutsideError
from dagnats.jetstream import direct
from dagnats.jetstream.link import Link
from dagnats.jetstream.plans import blob_stream
from dagnats.jetstream.publisher import Publisher
from dagnats.limits import RETENTION_MS
from dagnats.ports import Append
from dagnats.wire import subjects

_CHUNK_BYTES: Final = 128 * 1024


class JetStreamBlobs:
    """``ports.Blobs``."""

    def __init__(self, link: Link, publisher: Publisher, clock: Clock | None = None) -> None:
        self._link = link
        self._publisher = publisher
        self._stream = blob_stream()
        self._clock = clock or SystemClock()

    async def put(self, name: str, data: bytes) -> None:
        """Store under a name; what is there already, whole and not old, is left alone."""
        about, stored_ms = await self._about(name)
        # What is old ends soon, and must not take this new use of it along. A clock that is off
        # costs a write at the most.
        if (
            about.get("digest") == _digest(data)
            and self._clock.wall_ms() - stored_ms < RETENTION_MS
        ):
            return
        part = self._link.client._nuid.next().decode()
        subject = f"$O.{subjects.BLOBS}.C.{part}"
        chunks = [
            Append(subject, data[at : at + _CHUNK_BYTES], f"{part}:{at}")
            for at in range(0, len(data), _CHUNK_BYTES)
        ]
        await self._publisher.publish_all(chunks)
        facts = {
            "name": name, "bucket": subjects.BLOBS, "nuid": part, "size": len(data),
            "chunks": len(chunks), "digest": _digest(data),
            "options": {"max_chunk_size": _CHUNK_BYTES},
        }  # fmt: skip
        body = json.dumps(facts).encode()
        await self._publisher.publish(Append(_about_subject(name), body, f"{part}:about"))

    async def get(self, name: str) -> bytes | None:
        """The bytes, or None when there are none of that name.

        Raises:
            OutsideError: they are not what was stored.
        """
        about, _ = await self._about(name)
        if not about:
            return None
        subject = f"$O.{subjects.BLOBS}.C.{about['nuid']}"
        chunks = await direct.read(self._link, self._stream, subject) if about.get("size") else []
        data = b"".join(chunk.entry.payload for chunk in chunks)
        if _digest(data) != about.get("digest"):
            raise OutsideError(
                f"payload {name} is damaged: {len(data)} of {about.get('size')} bytes are there; "
                f"was {self._stream} purged, or did its limits remove chunks?"
            )
        return data

    async def delete(self, name: str) -> None:
        """Remove what is stored under a name; fine when there is nothing."""
        about, _ = await self._about(name)
        if not about:
            return
        for subject in (_about_subject(name), f"$O.{subjects.BLOBS}.C.{about['nuid']}"):
            await self._link.api(f"STREAM.PURGE.{self._stream}", {"filter": subject})

    async def _about(self, name: str) -> tuple[dict[str, Any], int]:
        """What is known of a payload, and when it was stored; nothing when it is not there."""
        found = await direct.last(self._link, self._stream, _about_subject(name))
        if found is None:
            return {}, 0
        about: dict[str, Any] = json.loads(found.entry.payload)
        return ({} if about.get("deleted") else about), found.entry.at_ms


def _about_subject(name: str) -> str:
    return f"$O.{subjects.BLOBS}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def _digest(data: bytes) -> str:
    return f"SHA-256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()}"
