"""One server with roles for the tests that do not harm it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.support import Guarded, guarded


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A server of the module's own, with every stream."""
    made = guarded(Path(tmp_path_factory.mktemp("roles"), "auth"))

    async def streams() -> None:
        async with made.outside("scheduler", ensure=True):
            pass

    asyncio.run(streams())
    yield made
    made.broker.remove()
