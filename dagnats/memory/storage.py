"""Documents and blobs."""

from __future__ import annotations

from dagnats.memory.buckets import Bucket
from dagnats.memory.link import Link


class MemoryDocuments:
    """``ports.Documents``."""

    def __init__(self, link: Link, bucket: str) -> None:
        self._link = link
        self._name = bucket

    @property
    def _bucket(self) -> Bucket:
        return self._link.world.buckets[self._name]

    async def get(self, key: str) -> tuple[bytes, int] | None:
        """The value and its revision."""
        return self._bucket.keys.get(key)

    async def put(self, key: str, value: bytes) -> int:
        """Write; return the revision."""
        return self._bucket.put(key, value)

    async def swap(self, key: str, value: bytes, revision: int) -> int | None:
        """Write if the key is still at ``revision``; the new revision, or None if it is not."""
        return self._bucket.swap(key, value, revision)

    async def delete(self, key: str) -> None:
        """Remove a key; fine when it is not there."""
        self._bucket.delete(key)

    async def count(self) -> int:
        """How many keys there are."""
        return len(self._bucket.keys)

    async def all(self, prefix: str = "") -> dict[str, tuple[bytes, int]]:
        """Every key with its value and revision; only those below a prefix."""
        keys = self._bucket.keys
        return {key: found for key, found in keys.items() if key.startswith(prefix)}


class MemoryBlobs:
    """``ports.Blobs``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def put(self, name: str, data: bytes) -> None:
        """Store under a name."""
        self._link.world.blobs[name] = bytes(data)

    async def get(self, name: str) -> bytes | None:
        """The bytes, or None when there are none of that name."""
        return self._link.world.blobs.get(name)

    async def delete(self, name: str) -> None:
        """Remove what is stored under a name."""
        self._link.world.blobs.pop(name, None)
