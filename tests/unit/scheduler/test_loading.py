"""Runs between memory and storage."""

from typing import Any

from dagnats.core.machine import new_run
from dagnats.errors import PayloadTooLarge
from dagnats.scheduler.loading import Loader


class TooSmall:
    """A deployment whose server takes no message as large as a snapshot."""

    blobs = None

    def documents(self, _bucket: str) -> Any:
        """Itself: there is one bucket."""
        return self

    async def put(self, _key: str, value: bytes) -> int:
        """Refused."""
        raise PayloadTooLarge(f"{len(value)} bytes")


async def test_a_run_too_large_for_a_snapshot_does_without():
    """It is folded from its log; a partition must not begin again whenever such a run is parked."""
    outside: Any = TooSmall()
    loader = Loader(outside, outside, b"secret")

    await loader.save(new_run("large", None))
