"""`dagnats config`: the settings in force, and where each came from."""

from __future__ import annotations

import re
from typing import Any

import click

from dagnats.cli import render
from dagnats.cli.group import Commands, examples
from dagnats.cli.output import emit_json, json_option, url_option
from dagnats.settings import load_sourced

_PASSWORD = re.compile(r"([^/,\s]+)@")  # greedy: a password may hold an @


@click.group(cls=Commands)
def config() -> None:
    """The settings in force, and where each is from."""


@config.command("show", epilog=examples("DAGNATS_CONCURRENCY=10 dagnats config show"))
@url_option
@json_option
def show(url: str | None, as_json: bool) -> None:
    """Show every setting with its value and where it came from.

    Options win over the environment (DAGNATS_URL and so on), that over [tool.dagnats] in
    pyproject.toml, that over dagnats.toml, that over the defaults.
    """
    found = load_sourced(url=url)
    if as_json:
        told = {name: (_shown(name, item.value), item.source) for name, item in found.items()}
        emit_json(
            {name: {"value": value, "source": source} for name, (value, source) in told.items()}
        )
        return
    made = render.table("SETTING", "VALUE", "SOURCE")
    for name, item in found.items():
        style = "dim" if item.source == "default" else ""
        made.add_row(name, str(_shown(name, item.value)), item.source, style=style)
    render.show(made)


def _shown(name: str, value: Any) -> Any:
    """A value without the password or token that a URL may hold."""
    return _PASSWORD.sub(_hidden, value) if name == "url" else value


def _hidden(found: re.Match[str]) -> str:
    user, colon, _ = found[1].partition(":")
    return f"{user}:***@" if colon else "***@"
