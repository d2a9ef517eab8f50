"""`dagnats usage`: what runs have used, in tokens and money."""

from __future__ import annotations

import click

from dagnats.cli import given, render
from dagnats.cli.completion import workflow_names
from dagnats.cli.group import examples
from dagnats.cli.output import emit_json, json_option, open_client, run_async, url_option
from dagnats.clock import SystemClock
from dagnats.usage import BY, UsageRow


@click.command(
    epilog=examples("dagnats usage --since 7d", "dagnats usage --by model --workflow research")
)
@click.option(
    "--by", type=click.Choice(BY), default="workflow", show_default=True, help="A line for each."
)
@click.option("--since", metavar="TIME", help="Only runs started since: a duration (1h) or a time.")
@click.option(
    "--workflow", default="", help="Only of this workflow.", shell_complete=workflow_names
)
@url_option
@json_option
def usage(by: str, since: str | None, workflow: str, url: str | None, as_json: bool) -> None:
    """Add up what handlers reported with ctx.report_usage. A run's tenant is its metadata "tenant"."""
    since_ms = given.moment_ms(since, SystemClock().wall_ms(), "--since")

    async def ask() -> list[UsageRow]:
        async with open_client(url) as client:
            return await client.usage(by=by, workflow=workflow, since_ms=since_ms)

    rows = run_async(ask)
    if as_json:
        emit_json(rows)
        return
    if not rows:
        click.echo("nothing was reported; handlers do with ctx.report_usage(…)", err=True)
        return
    made = render.table(by.upper(), "RUNS", "REPORTS", "TOKENS IN", "TOKENS OUT", "USD")
    for row in rows:
        numbers = (row.runs, row.reports, row.input_tokens, row.output_tokens)
        made.add_row(row.name or "-", *(f"{number:,}" for number in numbers), f"{row.usd:,.4f}")
    render.show(made)
