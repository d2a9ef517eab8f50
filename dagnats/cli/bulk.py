"""`dagnats run bulk`, `cancel-all`, `retry-all`: many runs at once."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from msgspec import Raw
from rich.console import Console
from rich.progress import Progress

from dagnats.bulk import CANCELLABLE, MODES, BulkResult, Told
from dagnats.cli import given
from dagnats.cli.completion import workflow_names
from dagnats.cli.group import examples
from dagnats.cli.output import emit_json, json_option, open_client, run_async, url_option
from dagnats.client import Client
from dagnats.clock import SystemClock
from dagnats.errors import InvalidInput
from dagnats.ids import new_run_id


@contextmanager
def progress(what: str) -> Iterator[Told]:
    """A bar on a terminal's standard error; nothing anywhere else."""
    bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with bar:
        task = bar.add_task(what, total=None)

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield told


def _ask(
    what: str, work: Callable[[Client, Told], Awaitable[BulkResult]], url: str | None
) -> BulkResult:
    async def ask() -> BulkResult:
        async with open_client(url) as client:
            with progress(what) as told:
                return await work(client, told)

    return run_async(ask)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _tell(result: BulkResult, verb: str, as_json: bool) -> None:
    if as_json:
        emit_json(result)
    else:
        if result.dry_run:
            for run_id in result.run_ids:
                click.echo(run_id)
            told = f"would have {verb} {_runs(result.matched)}; nothing was changed"
            click.echo(told, err=True)
        else:
            already = f", {result.already} were already" if result.already else ""
            click.echo(f"{verb} {_runs(result.done)}{already}")
        for refused in result.failed:
            click.echo(f"  {refused.run_id}: {refused.error}", err=True)
        if result.more:
            click.echo("there are more; run the command again for the next ones", err=True)
    sys.exit(1 if result.failed else 0)


def _window(function: Any) -> Any:
    """Filters by time, and what all share."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Only say which; change nothing."),
        click.option("--before", metavar="TIME", help="Only runs created before: 1h, or a time."),
        click.option("--after", metavar="TIME", help="Only runs created since: 1h, or a time."),
        click.option("--workflow", default="", help="Of this workflow.", shell_complete=workflow_names),
    ):  # fmt: skip
        function = option(function)
    return function


@click.command(
    epilog=examples(
        "dagnats run bulk --workflow order 1 2 3",
        "dagnats run bulk --workflow order --from-file orders.jsonl --batch monday",
    )
)
@click.option("--workflow", required=True, help="What to start.", shell_complete=workflow_names)
@click.argument("inputs", nargs=-1, metavar="[JSON]...")
@click.option("--from-file", metavar="FILE", help="One input in each line; - is standard input.")
@click.option("--batch", help="Its name: the same again goes on where it was interrupted.")
@url_option
@json_option
def bulk(
    *, workflow: str, inputs: tuple[str, ...], from_file: str | None, batch: str | None, url: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Start one run for each input, at most 1,000. All inputs are checked before any run starts."""
    if inputs and from_file:
        raise click.UsageError("give inputs, or --from-file, not both")
    raws = _lines(from_file) if from_file else [_input(n, text) for n, text in enumerate(inputs)]
    name = batch or new_run_id()[:12]
    if not as_json and not batch and len(raws) > 1:
        click.echo(f"batch {name}; if this is interrupted, go on with --batch {name}", err=True)

    async def work(client: Client, told: Told) -> BulkResult:
        return await client.bulk.start(workflow, raws, batch=name, told=told)

    _tell(_ask("starting", work, url), "started", as_json)


def _input(number: int, text: str) -> Raw:
    try:
        return given.read_input(text)
    except InvalidInput as error:
        raise InvalidInput(f"input[{number}]: {error.message}") from None


def _lines(path: str) -> list[Raw]:
    found: list[Raw] = []
    for number, line in enumerate(given.read_file(path, "--from-file").splitlines(), 1):
        if line.strip():
            given.parse_json(line, f"line {number} of {path}")
            found.append(Raw(line.strip()))
    return found


@click.command(
    "cancel-all",
    epilog=examples("dagnats run cancel-all --workflow order --status all --before 1d --dry-run"),
)
@_window
@click.option(
    "--status", default="running", show_default=True, metavar="|".join(CANCELLABLE), help="Which."
)
@click.option("--reason", default="", help="Why; it is kept with the runs.")
@url_option
@json_option
def cancel_all(
    *, workflow: str, status: str, after: str | None, before: str | None, reason: str, dry_run: bool,
    url: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Cancel the runs of a workflow that have not ended, at most 1,000 in one go, the oldest first."""
    now = SystemClock().wall_ms()
    after_ms, before_ms = (
        given.moment_ms(after, now, "--after"),
        given.moment_ms(before, now, "--before"),
    )

    async def work(client: Client, told: Told) -> BulkResult:
        return await client.bulk.cancel(
            workflow, status, after_ms=after_ms, before_ms=before_ms, reason=reason, dry_run=dry_run,
            told=told,
        )  # fmt: skip

    _tell(_ask("cancelling", work, url), "cancelled", as_json)


@click.command(
    "retry-all", epilog=examples("dagnats run retry-all --workflow order --mode replay --after 1d")
)
@_window
@click.option(
    "--mode", default="rerun", show_default=True, metavar="|".join(MODES),
    help="As new runs with the same inputs; where they failed; or those that a shared budget ended, where they were.",
)  # fmt: skip
@url_option
@json_option
def retry_all(
    *, workflow: str, mode: Any, after: str | None, before: str | None, dry_run: bool, url: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Retry the failed runs of a workflow, at most 1,000 in one go, the oldest first; each once."""
    now = SystemClock().wall_ms()
    after_ms, before_ms = (
        given.moment_ms(after, now, "--after"),
        given.moment_ms(before, now, "--before"),
    )

    async def work(client: Client, told: Told) -> BulkResult:
        return await client.bulk.retry(
            workflow, mode, after_ms=after_ms, before_ms=before_ms, dry_run=dry_run, told=told
        )

    _tell(_ask("retrying", work, url), "retried", as_json)
