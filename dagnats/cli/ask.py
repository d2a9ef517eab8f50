"""What commands ask of a deployment: which run is meant, which workflow, who serves it."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from typing import Any

import click
from msgspec import Struct

from dagnats import listing
from dagnats.cli.completion import run_ids
from dagnats.client import Client
from dagnats.core.model import Workflow
from dagnats.errors import RunNotFound, WorkflowNotFound
from dagnats.explaining import serves, workers_of

_NAMED_MAX = 5


class Named(Struct, frozen=True):
    """The run that a command line names: by its id, by the beginning of its id, or as the newest."""

    run_id: str | None
    last: bool

    async def find(self, client: Client) -> str:
        """Its full id.

        Raises:
            RunNotFound.
        """
        if self.last:
            return await listing.newest(client.outside)
        named = self.run_id or ""
        try:
            return await client.find(named)
        except RunNotFound:
            waiting = [each.run_id for each in await client.scheduled()]
            found = [run for run in waiting if run.startswith(named)] if named else []
            if len(found) != 1:
                raise
            return found[0]


def run_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add RUN and ``--last``; the command gets them as ``named``, once exactly one of them was given."""

    @functools.wraps(function)
    def checked(*, run_id: str | None, last: bool, **given: Any) -> Any:
        if run_id and last:
            raise click.UsageError("name a run or give --last, not both")
        if not run_id and not last:
            raise click.UsageError(
                "which run? Give its id (8 characters of it are enough), or --last"
            )
        return function(named=Named(run_id, last), **given)

    text = "The run that was started last, instead of RUN."
    with_last = click.option("--last", is_flag=True, help=text)(checked)
    return click.argument("run_id", metavar="RUN", required=False, shell_complete=run_ids)(
        with_last
    )


async def registered(client: Client, name: str) -> tuple[Workflow, str]:
    """A registered workflow and its hash.

    Raises:
        WorkflowNotFound: with the likely spelling.
    """
    current = await client.registry.current(name)
    graph = await client.registry.graph(current.definition) if current else None
    if current and graph:
        return graph.workflow, current.definition
    names = [row.name for row in await client.registry.names()]
    close = difflib.get_close_matches(name, names, n=1)
    if current:
        hint = "its definition is gone; register it again"
    elif close:
        hint = f"did you mean {close[0]}?"
    elif names:
        more = ", …" if len(names) > _NAMED_MAX else ""
        hint = f"registered are {', '.join(names[:_NAMED_MAX])}{more}"
    else:
        hint = "none is registered yet: start a worker that has it, or `dagnats workflow register FILE`"
    raise WorkflowNotFound(f'no workflow "{name}"; {hint}', workflow=name)


async def unserved(client: Client, workflow: Workflow) -> list[str]:
    """A sentence for each task of a workflow that no live worker runs."""
    workers = await workers_of(client.outside)
    missing = {
        (step.task, step.group)
        for step in workflow.steps
        if step.task and not any(serves(worker, step.task, step.group) for worker in workers)
    }
    return [
        f"no worker for task {task} is running" + (f" in group {group}" if group else "")
        for task, group in sorted(missing)
    ]
