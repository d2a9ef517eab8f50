"""`dagnats run export`: a run as a file, for tests that replay it."""

from __future__ import annotations

from pathlib import Path

import click

from dagnats.cli.ask import Named, run_argument
from dagnats.cli.group import examples
from dagnats.cli.output import (
    emit_json,
    json_option,
    open_client,
    print_whole,
    run_async,
    url_option,
)
from dagnats.exporting import exported


@click.command(epilog=examples("dagnats run export 3f2a91c4 --out order.jsonl"))
@run_argument
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Where to; default: standard output.",
)
@url_option
@json_option
def export(named: Named, out: str | None, url: str | None, as_json: bool) -> None:
    """Write a run as JSON lines: its definition, then its history. `dagnats.testing.replay` reads it.

    Large payloads are written in full; nonces are left out.
    """

    async def ask() -> tuple[str, list[bytes]]:
        async with open_client(url) as client:
            chosen = await named.find(client)
            return chosen, list(await exported(client.outside, client.registry, chosen))

    chosen, lines = run_async(ask)
    text = b"".join(line + b"\n" for line in lines)
    if out is None:
        print_whole(text)
        return
    Path(out).write_bytes(text)
    if as_json:
        emit_json({"run_id": chosen, "file": out, "entries": len(lines) - 1})
    else:
        click.echo(f"wrote run {chosen} to {out}: {len(lines) - 1} entries")
