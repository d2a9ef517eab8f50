"""`dagnats run explain`: why each open step of a run is not done yet."""

from __future__ import annotations

import click

from dagnats.cli import render
from dagnats.cli.ask import Named, run_argument
from dagnats.cli.group import examples
from dagnats.cli.output import emit_json, json_option, open_client, run_async, url_option
from dagnats.core.explain import Reason


@click.command(epilog=examples("dagnats run explain 3f2a91c4", "dagnats run explain --last"))
@run_argument
@url_option
@json_option
def explain(named: Named, url: str | None, as_json: bool) -> None:
    """Say why each open step of RUN is not done yet."""

    async def ask() -> tuple[str, str, list[Reason]]:
        async with open_client(url) as client:
            run_id = await named.find(client)
            reasons = await client.explain(run_id)
            return run_id, (await client.run(run_id)).status, reasons

    run_id, status, reasons = run_async(ask)
    if as_json:
        emit_json({"run_id": run_id, "status": status, "reasons": reasons})
        return
    for reason in reasons:
        since = f" (since {reason.since})" if reason.since else ""
        click.echo(f"{reason.step or 'the run'}: {render.harmless(reason.text)}{since}")
    if not reasons:
        click.echo(f"run {run_id} is {status}: nothing is open")
