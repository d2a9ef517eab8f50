"""`dagnats signal` and `dagnats event`: data for one run, and news for whoever waits for them."""

from __future__ import annotations

from typing import Any

import click

from dagnats.cli import given
from dagnats.cli.completion import run_ids
from dagnats.cli.group import Commands, examples
from dagnats.cli.output import emit_json, json_option, open_client, run_async, url_option


@click.group(cls=Commands, aliases={})
def signal() -> None:
    """Send data to runs that wait for it."""


@signal.command("send", epilog=examples('dagnats signal send 3f2a91c4 go \'{"by": "Ada"}\''))
@click.argument("run_id", metavar="RUN", shell_complete=run_ids)
@click.argument("name")
@click.argument("payload", metavar="[JSON]", required=False)
@url_option
@json_option
def send(run_id: str, name: str, payload: str | None, url: str | None, as_json: bool) -> None:
    """Send a run a signal. It is kept until the run waits for one of that name, and consumed once.

    JSON may be - for standard input or @FILE; without it the data are null.
    """
    raw = given.read_input(payload)

    async def ask() -> str:
        async with open_client(url) as client:
            chosen = await client.find(run_id)
            await client.signal(chosen, name, raw)
            return chosen

    chosen = run_async(ask)
    if as_json:
        emit_json({"run_id": chosen, "signal": name, "status": "sent"})
    else:
        click.echo(f"sent signal {name} to run {chosen}")


@click.group(cls=Commands, aliases={})
def event() -> None:
    """Publish external events."""


@event.command("publish", epilog=examples("dagnats event publish order.paid '{\"id\": 7}'"))
@click.argument("name")
@click.argument("payload", metavar="[JSON]", required=False)
@url_option
@json_option
def publish(name: str, payload: str | None, url: str | None, as_json: bool) -> None:
    """Publish an event: every run that waits for it, or is cancelled by it, hears of it."""
    raw = given.read_input(payload)

    async def ask() -> Any:
        async with open_client(url) as client:
            return await client.publish_event(name, raw)

    seq = run_async(ask)
    if as_json:
        emit_json({"event": name, "seq": seq})
    else:
        click.echo(f"published event {name} (number {seq})")
