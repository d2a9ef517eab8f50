"""`dagnats dlq`: work that was given up. Look at it, replay it, discard it, bring it back."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import click
from msgspec import Struct

from dagnats import listing
from dagnats.cli import given, letters, render
from dagnats.cli.completion import run_ids, workflow_names
from dagnats.cli.ending import waiting
from dagnats.cli.group import Commands, examples
from dagnats.cli.output import emit_json, json_option, open_client, run_async, url_option
from dagnats.client import Client
from dagnats.clock import SystemClock
from dagnats.errors import RequestError
from dagnats.limits import LIST_DEFAULT, LIST_MAX, REPLAYS_DEFAULT

_REFUSED = 2


@click.group(
    cls=Commands, aliases={"inspect": "show", "get": "show", "ls": "list", "retry": "replay"}
)
def dlq() -> None:
    """Dead letters: list, show, replay, discard, watch them.

    SEQ is a letter's number in the list. RUN is a run's id, or the first 8 or more characters of it.
    """


def _run_option(function: Any) -> Any:
    text = "Only letters of this run."
    return click.option("--run", metavar="RUN", default="", help=text, shell_complete=run_ids)(
        function
    )


def _filters(function: Any) -> Any:
    """Add the filters of lists and counts."""
    for name, text in (
        ("--failure", "Only of this failure, such as timeout or poison."),
        ("--task", "Only work of this task."),
    ):
        function = click.option(name, default="", help=text)(function)
    text = "Only of this workflow."
    function = click.option("--workflow", default="", help=text, shell_complete=workflow_names)(
        function
    )
    return _run_option(function)


async def _full_id(client: Client, run: str) -> str:
    """The run that is meant. Letters outlive what they are about: one that has letters need not be in the log.

    Raises:
        RunNotFound.
    """
    if not run or (await client.dead.count(run=run)).total:
        return run
    return await listing.find(client.outside, run)


# -- looking ---------------------------------------------------------------------------------------


@dlq.command("list", epilog=examples("dagnats dlq list --workflow order --failure timeout"))
@_filters
@click.option("--limit", type=int, default=LIST_DEFAULT, show_default=True, help="At most so many.")
@click.option("--all", "all_", is_flag=True, help=f"All of them, up to {LIST_MAX:,}.")
@url_option
@json_option
def list_(
    *,
    run: str,
    workflow: str,
    task: str,
    failure: str,
    limit: int,
    all_: bool,
    url: str | None,
    as_json: bool,
) -> None:
    """List dead letters, the newest first."""

    async def ask() -> Any:
        async with open_client(url) as client:
            return await client.dead.list(
                run=await _full_id(client, run),
                workflow=workflow,
                task=task,
                failure=failure,
                limit=LIST_MAX if all_ else limit,
            )

    found = run_async(ask)
    if as_json:
        emit_json(found)
    elif not found.letters:
        narrowed = run or workflow or task or failure
        click.echo("no dead letters match" if narrowed else "no dead letters", err=True)
    else:
        render.show(letters.letters_table(found, SystemClock().wall_ms()))
        footer = letters.letters_footer(found)
        if footer:
            click.echo(footer, err=True)


@dlq.command(epilog=examples("dagnats dlq count --workflow order"))
@_filters
@url_option
@json_option
def count(
    *, run: str, workflow: str, task: str, failure: str, url: str | None, as_json: bool
) -> None:
    """Count dead letters by task."""

    async def ask() -> Any:
        async with open_client(url) as client:
            return await client.dead.count(
                run=await _full_id(client, run), workflow=workflow, task=task, failure=failure
            )

    counts = run_async(ask)
    if as_json:
        emit_json(counts)
        return
    word = "dead letter" if counts.total == 1 else "dead letters"
    parts = ", ".join(f"{number} {name}" for name, number in counts.tasks.items())
    click.echo(render.harmless(f"{counts.total} {word}" + (f": {parts}" if parts else "")))


@dlq.command(epilog=examples("dagnats dlq show 12", "dagnats dlq show 12 --json | jq .body"))
@click.argument("sequence", metavar="SEQ", type=int)
@url_option
@json_option
def show(sequence: int, url: str | None, as_json: bool) -> None:
    """Show a dead letter: its headers, its body, and what to do with it."""

    async def ask() -> Any:
        async with open_client(url) as client:
            return await client.dead.show(sequence)

    view = run_async(ask)
    if as_json:
        emit_json(view)
        return
    for text in letters.letter_report(view):
        render.show(text)


# -- acting ----------------------------------------------------------------------------------------


class _Refused(Struct, frozen=True):
    """A letter with which nothing was done, and why."""

    sequence: int
    reason: str


async def _each(
    sequences: tuple[int, ...], act: Callable[[int], Awaitable[Any]]
) -> tuple[list[Any], list[_Refused]]:
    """Do something with each letter; of several, one that is refused does not stop the others.

    Raises:
        RequestError: the only one was refused.
    """
    done: list[Any] = []
    refused: list[_Refused] = []
    for sequence in dict.fromkeys(sequences):
        try:
            done.append(await act(sequence))
        except RequestError as problem:
            if len(sequences) == 1:
                raise
            refused.append(_Refused(sequence, problem.message))
    return done, refused


def _tell(
    word: str,
    done: list[Any],
    refused: list[_Refused],
    *,
    line: Callable[[Any], str],
    as_json: bool,
) -> None:
    """Print what was done and what was not; ends with 2 when something was refused."""
    if as_json:
        emit_json({word: done, "refused": refused})
    else:
        for each in done:
            click.echo(render.harmless(line(each)))
        for problem in refused:
            click.echo(render.harmless(f"dagnats: {problem.reason}"), err=True)
    if refused:
        sys.exit(_REFUSED)


@dlq.command(epilog=examples("dagnats dlq replay 12", "dagnats dlq replay --run 3f2a91c4"))
@click.argument("sequences", metavar="SEQ", type=int, nargs=-1)
@click.option(
    "--run", metavar="RUN", default="", help="All letters of this run.", shell_complete=run_ids
)
@url_option
@json_option
def replay(sequences: tuple[int, ...], run: str, url: str | None, as_json: bool) -> None:
    """Open the run of a dead letter again, at the step that failed, and remove the letter.

    The step begins anew with all its attempts, and the run goes on from there. A letter whose run
    cannot be opened again is refused, and stays.
    """
    if bool(sequences) == bool(run):
        raise click.UsageError("which letters? Give SEQ, one or more, or --run RUN")

    async def ask() -> Any:
        async with open_client(url) as client:
            if run:
                return [await client.dead.replay_run(await _full_id(client, run))], []
            return await _each(sequences, client.dead.replay)

    done, refused = run_async(ask)
    _tell("replayed", done, refused, line=letters.replayed_line, as_json=as_json)


@dlq.command(epilog=examples("dagnats dlq discard 12 13", "dagnats dlq discard 12 --undo"))
@click.argument("sequences", metavar="SEQ", type=int, nargs=-1, required=True)
@click.option("--undo", is_flag=True, help="Bring back what was discarded within the last hour.")
@url_option
@json_option
def discard(sequences: tuple[int, ...], undo: bool, url: str | None, as_json: bool) -> None:
    """Remove dead letters. Their runs stay as they are."""

    async def ask() -> Any:
        async with open_client(url) as client:
            return await _each(sequences, client.dead.undo if undo else client.dead.discard)

    done, refused = run_async(ask)
    word = "restored" if undo else "discarded"
    _tell(word, done, refused, line=letters.discarded_line, as_json=as_json)


@dlq.command(epilog=examples("dagnats dlq watch --interval 1m --max-replays 5"))
@_run_option
@click.option(
    "--interval", metavar="DURATION", default="30s", show_default=True, help="How often to look."
)
@click.option(
    "--max-replays",
    type=int,
    default=REPLAYS_DEFAULT,
    show_default=True,
    help="How often the same step is replayed so before it is left to a person.",
)
@url_option
@json_option
def watch(run: str, interval: str, max_replays: int, url: str | None, as_json: bool) -> None:
    """Replay dead letters as they come, until Ctrl-C. With --json an object on each line."""
    every = given.duration_ms(interval, "--interval") / 1000

    async def ask() -> None:
        async with open_client(url) as client:
            chosen = await _full_id(client, run)
            outcomes = client.dead.watch(run=chosen, interval=every, max_replays=max_replays)
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    if as_json:
                        emit_json(outcome)
                    else:
                        click.echo(render.harmless(letters.watched_line(outcome)))

    waiting(ask, told="no longer watching the dead letters")
