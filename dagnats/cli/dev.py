"""``dagnats dev``: everything in one terminal, on the newest code."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import click
from msgspec import Struct

from dagnats.cli.output import emit_json, json_option, run_async
from dagnats.cli.processes import (
    Stopping,
    begin,
    declared_file,
    log_options,
    option_arguments,
    until_stopped,
)
from dagnats.cli.reload import Reloader, watched_folder
from dagnats.cli.serve import ready_text, serving
from dagnats.settings import ENVIRONMENT, Access

_DRAIN = "5s"


class Ready(Struct, frozen=True, kw_only=True):
    """What ``--json`` prints, on standard output; everything else is on standard error then."""

    ready: bool = True
    nats_url: str
    data_dir: str
    watching: str
    pid: int


@click.command()
@click.argument("target", metavar="MODULE[:APP]")
@click.option(
    "--nats-port", type=click.IntRange(0, 65535), help="Port of NATS; 0 takes a free one."
)
@click.option(
    "--data-dir", type=click.Path(file_okay=False), help="Where the data is (default: .dagnats)."
)
@click.option("--concurrency", type=click.IntRange(1), help="Handlers at once.")
@click.option(
    "--task", "names", multiple=True, metavar="TASK", help="Only this task; may be repeated."
)
@click.option(
    "--drain-timeout", default=_DRAIN, show_default=True, help="For a worker that is replaced."
)
@click.option("--lease", help="After how long a dead worker's tickets go to others.")
@json_option
@log_options
def dev(
    target: str,
    concurrency: int | None,
    names: tuple[str, ...],
    drain_timeout: str,
    lease: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Start NATS, a scheduler and a worker for MODULE (or file.py); on save, a new worker takes over.

    Code that cannot be imported leaves the worker before at work. Every task is served, whatever its
    group. Ctrl-C ends everything.
    """
    settings = begin(**given)

    async def run(stopping: Stopping) -> None:
        async with serving(settings, stopping, declared_file(None)) as server:
            click.echo(ready_text(server, settings), err=as_json)
            os.environ["DAGNATS_URL"] = server.url
            for name in Access.__struct_fields__:  # our own server asks for nothing
                os.environ.pop(f"{ENVIRONMENT}{name.upper()}", None)
            options = option_arguments(
                all_groups=True, url=server.url, concurrency=concurrency, task=names,
                drain_timeout=drain_timeout, lease=lease, log_level=given.get("log_level"),
                log_json=given.get("log_json"),
            )  # fmt: skip
            folder = watched_folder(target)
            ready = Ready(
                nats_url=server.url, data_dir=str(server.data_dir), watching=str(folder), pid=os.getpid()
            )  # fmt: skip
            reloader = Reloader([target, *options], folder, to_stderr=as_json)
            stop_serving = stopping.act
            stopping.act = reloader.stop
            if stopping.asked.is_set():
                reloader.stop()
            await reloader.run(lambda: _say_ready(ready, as_json=as_json))
            stop_serving()
            await asyncio.sleep(0)

    run_async(until_stopped, run)


def _say_ready(ready: Ready, *, as_json: bool) -> None:
    if as_json:
        emit_json(ready)
    else:
        click.echo(f"dev ready: watching {ready.watching}; Ctrl-C ends it")
