"""``dagnats serve``: NATS and a scheduler in one process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
from msgspec import Struct
from msgspec.structs import replace

from dagnats.cli.output import emit_json, json_option, run_async
from dagnats.cli.processes import (
    WAITING,
    Stopping,
    begin,
    declared_file,
    declared_option,
    declaring,
    log_options,
    open_outside,
    until_stopped,
)
from dagnats.cli.scheduler import control_plane_options, retention_options
from dagnats.embedded import EmbeddedServer
from dagnats.jetstream.connect import patiently
from dagnats.scheduler.service import Scheduler
from dagnats.settings import Settings

_LATER = "Takes effect when the api extra arrives."


class Ready(Struct, frozen=True, kw_only=True):
    """What ``--json`` prints."""

    ready: bool = True
    nats_url: str
    data_dir: str
    pid: int


@click.command()
@click.option("--http", metavar="ADDR", help=f"Where the HTTP API listens. {_LATER}")
@click.option(
    "--nats-port", type=click.IntRange(0, 65535), help="Port of NATS; 0 takes a free one."
)
@click.option(
    "--data-dir", type=click.Path(file_okay=False), help="Where the data is (default: .dagnats)."
)
@click.option("--no-console", is_flag=True, help=f"Without the web console. {_LATER}")
@declared_option
@json_option
@log_options
def serve(
    http: str | None, no_console: bool, config: str | None, as_json: bool, **given: Any
) -> None:
    """Start NATS and a scheduler: everything but your workers.

    The data survives restarts; one process at a time may use a data directory. Ctrl-C ends both.
    """
    del no_console  # there is no console to leave out yet
    settings = begin(**given)
    declared = declared_file(config)
    if http:
        click.echo("dagnats: --http has no effect yet: this version has no HTTP API", err=True)

    async def run(stopping: Stopping) -> None:
        async with serving(settings, stopping, declared) as server:
            if as_json:
                emit_json(
                    Ready(nats_url=server.url, data_dir=str(server.data_dir), pid=os.getpid())
                )
            else:
                click.echo(ready_text(server, settings))

    run_async(until_stopped, run)


@asynccontextmanager
async def serving(
    settings: Settings, stopping: Stopping, declared: Path
) -> AsyncIterator[EmbeddedServer]:
    """Run server and scheduler, and keep what a file declares, until a signal stops them (or one of them fails).

    Raises:
        RequestError: the directory or the port is taken.
        BrokerUnavailable: the server cannot be started.
    """
    async with EmbeddedServer(Path(settings.data_dir), settings.nats_port) as server:
        of_ours = of_server(settings, server)
        outside = await patiently(lambda: open_outside(of_ours, "scheduler"), WAITING)
        try:
            service = Scheduler(
                outside, **control_plane_options(settings), **retention_options(settings)
            )
            async with asyncio.TaskGroup() as group:
                failing = group.create_task(server.failed())
                running = group.create_task(service.run())
                await service.ready.wait()
                stopping.act = service.stop
                async with declaring(outside, declared):
                    yield server
                    await asyncio.wait({running, failing}, return_when=asyncio.FIRST_COMPLETED)
                service.stop()
                failing.cancel()
        finally:
            await outside.close()


def of_server(settings: Settings, server: EmbeddedServer) -> Settings:
    """The settings for our own server: it asks for no credential, and speaks no TLS."""
    return replace(settings, url=server.url, creds="", tls_ca="", tls_cert="", tls_key="")


def ready_text(server: EmbeddedServer, settings: Settings) -> str:
    """Where everything is; how to tell other terminals, when it is not where they look."""
    lines = [
        f"serve ready: {server.url}, scheduler in this process, data in {shown_path(server.data_dir)}",
    ]
    if settings.url != server.url:
        lines.append(f"in other terminals: export DAGNATS_URL={server.url}")
    return "\n".join(lines)


def shown_path(path: Path) -> str:
    """A path as people in this directory would write it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) and path != here else str(path)
