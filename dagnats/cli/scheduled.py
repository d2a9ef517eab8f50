"""Starts that are to happen later, as people see them."""

from __future__ import annotations

import click

from dagnats.cli import render
from dagnats.cli.output import emit_json, open_client, run_async
from dagnats.wire.messages import ScheduledRecord


def list_scheduled(workflow: str, limit: int, url: str | None, as_json: bool) -> None:
    """Print the scheduled starts, the earliest first."""

    async def ask() -> list[ScheduledRecord]:
        async with open_client(url) as client:
            return await client.scheduled(workflow)

    found = run_async(ask)
    rows = found[:limit]
    if as_json:
        emit_json(
            {"runs": [_told(row) for row in rows], "total": len(found), "returned": len(rows)}
        )
        return
    if not rows:
        click.echo("no starts are scheduled; `dagnats run start WORKFLOW --in 2h` is one", err=True)
        return
    made = render.table("RUN", "WORKFLOW", "RUN AT", "STATUS")
    for row in rows:
        made.add_row(row.run_id, row.workflow_id, row.run_at, row.status)
    render.show(made)


def show_scheduled(record: ScheduledRecord, as_json: bool) -> None:
    """Print one."""
    if as_json:
        emit_json(_told(record))
    else:
        click.echo(
            f"run {record.run_id} of {record.workflow_id} is {record.status} for {record.run_at}"
        )


def _told(record: ScheduledRecord) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__struct_fields__}
