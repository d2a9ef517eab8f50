"""`dagnats workflow`: register, validate, list, show, draw and delete definitions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import click
from msgspec import Struct
from rich.text import Text

from dagnats.cli import given, render
from dagnats.cli.ask import registered, unserved
from dagnats.cli.completion import workflow_names
from dagnats.cli.group import Commands, examples
from dagnats.cli.kinds import watch_line
from dagnats.cli.layout import lines_of, mermaid
from dagnats.cli.output import emit_json, json_option, open_client, run_async, url_option
from dagnats.cli.shapes import shape_lines
from dagnats.core.control import reserved_problems
from dagnats.core.definition import (
    encode_workflow,
    read_workflow,
    workflow_triggers,
    write_workflow,
)
from dagnats.core.model import Problem, Workflow
from dagnats.core.reader import Reader
from dagnats.core.triggers.file import write_trigger
from dagnats.core.triggers.model import Trigger
from dagnats.core.validate import advice_on, problems_of
from dagnats.errors import DefinitionError, InvalidInput, RequestError, WorkflowNotFound

_REFUSED = 2


class Checked(Struct, frozen=True):
    """A workflow file as it was read: what it defines, or everything that is wrong with it."""

    workflow: Workflow | None
    problems: list[Problem]
    triggers: tuple[Trigger, ...] = ()


def check_file(path: str) -> Checked:
    """Read and judge a workflow file: the one way, for ``validate`` and ``register`` alike.

    Raises:
        DefinitionError: it cannot be read, or is not JSON.
    """
    try:
        data = given.read_file(path, "workflow file")
        parsed = given.parse_json(data, "standard input" if path == "-" else path)
    except InvalidInput as problem:
        cure = (
            f"; `dagnats worker {path}` registers what Python defines"
            if path.endswith(".py")
            else ""
        )
        raise DefinitionError(problem.message + cure) from None
    found, problems = read_workflow(parsed)
    triggers: tuple[Trigger, ...] = ()
    if found is not None and isinstance(parsed, dict):
        triggers = workflow_triggers(Reader(), found.name, cast("dict[str, Any]", parsed))
        known = {(problem.where, problem.what) for problem in problems}
        meant = (*reserved_problems(found.name), *problems_of(found))
        problems += [each for each in meant if (each.where, each.what) not in known]
    return Checked(found, problems, triggers)


def _sound(path: str, as_json: bool) -> Workflow:
    """The workflow in a file, as ``_checked`` has it."""
    return _checked(path, as_json)[0]


def _checked(path: str, as_json: bool) -> tuple[Workflow, tuple[Trigger, ...]]:
    """The workflow and the triggers in a file; tells everything that is wrong with it, and ends with 1, if it is."""
    checked = check_file(path)
    if checked.workflow is not None and not checked.problems:
        return checked.workflow, checked.triggers
    if as_json:
        told = {"valid": False, "file": path, "problems": checked.problems, "warnings": []}
        emit_json(told)
    else:
        count = len(checked.problems)
        click.echo(f"{path}: {count} problem{'s' if count > 1 else ''}", err=True)
        for problem in checked.problems:
            click.echo(f"  {problem}", err=True)
    sys.exit(1)


def _told(found: Workflow) -> dict[str, Any]:
    digest, _ = encode_workflow(found)
    return {"name": found.name, "version": found.version, "definition": digest}


def _summary(found: Workflow) -> str:
    count = len(found.steps)
    return f"workflow {found.name} v{found.version}, {count} step{'s' if count != 1 else ''}"


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


@click.group(cls=Commands, aliases={"get": "show", "ls": "list", "rm": "delete"})
def workflow() -> None:
    """Register, validate, list, show and draw workflows."""


@workflow.command(epilog=examples("dagnats workflow validate order.json"))
@click.argument("file")
@json_option
def validate(file: str, as_json: bool) -> None:
    """Check a workflow FILE without a server; every problem comes with its cure."""
    found = _sound(file, as_json)
    warnings = [item.message for item in advice_on(found)]
    if as_json:
        told = {"valid": True, "file": file, **_told(found), "problems": [], "warnings": warnings}
        emit_json(told)
        return
    click.echo(f"{file} is valid: {_summary(found)}")
    _warn(warnings)


@workflow.command(epilog=examples("dagnats workflow register order.json"))
@click.argument("file")
@click.option("--check", is_flag=True, help="Only say what registering would change.")
@url_option
@json_option
def register(file: str, check: bool, url: str | None, as_json: bool) -> None:
    """Register the workflow in FILE ("-": standard input); new runs take it from now on.

    Runs that are under way keep the definition with which they began.
    """
    found, triggers = _checked(file, as_json)
    told = run_async(_register, found, triggers, check, url)
    warnings = [item.message for item in advice_on(found)] + told.pop("unserved")
    if as_json:
        head = {"valid": True, "file": file, **_told(found)}
        emit_json({**head, **told, "problems": [], "warnings": warnings})
        return
    before = told["before"]
    change = "unchanged" if not told["changed"] else f"was {before[:8]}" if before else "new"
    words = "would register" if check else "registered"
    click.echo(f"{words} {_summary(found)} ({_told(found)['definition'][:8]}, {change})")
    if told["triggers"]:
        click.echo(f"triggers set: {', '.join(told['triggers'])}")
    _warn(warnings)


async def _register(
    found: Workflow, triggers: tuple[Trigger, ...], check: bool, url: str | None
) -> dict[str, Any]:
    async with open_client(url) as client:
        current = await client.registry.current(found.name)
        before = current.definition if current else ""
        digest = encode_workflow(found)[0] if check else await client.register(found)
        source = f"file:{found.name}"
        changed = [] if check else await client.keep_triggers(source, [found.name], triggers)
        return {
            "triggers": changed,
            "registered": not check,
            "changed": digest != before,
            "before": before,
            "unserved": await unserved(client, found),
        }


@workflow.command("list", epilog=examples("dagnats workflow list"))
@url_option
@json_option
def list_(url: str | None, as_json: bool) -> None:
    """List the registered workflows. Each task of a worker is one, too, under its own name."""
    rows = run_async(_listed, url)
    if as_json:
        emit_json({"workflows": rows, "total": len(rows)})
        return
    if not rows:
        hint = "start a worker, or `dagnats workflow register FILE`"
        click.echo(f"no workflows are registered yet; {hint}", err=True)
        return
    made = render.table("WORKFLOW", "VERSION", "STEPS", "TASKS", "DEFINITION")
    for row in rows:
        tasks = ", ".join(row["tasks"])
        made.add_row(row["name"], row["version"], str(row["steps"]), tasks, row["definition"][:8])
    render.show(made)


async def _listed(url: str | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    async with open_client(url) as client:
        for current in await client.registry.names():
            graph = await client.registry.graph(current.definition)
            steps = graph.workflow.steps if graph else ()
            rows.append(
                {
                    "name": current.name,
                    "version": current.version,
                    "definition": current.definition,
                    "steps": len(steps),
                    "tasks": sorted({step.task for step in steps if step.task}),
                }
            )
    return rows


@workflow.command(epilog=examples("dagnats workflow show order --json > order.json"))
@click.argument("name", shell_complete=workflow_names)
@url_option
@json_option
def show(name: str, url: str | None, as_json: bool) -> None:
    """Show the workflow NAME; with --json as a file that registers again."""
    found, digest = run_async(_registered, name, url)
    if as_json:
        triggers = [{**write_trigger(each), "source": None} for each in run_async(_kept, name, url)]
        shown = [
            {key: value for key, value in each.items() if value is not None} for each in triggers
        ]
        emit_json({**write_workflow(found), **({"triggers": shown} if shown else {})})
        return
    click.echo(f"{_summary(found)} ({digest})")
    for label, line in shape_lines({"input": found.input_schema, "output": found.output_schema}):
        render.show(Text.assemble((f"{label:<8}", "dim"), line))
    _tree(found)


async def _kept(name: str, url: str | None) -> list[Trigger]:
    async with open_client(url) as client:
        source = f"file:{name}"
        return [each for each in await client.triggers() if each.source == source]


async def _registered(name: str, url: str | None) -> tuple[Workflow, str]:
    async with open_client(url) as client:
        return await registered(client, name)


@workflow.command(
    epilog=examples("dagnats workflow graph order", "dagnats workflow graph order.json --mermaid")
)
@click.argument("name", metavar="NAME|FILE", shell_complete=workflow_names)
@click.option(
    "--mermaid", "as_mermaid", is_flag=True, help="Print Mermaid, for pages that draw it."
)
@url_option
@json_option
def graph(name: str, as_mermaid: bool, url: str | None, as_json: bool) -> None:
    """Draw the steps of a registered workflow, or of a file."""
    if name == "-" or name.endswith(".json") or Path(name).is_file():
        found = _sound(name, as_json)
    else:
        found, _ = run_async(_registered, name, url)
    if as_json:
        emit_json({"name": found.name, **_nodes_and_edges(found)})
    elif as_mermaid:
        click.echo(mermaid(found))
    else:
        click.echo(_summary(found))
        _tree(found)


def _nodes_and_edges(found: Workflow) -> dict[str, Any]:
    edges = [{"from": name, "to": step.id} for step in found.steps for name in step.depends_on]
    handled = [step for step in found.steps if step.on_failure]
    edges += [{"from": step.id, "to": step.on_failure, "on": "failure"} for step in handled]
    undone = [step for step in found.steps if step.compensate]
    edges += [{"from": step.id, "to": step.compensate, "on": "compensation"} for step in undone]
    nodes = [{"id": step.id, "task": step.task, "type": step.kind} for step in found.steps]
    return {"nodes": nodes, "edges": edges}


def _tree(found: Workflow) -> None:
    for watch in found.cancel_on:
        render.show(Text(watch_line(watch), "dim"))
    for line in render.workflow_lines(lines_of(found)):
        render.show(line)


@workflow.command(epilog=examples("dagnats workflow delete order --force"))
@click.argument("name", shell_complete=workflow_names)
@click.option("--force", is_flag=True, help="Do not ask.")
@url_option
@json_option
def delete(name: str, force: bool, url: str | None, as_json: bool) -> None:
    """Forget the workflow NAME: no new run can be started, runs under way go on.

    Refused while triggers start it, unless --force takes them along.
    """
    if not force:
        run_async(_refuse_triggered, name, url)
        if as_json or not sys.stdin.isatty():
            raise InvalidInput(
                f"deleting workflow {name} was refused: nobody can be asked here; add --force"
            )
        if not click.confirm(f"Delete workflow {name}?", err=True):
            click.echo(f"workflow {name} was kept", err=True)
            sys.exit(_REFUSED)
    run_async(_delete, name, url)
    if as_json:
        emit_json({"name": name, "deleted": True})
    else:
        click.echo(f"deleted workflow {name}; runs under way go on")


async def _refuse_triggered(name: str, url: str | None) -> None:
    async with open_client(url) as client:
        users = [each.id for each in await client.triggers() if each.workflow == name]
    if users:
        raise RequestError(
            f"workflow {name} is started by triggers {', '.join(users)}; delete them first, "
            "or add --force to delete them along with it"
        )


async def _delete(name: str, url: str | None) -> None:
    async with open_client(url) as client:
        for each in await client.triggers():
            if each.workflow == name:
                await client.delete_trigger(each.id)
        if not await client.registry.forget(name):
            await registered(client, name)
            raise WorkflowNotFound(f'no workflow "{name}"; somebody deleted it meanwhile')
