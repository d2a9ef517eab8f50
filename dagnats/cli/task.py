"""`dagnats task`: what the workers of this deployment can run, as they told the catalogue."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import click
import msgspec
from rich.text import Text

from dagnats.cli import render
from dagnats.cli.ask import workers_of
from dagnats.cli.completion import task_names
from dagnats.cli.group import Commands, examples
from dagnats.cli.output import emit_json, json_option, open_client, run_async, url_option
from dagnats.cli.shapes import shape_lines
from dagnats.client import Client
from dagnats.core.durations import text_of_ms
from dagnats.errors import UnknownTask
from dagnats.wire import subjects
from dagnats.worker.catalogue import TaskRecord

_NAMED_MAX = 5
_record = msgspec.json.Decoder(TaskRecord)


@click.group(cls=Commands, aliases={"get": "show", "ls": "list"})
def task() -> None:
    """List and show the tasks that workers have told of."""


@task.command("list", epilog=examples("dagnats task list"))
@url_option
@json_option
def list_(url: str | None, as_json: bool) -> None:
    """List the tasks in the catalogue, and how many live workers run each."""
    rows = run_async(_listed, url)
    if as_json:
        emit_json({"tasks": rows, "total": len(rows)})
        return
    if not rows:
        click.echo("no tasks are known yet; start a worker: `dagnats worker MODULE`", err=True)
        return
    made = render.table("TASK", "APP", "WORKERS", "SIGNATURE", "DESCRIPTION")
    for row in rows:
        signature = row["signature"].removeprefix(row["name"])
        made.add_row(
            row["name"], row["app"], str(len(row["workers"])), signature, row["description"]
        )
    render.show(made)


async def _listed(url: str | None) -> list[dict[str, Any]]:
    async with open_client(url) as client:
        known = await _catalogue(client)
        workers = await workers_of(client.outside)
        return [
            {
                "name": record.name,
                "app": record.app,
                "signature": record.signature,
                "description": record.description,
                "workers": [each.worker for each in workers if record.name in each.tasks],
            }
            for record in known.values()
        ]


async def _catalogue(client: Client) -> dict[str, TaskRecord]:
    found: dict[str, TaskRecord] = {}
    for value, _ in (await client.outside.documents(subjects.TASK_CATALOGUE).all()).values():
        with suppress(msgspec.DecodeError):  # a newer worker's, or nobody's
            record = _record.decode(value)
            found[record.name] = record
    return dict(sorted(found.items()))


@task.command(epilog=examples("dagnats task show fetch"))
@click.argument("name", shell_complete=task_names)
@url_option
@json_option
def show(name: str, url: str | None, as_json: bool) -> None:
    """Show the task NAME: what it takes and gives, its defaults, its source, and who runs it."""
    record, workers = run_async(_shown, name, url)
    if as_json:
        emit_json({**msgspec.to_builtins(record), "workers": workers})
        return
    render.show(Text.assemble((record.signature or record.name, "bold")))
    if record.description:
        render.show(Text(f"  {record.description}"))
    for label, value in _facts(record, workers):
        render.show(Text.assemble((f"{label:<9}", "dim"), value))


async def _shown(name: str, url: str | None) -> tuple[TaskRecord, list[str]]:
    async with open_client(url) as client:
        known = await _catalogue(client)
        if name not in known:
            raise UnknownTask(f'no worker has told of a task "{name}"; {_hint(name, list(known))}')
        workers = await workers_of(client.outside)
        return known[name], [each.worker for each in workers if name in each.tasks]


def _hint(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    if not known:
        return "start one that has it: `dagnats worker MODULE`"
    more = ", …" if len(known) > _NAMED_MAX else ""
    return f"known are {', '.join(known[:_NAMED_MAX])}{more}"


def _facts(record: TaskRecord, workers: list[str]) -> Iterator[tuple[str, str]]:
    yield from shape_lines({"input": record.input_schema, "output": record.output_schema})
    if record.retry is not None:
        yield "retry", f"{record.retry.attempts} attempts, {record.retry.strategy}"
    if record.timeout_ms:
        yield "timeout", text_of_ms(record.timeout_ms)
    if record.loop is not None:
        yield "loop", f"at most {record.loop.max_iterations} iterations"
    if record.group:
        yield "group", record.group
    if record.metadata:
        yield "metadata", ", ".join(f"{key}={value}" for key, value in record.metadata.items())
    yield "app", record.app
    if record.source:
        yield "source", record.source
    yield "workers", ", ".join(workers) or "none is running"
