"""`dagnats run retry`, `rerun` and `fork`: go on after a failure, begin anew, or branch off in the middle."""

from __future__ import annotations

import re

import click

from dagnats.cli import given
from dagnats.cli.ask import Named, run_argument
from dagnats.cli.completion import run_ids
from dagnats.cli.group import examples
from dagnats.cli.output import emit_json, json_option, open_client, run_async, url_option
from dagnats.client import Client
from dagnats.outcome import UNSET

_PLACE = re.compile(r"(?P<step>.+?)(?:@(?P<iteration>[1-9][0-9]{0,8}))?\Z")


async def _rerun(client: Client, run_id: str, input_: str | None) -> dict[str, str]:
    raw = UNSET if input_ is None else given.read_input(input_)
    handle = await client.rerun(run_id, raw)
    return {"run_id": handle.run_id, "rerun_of": run_id}


@click.command(epilog=examples("dagnats run retry --last", "dagnats run retry 3f2a91c4 --anew"))
@run_argument
@click.option("--anew", is_flag=True, help="A new run with the same input, from the beginning.")
@click.option("--input", "input_", metavar="JSON", default=None, help="Another input; with --anew.")
@click.option("--reason", default="", help="Why; it is kept with the run.")
@url_option
@json_option
def retry(
    named: Named, anew: bool, input_: str | None, reason: str, url: str | None, as_json: bool
) -> None:
    """Let a failed run go on at the step that failed; what was done stays done."""
    if input_ is not None and not anew:
        raise click.UsageError("a run that goes on keeps its input; add --anew for a new run")

    async def ask() -> dict[str, str]:
        async with open_client(url) as client:
            chosen = await named.find(client)
            if anew:
                return await _rerun(client, chosen, input_)
            await client.retry(chosen, reason)
            return {"run_id": chosen, "status": "running"}

    told = run_async(ask)
    if as_json:
        emit_json(told)
    elif anew:
        click.echo(f"run {told['run_id']} is run {told['rerun_of']} anew")
    else:
        click.echo(f"run {told['run_id']} goes on")


@click.command(epilog=examples("dagnats run rerun 3f2a91c4 --input '{\"n\": 2}'"))
@run_argument
@click.option("--input", "input_", metavar="JSON", default=None, help="Another input.")
@url_option
@json_option
def rerun(named: Named, input_: str | None, url: str | None, as_json: bool) -> None:
    """Start a run's workflow anew, with its input or another; the workflow as it is registered now."""

    async def ask() -> dict[str, str]:
        async with open_client(url) as client:
            return await _rerun(client, await named.find(client), input_)

    told = run_async(ask)
    if as_json:
        emit_json(told)
    else:
        click.echo(f"run {told['run_id']} is run {told['rerun_of']} anew")


@click.command(epilog=examples("dagnats run fork 3f2a91c4 --at review@3"))
@click.argument("run_id", metavar="RUN", shell_complete=run_ids)
@click.option("--at", "at", metavar="STEP[@ITERATION]", required=True, help="Where to branch off.")
@click.option(
    "--input", "input_", metavar="JSON", default=None, help="What that step receives instead."
)
@url_option
@json_option
def fork(run_id: str, at: str, input_: str | None, url: str | None, as_json: bool) -> None:
    """A new run that shares a run's history up to a step, and goes on from there. Also of a finished run.

    Iterations count from 1, as `dagnats run events` shows them.
    """
    place = _PLACE.match(at)
    if place is None:
        raise click.BadParameter(f"{at!r} is not STEP or STEP@ITERATION", param_hint="--at")
    iteration = int(place["iteration"] or 1) - 1
    raw = UNSET if input_ is None else given.read_input(input_)

    async def ask() -> dict[str, str]:
        async with open_client(url) as client:
            chosen = await client.find(run_id)
            handle = await client.fork(chosen, place["step"], iteration, raw)
            return {"run_id": handle.run_id, "forked_from": chosen, "at": at}

    told = run_async(ask)
    if as_json:
        emit_json(told)
    else:
        click.echo(f"run {told['run_id']} goes on from run {told['forked_from']} at {at}")
