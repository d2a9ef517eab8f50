"""Keys and bytes with revisions; one counter per bucket, as on the server."""

from __future__ import annotations


class Bucket:
    """One bucket's keys."""

    def __init__(self) -> None:
        self.keys: dict[str, tuple[bytes, int]] = {}
        self._revision = 0

    def put(self, key: str, value: bytes) -> int:
        """Write; return the revision."""
        self._revision += 1
        self.keys[key] = (bytes(value), self._revision)
        return self._revision

    def swap(self, key: str, value: bytes, revision: int) -> int | None:
        """Write if the key is still at that revision (0: not there)."""
        found = self.keys.get(key)
        if (found[1] if found else 0) != revision:
            return None
        return self.put(key, value)

    def delete(self, key: str) -> None:
        """Remove; a removal takes a revision too."""
        self._revision += 1
        self.keys.pop(key, None)
