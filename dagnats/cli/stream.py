"""`dagnats run stream`: what handlers emit, as they emit it, or again from any place on."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import click

from dagnats.cli.ask import Named, run_argument
from dagnats.cli.ending import ended, tell_end, waiting
from dagnats.cli.group import examples
from dagnats.cli.output import json_option, open_client, print_whole, url_option
from dagnats.cli.render import harmless
from dagnats.cli.watch import text_of
from dagnats.convert import encode
from dagnats.core.state import COMPLETED
from dagnats.streaming import ChunkView, Superseded


class Printer:
    """Prints chunks as one text; who says it, and what no longer counts, goes to standard error."""

    def __init__(self) -> None:
        self._source: tuple[str, int] | None = None
        self._mid_line = False

    def show(self, item: ChunkView | Superseded) -> None:
        """Print one chunk, or say that those before it are void."""
        source = (item.step, item.iteration)
        if isinstance(item, Superseded):
            name = _name(source)
            self._say(f"{name} begins again (attempt {item.attempt}): forget its text above")
        elif self._source not in (None, source):
            self._say(_name(source))
        self._source = source
        if isinstance(item, ChunkView):
            if not isinstance(item.data, str):
                self.end()
            self._print(text_of(item.data))

    def end(self) -> None:
        """Leave the cursor at the beginning of a line."""
        if self._mid_line:
            click.echo()
        self._mid_line = False

    def _print(self, text: str) -> None:
        if text:
            click.echo(harmless(text), nl=False)
            self._mid_line = not text.endswith("\n")

    def _say(self, words: str) -> None:
        self.end()
        click.echo(f"── {harmless(words)}", err=True)


def _name(source: tuple[str, int]) -> str:
    step, iteration = source
    return f"{step}, iteration {iteration + 1}" if iteration else step


def _print_json(item: ChunkView | Superseded) -> None:
    print_whole(bytes(encode(item)) + b"\n")  # one line each, on a terminal too


def _step_alone(function: Callable[..., Any]) -> Callable[..., Any]:
    """With ``--last`` the one argument is STEP, as there is no RUN."""

    @functools.wraps(function)
    def read(*, run_id: str | None, last: bool, step: str | None, **given: Any) -> Any:
        if last and run_id and step is None:
            run_id, step = None, run_id
        return function(run_id=run_id, last=last, step=step, **given)

    return read


@click.command(
    epilog=examples(
        "dagnats run stream 3f2a91c4",
        "dagnats run stream --last write",
        "dagnats run stream 3f2a91c4 --from 1234005 --json",
    )
)
@_step_alone
@run_argument
@click.argument("step", required=False)
@click.option(
    "--from",
    "offset",
    type=click.IntRange(min=0),
    default=0,
    metavar="OFFSET",
    help="Begin at this offset, as --json shows them, instead of the first chunk.",
)
@url_option
@json_option
def stream(named: Named, step: str | None, offset: int, url: str | None, as_json: bool) -> None:
    """Print what a run, or one STEP of it, streams, until the run has ended.

    Text goes to standard output as it comes. When a step is tried again, a line on standard error
    says that what it streamed before no longer counts. With --json an object on each line. The exit
    code is 0 when the run completed, 1 when it failed or was cancelled.
    """

    async def show() -> int:
        printer = Printer()
        async with open_client(url) as client:
            chosen = await named.find(client)
            try:
                async for item in client.handle(chosen).stream(step or "", offset=offset):
                    _print_json(item) if as_json else printer.show(item)
            finally:
                printer.end()
            how = await ended(client, chosen, 1)
            completed = how.status == COMPLETED
            return 0 if completed else 1 if as_json else tell_end(how, as_json=False)

    sys.exit(waiting(show))
