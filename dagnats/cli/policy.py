"""`dagnats policy`: which workflows may register and start workflows at run time. Changes count at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import click
from msgspec import to_builtins

from dagnats.cli import render
from dagnats.cli.group import Commands, examples
from dagnats.cli.output import emit_json, json_option, open_client, run_async, url_option
from dagnats.client import Client
from dagnats.core.control import Policy


@click.group(cls=Commands, aliases={"get": "show", "list": "show"})
def policy() -> None:
    """Which workflows may use the control plane. Nobody may who is not granted it."""


@policy.command("show", epilog=examples("dagnats policy show"))
@url_option
@json_option
def show(url: str | None, as_json: bool) -> None:
    """Show the workflows that are granted the control plane, and which of them may promote."""
    _told(lambda client: client.policy.read(), url, as_json)


@policy.command("grant", epilog=examples("dagnats policy grant researcher --promote"))
@click.argument("workflow")
@click.option("--promote", is_flag=True, help="It may also store definitions for good.")
@url_option
@json_option
def grant(workflow: str, promote: bool, url: str | None, as_json: bool) -> None:
    """Let the steps of WORKFLOW that ask for it register and start workflows."""

    async def granted(client: Client) -> Policy:
        now = await client.policy.grant(workflow, promote=promote)
        if await client.registry.current(workflow) is None:
            click.echo(f'warning: no workflow "{workflow}" is registered yet', err=True)
        return now

    _told(granted, url, as_json)


@policy.command("revoke", epilog=examples("dagnats policy revoke researcher"))
@click.argument("workflow")
@click.option("--promote", is_flag=True, help="Only that it may store definitions for good.")
@url_option
@json_option
def revoke(workflow: str, promote: bool, url: str | None, as_json: bool) -> None:
    """Take back what WORKFLOW was granted; requests of handlers that run are refused from now on."""
    _told(lambda client: client.policy.revoke(workflow, only_promote=promote), url, as_json)


def _told(change: Callable[[Client], Awaitable[Policy]], url: str | None, as_json: bool) -> None:
    """Tell what the policy is now."""

    async def ask() -> Policy:
        async with open_client(url) as client:
            return await change(client)

    now = run_async(ask)
    if as_json:
        emit_json(to_builtins(now))
        return
    if not now.grant:
        click.echo("no workflow may use the control plane", err=True)
        return
    made = render.table("WORKFLOW", "MAY PROMOTE")
    for name in now.grant:
        made.add_row(name, "yes" if name in now.promote else "no")
    render.show(made)
