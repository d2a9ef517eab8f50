"""Ports on a real server, closed after each test."""

from __future__ import annotations

import asyncio
import itertools
import os

import pytest

from dagnats.jetstream.outside import JetStream
from tests.support.broker import Broker

_numbers = itertools.count()


@pytest.fixture
def run() -> str:
    """A run id that no other test uses."""
    return f"run-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
async def outside(shared_broker: Broker):
    """The ports on the shared server."""
    opened = await JetStream.open(shared_broker.url, name="test")
    yield opened
    await opened.close()


@pytest.fixture
async def fragile(broker: Broker):
    """The ports on a server that the test may kill."""
    opened = await JetStream.open(broker.url, name="test", partitions=4)
    yield opened
    await opened.close()


@pytest.fixture
def until():
    """Await a condition that something else brings about."""

    async def wait(holds, seconds: float = 10):
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.01)

    return wait
