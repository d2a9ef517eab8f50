"""Every conformance test runs in memory and on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from dagnats.ports import Outside
from tests.conformance.deployments import Deployment, InMemory, OnServer, unique


@pytest.fixture(params=["memory", "jetstream"])
async def deployment(request: pytest.FixtureRequest) -> AsyncIterator[Deployment]:
    """One deployment without processes."""
    if request.param == "memory":
        opened: Deployment = InMemory()
    else:
        opened = OnServer(request.getfixturevalue("shared_broker").url)
    yield opened
    await opened.close()


@pytest.fixture
async def outside(deployment: Deployment) -> Outside:
    """A process of the deployment."""
    return await deployment.open("one")


@pytest.fixture
async def other(deployment: Deployment) -> Outside:
    """Another process of the same deployment."""
    return await deployment.open("two")


@pytest.fixture
def run() -> str:
    """A run id of the test's own."""
    return unique("run")
