"""`dagnats run`: start runs, list them, look into them, watch them, cancel them."""

from __future__ import annotations

import sys
from typing import Any

import click
from msgspec import Struct

from dagnats.cli import given, render
from dagnats.cli.approval import approve, reject
from dagnats.cli.ask import Named, run_argument
from dagnats.cli.bulk import bulk, cancel_all, retry_all
from dagnats.cli.completion import workflow_names
from dagnats.cli.ending import ended, tell_end, waiting
from dagnats.cli.explain import explain
from dagnats.cli.export import export
from dagnats.cli.group import Commands, examples
from dagnats.cli.output import emit_json, json_option, open_client, run_async, url_option
from dagnats.cli.raising import raise_
from dagnats.cli.revive import fork, rerun, retry
from dagnats.cli.scheduled import list_scheduled, show_scheduled
from dagnats.cli.signal import send
from dagnats.cli.start import start
from dagnats.cli.stream import stream
from dagnats.cli.watch import drawn, watch
from dagnats.client import Client
from dagnats.clock import SystemClock
from dagnats.core.views import EventView, RunView
from dagnats.errors import ResultTimeout
from dagnats.limits import LIST_DEFAULT
from dagnats.listing import STATES

_TAIL = 20


@click.group(cls=Commands, aliases={"get": "inspect", "ls": "list"})
def run() -> None:
    """Start, watch, look into, cancel runs.

    RUN is a run's id, or the first 8 or more characters of it; --last stands for the newest.
    """


run.add_command(start)
run.add_command(bulk)
run.add_command(cancel_all)
run.add_command(retry_all)
run.add_command(retry)
run.add_command(raise_, "raise")
run.add_command(rerun)
run.add_command(explain)
run.add_command(fork)
run.add_command(export)
run.add_command(approve)
run.add_command(reject)
run.add_command(send, "signal")
run.add_command(stream)


# -- lists -----------------------------------------------------------------------------------------


def _filters(function: Any) -> Any:
    """Add the filters of lists and counts."""
    text = "Only runs started since: a duration (1h) or a time (2026-01-31T12:00Z)."
    function = click.option("--since", metavar="TIME", help=text)(function)
    function = click.option(
        "--status",
        "--state",
        "status",
        metavar="|".join(STATES),
        default="",
        help="Only in this state.",
    )(function)
    return click.option(
        "--workflow", default="", help="Only of this workflow.", shell_complete=workflow_names
    )(function)


@run.command(
    "list", epilog=examples("dagnats run list --workflow order --status failed --since 1h")
)
@_filters
@click.option("--limit", type=int, default=LIST_DEFAULT, show_default=True, help="At most so many.")
@click.option("--scheduled", is_flag=True, help="Those that are to be started later, instead.")
@url_option
@json_option
def list_(
    *, workflow: str, status: str, since: str | None, limit: int, scheduled: bool, url: str | None, as_json: bool
) -> None:  # fmt: skip
    """List runs, the newest first."""
    now = SystemClock().wall_ms()
    if scheduled:
        if status or since:
            raise click.UsageError("--scheduled goes with --workflow, not with --status or --since")
        list_scheduled(workflow, limit, url, as_json)
        return
    since_ms = given.moment_ms(since, now, "--since")

    async def ask() -> Any:
        async with open_client(url) as client:
            return await client.runs(
                workflow=workflow, status=status, since_ms=since_ms, limit=limit
            )

    listing = run_async(ask)
    if as_json:
        emit_json(listing)
        return
    if not listing.runs:
        narrowed = workflow or status or since
        hint = (
            "no runs match" if narrowed else "no runs yet; `dagnats run start WORKFLOW` starts one"
        )
        click.echo(hint, err=True)
        return
    render.show(render.runs_table(listing, now))
    footer = render.listing_footer(listing)
    if footer:
        click.echo(footer, err=True)


@run.command(epilog=examples("dagnats run count --workflow order --since 1d"))
@_filters
@url_option
@json_option
def count(workflow: str, status: str, since: str | None, url: str | None, as_json: bool) -> None:
    """Count runs by state."""
    since_ms = given.moment_ms(since, SystemClock().wall_ms(), "--since")

    async def ask() -> Any:
        async with open_client(url) as client:
            return await client.count(workflow=workflow, status=status, since_ms=since_ms)

    counts = run_async(ask)
    if as_json:
        emit_json(counts)
        return
    states = [f"{getattr(counts, state)} {state}" for state in STATES if getattr(counts, state)]
    click.echo(f"{counts.total} runs" + (f": {', '.join(states)}" if states else ""))


# -- one run ---------------------------------------------------------------------------------------


@run.command(epilog=examples("dagnats run status 3f2a91c4", "dagnats run status --last"))
@run_argument
@url_option
@json_option
def status(named: Named, url: str | None, as_json: bool) -> None:
    """Show how a run stands: its steps, attempts, iterations, who runs what."""

    async def ask() -> None:
        async with open_client(url) as client:
            chosen = await named.find(client)
            waiting = await client.scheduled_start(chosen)
            if waiting is not None:
                show_scheduled(waiting, as_json)
                return
            view = await client.handle(chosen).status()
            await _show_run(client, view, as_json)

    run_async(ask)


async def _show_run(client: Client, view: RunView, as_json: bool) -> None:
    if as_json:
        emit_json(view)
        return
    render.show(render.run_header(view))
    for line in render.step_lines(view, await drawn(client, view)):
        render.show(line)


class Inspected(Struct, frozen=True):
    """A run, and the end of its history."""

    run: RunView
    events: list[EventView]
    events_total: int


@run.command(epilog=examples("dagnats run inspect --last"))
@run_argument
@url_option
@json_option
def inspect(named: Named, url: str | None, as_json: bool) -> None:
    """Show everything about a run: steps, errors with tracebacks, the last events."""

    async def ask() -> None:
        async with open_client(url) as client:
            handle = client.handle(await named.find(client))
            view, history = await handle.status(), await handle.history()
            if as_json:
                emit_json(Inspected(view, history[-_TAIL:], len(history)))
                return
            await _show_run(client, view, as_json=False)
            _show_details(view, history)

    run_async(ask)


def _show_details(view: RunView, history: list[EventView]) -> None:
    for name, value in (("input", view.input), ("output", view.output)):
        if value:
            click.echo(f"\n{name}: {bytes(value).decode(errors='replace')}")
    for number, text in enumerate(render.error_report(view)):
        if not number:
            click.echo("\nerrors:")
        render.show(text)
    left_out = len(history) - _TAIL
    more = f" (the last {_TAIL} of {len(history)}; `dagnats run events` has all)"
    click.echo(f"\nevents{more if left_out > 0 else ''}:")
    for event in history[-_TAIL:]:
        render.show(render.event_line(event))


@run.command(epilog=examples("dagnats run events --last --step fetch --full"))
@run_argument
@click.option("--type", "type_", default="", help="Only of this type, such as step.failed.")
@click.option("--step", default="", help="Only of this step.")
@click.option("--full", is_flag=True, help="With sequence, author and all data.")
@click.option("--follow", is_flag=True, help="Go on until the run has ended.")
@url_option
@json_option
def events(
    *,
    named: Named,
    type_: str,
    step: str,
    full: bool,
    follow: bool,
    url: str | None,
    as_json: bool,
) -> None:
    """Show a run's history. With --json an array; with --json --follow an object on each line."""

    def wanted(event: EventView) -> bool:
        return type_ in ("", event.type) and step in ("", event.step)

    async def ask() -> None:
        async with open_client(url) as client:
            handle = client.handle(await named.find(client))
            if not follow:
                found = [event for event in await handle.history() if wanted(event)]
                _tell_events(found, full=full, as_json=as_json)
                return
            async for event in handle.events():
                if wanted(event):
                    _tell_event(event, full=full, as_json=as_json)

    waiting(ask)


def _tell_events(found: list[EventView], *, full: bool, as_json: bool) -> None:
    if as_json:
        emit_json(found)
        return
    for event in found:
        _tell_event(event, full=full, as_json=False)
    if not found:
        click.echo("no events match --type and --step", err=True)


def _tell_event(event: EventView, *, full: bool, as_json: bool) -> None:
    if as_json:
        emit_json(event)
    else:
        render.show(render.event_line(event, full=full))


@run.command("watch", epilog=examples("dagnats run watch --last"))
@run_argument
@click.option("--no-tokens", is_flag=True, help="Without the token streams.")
@url_option
@json_option
def watch_(named: Named, no_tokens: bool, url: str | None, as_json: bool) -> None:
    """Watch a run until it has ended: live on a terminal, else a line for each event.

    The exit code is 0 when the run completed, 1 when it failed or was cancelled. With --json an
    object on each line.
    """

    async def ask() -> int:
        async with open_client(url) as client:
            chosen = await named.find(client)
            code = await watch(client, chosen, as_json=as_json, tokens=not no_tokens)
            if not as_json:
                how = await ended(client, chosen, 1)
                click.echo(f"run {chosen} {how.status} in {render.took(how.duration_ms)}", err=True)
            return code

    sys.exit(waiting(ask))


@run.command(epilog=examples("dagnats run output --last --wait --timeout 30s"))
@run_argument
@click.option("--wait", is_flag=True, help="Wait until the run has ended.")
@click.option(
    "--timeout", metavar="DURATION", help="How long to wait, such as 30s; implies --wait."
)
@url_option
@json_option
def output(named: Named, wait: bool, timeout: str | None, url: str | None, as_json: bool) -> None:
    """Print the output of a completed run as JSON; with --json, how it ended as an object."""
    most = given.duration_ms(timeout, "--timeout") / 1000 or None

    async def ask() -> int:
        async with open_client(url) as client:
            chosen = await named.find(client)
            if not (wait or most) and await client.closed_mark(chosen) is None:
                run = await client.run(chosen)
                hint = "add --wait to wait for its output"
                raise ResultTimeout(f"run {chosen} is {run.status}; {hint}")
            return tell_end(await ended(client, chosen, most), as_json)

    sys.exit(waiting(ask))


@run.command(epilog=examples('dagnats run cancel 3f2a91c4 --reason "wrong input"'))
@run_argument
@click.option("--reason", default="", help="Why; it is kept with the run.")
@url_option
@json_option
def cancel(named: Named, reason: str, url: str | None, as_json: bool) -> None:
    """Ask for a run to be cancelled. A run that has ended stays as it is."""

    async def ask() -> None:
        async with open_client(url) as client:
            chosen = await named.find(client)
            asked = await client.cancel(chosen, reason)
            mark = None if asked else await client.closed_mark(chosen)
            if as_json:
                told = {"run_id": chosen, "cancelling": asked}
                emit_json({**told, "status": mark.status} if mark else told)
            elif asked:
                click.echo(f"cancelling run {chosen}")
            else:
                word = mark.status if mark else "ended"
                click.echo(f"run {chosen} is {word} already; it stays so", err=True)

    run_async(ask)
