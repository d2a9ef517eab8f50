"""`dagnats trigger-type`: kinds of triggers that workers own."""

from __future__ import annotations

import click

from dagnats.cli import render
from dagnats.cli.group import Commands, examples
from dagnats.cli.output import emit_json, json_option, open_client, run_async, url_option
from dagnats.cli.shapes import shape_lines
from dagnats.trigger_types import TriggerType, type_of, types
from dagnats.wire import subjects


@click.group("trigger-type", cls=Commands, aliases={"ls": "list", "show": "describe"})
def trigger_type() -> None:
    """Kinds of triggers that workers own."""


@trigger_type.command("list", epilog=examples("dagnats trigger-type list"))
@url_option
@json_option
def list_(url: str | None, as_json: bool) -> None:
    """List the kinds that are registered."""

    async def ask() -> list[TriggerType]:
        async with open_client(url) as client:
            return await types(client.outside.documents(subjects.TRIGGER_TYPES))

    rows = run_async(ask)
    if as_json:
        emit_json({"trigger_types": rows, "total": len(rows)})
        return
    if not rows:
        click.echo("no trigger types yet; workers register them (@app.trigger_type)", err=True)
        return
    made = render.table("TYPE", "VERSION", "OWNER", "DESCRIPTION")
    for row in rows:
        made.add_row(row.name, str(row.version), row.owner, row.description)
    render.show(made)


@trigger_type.command(epilog=examples("dagnats trigger-type describe imap"))
@click.argument("name")
@url_option
@json_option
def describe(name: str, url: str | None, as_json: bool) -> None:
    """Show the kind NAME: who owns it, and what its triggers take and bring."""

    async def ask() -> TriggerType:
        async with open_client(url) as client:
            return await type_of(client.outside.documents(subjects.TRIGGER_TYPES), name)

    found = run_async(ask)
    if as_json:
        emit_json(found)
        return
    click.echo(f"{found.name} v{found.version} of app {found.owner}: {found.description or '–'}")
    shapes = {"config": found.config_schema, "data": found.payload_schema}
    for label, line in shape_lines(shapes):
        click.echo(f"{label:<8}{line}")
