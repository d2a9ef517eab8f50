"""``dagnats doctor``: check everything, with the cure for each fault."""

from __future__ import annotations

from typing import Final

import click
from rich.text import Text

from dagnats.cli import checks
from dagnats.cli.output import console, emit_json, json_option, run_async, url_option
from dagnats.cli.verdicts import ERROR, OK, WARNING, Check
from dagnats.settings import load_settings

_SIGNS: Final = {
    OK: ("✓", "green"),
    WARNING: ("!", "yellow"),
    ERROR: ("✗", "red"),
}
_WIDTH: Final = 13


@click.command()
@url_option
@json_option
@click.pass_context
def doctor(ctx: click.Context, url: str | None, as_json: bool) -> None:
    """Check this machine, the server, the streams, schedulers, workers and queues.

    Each line is good (✓), worth a look (!) or a fault (✗) with its cure. Exits with 1 when there is a
    fault.
    """
    settings = load_settings(url=url)
    found = [*checks.of_machine(), *run_async(checks.of_server, settings)]
    summary = checks.summary(found)
    if as_json:
        emit_json(summary)
    else:
        for check in found:
            console().print(line_of(check), soft_wrap=True)
    ctx.exit(0 if summary["healthy"] else 1)


def line_of(check: Check) -> Text:
    """``✗ schedulers    none is alive: no run goes on → start `dagnats scheduler```."""
    sign, colour = _SIGNS[check.state]
    line = Text.assemble((f"{sign} ", colour), (f"{check.check:<{_WIDTH}} ", "bold"), check.detail)
    if check.cure:
        line.append(f"\n{' ' * (_WIDTH + 3)}→ {check.cure}", style=colour)
    return line
