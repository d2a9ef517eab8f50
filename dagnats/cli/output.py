"""What commands share: the ``--json`` and ``--url`` options, the console, a client, an event loop."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console

from dagnats.client import Client
from dagnats.convert import encode
from dagnats.jetstream.outside import JetStream
from dagnats.settings import ENVIRONMENT, load_settings

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Add ``--json``; the command gets it as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(
        function
    )


def url_option(function: F) -> F:
    """Add ``--url``; the command gets it as ``url``, None when it was not given. And ``--creds``."""
    text = "Where NATS is (default: DAGNATS_URL, or the settings)."
    function = click.option("--url", metavar="URL", help=text)(function)
    text = "The credential to show to NATS (default: DAGNATS_CREDS, or the settings)."
    return click.option(
        "--creds", metavar="FILE", help=text, expose_value=False, callback=_creds_of_process
    )(function)


def _creds_of_process(_ctx: click.Context, _param: click.Parameter, path: str | None) -> None:
    """For whatever connects in this process, an app's client too, and in its children."""
    if path:
        os.environ[f"{ENVIRONMENT}CREDS"] = str(Path(path).absolute())


@functools.cache
def console() -> Console:
    """The terminal for tables and trees; plain text when it is none, or with NO_COLOR."""
    return Console(markup=False, emoji=False)  # what runs say is shown as it is, not obeyed


def emit_json(value: Any) -> None:
    """Print a struct, builtins or ``Raw`` as JSON: one line, or indented for a terminal."""
    body = bytes(encode(value))
    print_whole((msgspec.json.format(body, indent=2) if sys.stdout.isatty() else body) + b"\n")


def print_whole(text: bytes) -> None:
    """Print to the last byte.

    Under PYTHONUNBUFFERED, Python writes to a pipe once and forgets what an interrupted write had left.
    """
    sys.stdout.flush()
    rest = memoryview(text)
    while rest:
        rest = rest[sys.stdout.buffer.write(rest) :]
    sys.stdout.buffer.flush()


def run_async(work: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Run async work to its end, on uvloop where that installs."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        import uvloop
    except ImportError:  # it does not exist for Windows
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work(*args))


@asynccontextmanager
async def open_client(url: str | None = None) -> AsyncIterator[Client]:
    """A client of the deployment that the settings name; nothing is created there.

    Raises:
        BrokerUnavailable, BrokerUnsuitable: with what to do.
    """
    settings = load_settings(url=url)
    outside = await JetStream.open(
        settings.url, name="dagnats-cli", ensure=False, access=settings.access
    )
    client = Client(outside)
    try:
        yield client
    finally:
        await client.close()
