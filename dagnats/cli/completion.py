"""`dagnats completion`: a script for the shell; and the names that it completes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import click
import msgspec
from click.shell_completion import CompletionItem, get_completion_class

from dagnats.cli.group import examples
from dagnats.cli.output import emit_json, json_option
from dagnats.errors import DagNatsError

_VARIABLE = "_DAGNATS_COMPLETE"
_WAIT_S = 1.0
_RUNS = 50


@click.command(
    epilog=examples(
        'eval "$(dagnats completion bash)"     in ~/.bashrc',
        'eval "$(dagnats completion zsh)"      in ~/.zshrc',
        "dagnats completion fish > ~/.config/fish/completions/dagnats.fish",
    )
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@json_option
@click.pass_context
def completion(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print the completion script for your shell.

    Commands and options are completed, and names of workflows and runs when NATS answers quickly.
    """
    made = get_completion_class(shell)
    root = ctx.find_root()
    if made is None:
        raise click.UsageError(f"there is no completion for {shell}")
    script = made(root.command, {}, root.info_name or "dagnats", _VARIABLE)
    text = script.source_template % script.source_vars()
    if as_json:
        emit_json({"shell": shell, "script": text})
    else:
        click.echo(text)


def workflow_names(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Registered workflows that begin with what was typed."""

    async def ask() -> list[str]:
        from dagnats.cli.output import open_client

        async with open_client(ctx.params.get("url")) as client:
            return [row.name for row in await client.registry.names()]

    return _items(ask, incomplete)


def trigger_ids(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Triggers whose ids begin with what was typed."""

    async def ask() -> list[str]:
        from dagnats.cli.output import open_client

        async with open_client(ctx.params.get("url")) as client:
            return [each.id for each in await client.triggers()]

    return _items(ask, incomplete)


def task_names(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Tasks in the catalogue that begin with what was typed."""

    async def ask() -> list[str]:
        from dagnats.cli.output import open_client
        from dagnats.wire import subjects

        async with open_client(ctx.params.get("url")) as client:
            records = (await client.outside.documents(subjects.TASK_CATALOGUE).all()).values()
            return sorted(msgspec.json.decode(value)["name"] for value, _ in records)

    return _items(ask, incomplete)


def run_ids(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The newest runs whose ids begin with what was typed."""

    async def ask() -> list[str]:
        from dagnats.cli.output import open_client

        async with open_client(ctx.params.get("url")) as client:
            return [row.run_id for row in (await client.runs(limit=_RUNS)).runs]

    return _items(ask, incomplete)


def _items(ask: Callable[[], Awaitable[list[str]]], incomplete: str) -> list[CompletionItem]:
    """What was asked for, if it came in time: completion never complains and never hangs."""

    async def quickly() -> list[str]:
        return await asyncio.wait_for(ask(), _WAIT_S)

    try:
        names = asyncio.run(quickly())
    except (DagNatsError, TimeoutError, OSError):
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
