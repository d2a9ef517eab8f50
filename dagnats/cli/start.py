"""`dagnats run start`: an input, a run, and, if wanted, its end."""

from __future__ import annotations

import sys

import click
from msgspec import Raw, Struct

from dagnats.budgets import Budget, parsed
from dagnats.cli import given
from dagnats.cli.ask import registered, unserved
from dagnats.cli.completion import workflow_names
from dagnats.cli.ending import ended, tell_end, waiting
from dagnats.cli.group import examples
from dagnats.cli.output import emit_json, json_option, open_client, run_async, url_option
from dagnats.cli.watch import watch
from dagnats.client import Client


class Start(Struct, frozen=True, kw_only=True):
    """What ``run start`` was asked for."""

    workflow: str
    input: Raw
    id: str | None
    key: str | None
    metadata: dict[str, str]
    tags: tuple[str, ...]
    run_at: str | None = None
    priority: int
    budget: Budget | None = None


@click.command(
    epilog=examples(
        """dagnats run start order '{"item": "pen"}' --watch""",
        "dagnats run start order @order.json --output",
        "cat order.json | dagnats run start order -",
    )
)
@click.argument("workflow", shell_complete=workflow_names)
@click.argument("input", metavar="[JSON|-|@FILE]", required=False)
@click.option("--id", "id_", metavar="ID", help="The run's id; a second start with it is refused.")
@click.option("--key", metavar="KEY", help="Idempotency key: a second start with it is the first.")
@click.option("--meta", multiple=True, metavar="KEY=VALUE", help="Metadata; repeatable.")
@click.option("--tag", multiple=True, help="A tag; repeatable.")
@click.option("--at", "at", metavar="TIME", help="Start it then: 2026-01-31T09:00:00Z.")
@click.option("--in", "in_", metavar="DURATION", help="Start it so long from now: 2h.")
@click.option(
    "--priority", type=int, default=0, metavar="SECONDS", help="Go so much before others that wait."
)
@click.option(
    "--budget",
    metavar="usd=2,tokens=200000",
    help="What it may use: usd, tokens, wall, iterations.",
)
@click.option("--watch", "watches", is_flag=True, help="Watch the run until it has ended.")
@click.option("--output", "outputs", is_flag=True, help="Wait, and print the run's output.")
@url_option
@json_option
def start(
    *,
    workflow: str,
    input: str | None,
    id_: str | None,
    key: str | None,
    meta: tuple[str, ...],
    tag: tuple[str, ...],
    at: str | None,
    in_: str | None,
    priority: int,
    budget: str | None,
    watches: bool,
    outputs: bool,
    url: str | None,
    as_json: bool,
) -> None:
    """Start a run of WORKFLOW and print its id.

    The input is JSON: an argument, "-" for standard input, or @FILE; without one it is null.
    """
    if at and in_:
        raise click.UsageError("give --at or --in, not both")
    asked = Start(
        workflow=workflow,
        input=given.read_input(input),
        id=id_,
        key=key,
        metadata=given.pairs(meta, "--meta"),
        tags=tag,
        run_at=at or in_,
        priority=priority,
        budget=parsed(budget) if budget else None,
    )
    if watches or outputs:
        sys.exit(waiting(_start_and_wait, asked, watches, url, as_json))
    run_id = run_async(_start_only, asked, url)
    if as_json:
        emit_json({"run_id": run_id})
        return
    click.echo(run_id)
    click.echo(f"see it with `dagnats run watch {run_id}`", err=True)


async def _start_only(asked: Start, url: str | None) -> str:
    async with open_client(url) as client:
        return await _start(client, asked)


async def _start_and_wait(asked: Start, watches: bool, url: str | None, as_json: bool) -> int:
    async with open_client(url) as client:
        run_id = await _start(client, asked)
        if not as_json:
            click.echo(f"run {run_id}", err=True)
        if asked.run_at:
            await client.wait_started(run_id)
        if watches and not as_json:
            await watch(client, run_id)
        return tell_end(await ended(client, run_id, None), as_json)


async def _start(client: Client, asked: Start) -> str:
    """Start; say on stderr what will keep the run from moving."""
    definition, _ = await registered(client, asked.workflow)
    handle = await client.start(
        asked.workflow,
        asked.input,
        id=asked.id,
        idempotency_key=asked.key,
        metadata=asked.metadata,
        tags=asked.tags,
        run_at=asked.run_at,
        priority=asked.priority,
        budget=asked.budget,
    )
    for sentence in await unserved(client, definition):
        click.echo(f"hint: {sentence}; the run waits until one is", err=True)
    return handle.run_id
