"""A deployment behind a server that knows roles, exactly as ``dagnats auth`` writes it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from click.testing import CliRunner

from dagnats import Client
from dagnats.cli.main import main
from dagnats.jetstream.connect import connect
from dagnats.jetstream.link import Link
from dagnats.jetstream.outside import JetStream
from dagnats.settings import Access
from tests.support.broker import Broker

WORKERS = ("add", "shout", "large")


def auth(*arguments: str) -> str:
    """``dagnats auth …``; what it said."""
    done = CliRunner().invoke(main, ["auth", *arguments], standalone_mode=False)
    if done.exception:
        raise done.exception
    return done.output


class Guarded:
    """The server, and the ways in."""

    def __init__(self, directory: Path, broker: Broker) -> None:
        self.directory = directory
        self.broker = broker

    def creds(self, name: str) -> str:
        """The file of a credential."""
        return str(self.directory / f"{name}.nk")

    @asynccontextmanager
    async def link(self, name: str) -> AsyncIterator[Link]:
        """A bare connection with a credential."""
        link = await connect(self.broker.url, name=name, access=Access(self.creds(name)))
        try:
            yield link
        finally:
            await link.close()

    @asynccontextmanager
    async def outside(self, name: str, *, ensure: bool = False) -> AsyncIterator[JetStream]:
        """All ports, with a credential."""
        access = Access(self.creds(name))
        outside = await JetStream.open(self.broker.url, name=name, ensure=ensure, access=access)
        try:
            yield outside
        finally:
            await outside.close()

    @asynccontextmanager
    async def client(self, name: str = "client") -> AsyncIterator[Client]:
        """A client with a credential."""
        async with self.outside(name) as outside:
            yield Client(outside)


def guarded(directory: Path) -> Guarded:
    """Make the credentials, and start the server on the configuration as it was written."""
    tasks = [part for name in (*WORKERS, "dies_once") for part in ("--task", name)]
    auth("init", str(directory), *tasks, "--subject", "orders.>")
    auth("add-worker", str(directory), "--task", "turns", "--task", "asks", "--name", "loops")
    auth("add-worker", str(directory), "--task", "add", "--name", "registrar", "--with", "api")
    auth("add-worker", str(directory), "--task", "shout", "--name", "stuck", "--with", "sticky")
    return Guarded(directory, Broker(file=directory / "nats-server.conf").start())


def environment(role: Guarded) -> dict[str, str]:
    """For processes: nothing of this one's settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DAGNATS_")}
    return {**kept, "DAGNATS_URL": role.broker.url}
