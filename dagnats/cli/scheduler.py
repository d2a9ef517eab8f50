"""``dagnats scheduler``: one scheduler process."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from dagnats.cli.output import run_async, url_option
from dagnats.cli.processes import (
    Stopping,
    begin,
    open_outside,
    process_command,
    ready_line,
    until_stopped,
)
from dagnats.jetstream.connect import redacted
from dagnats.scheduler.service import Scheduler
from dagnats.settings import Settings


@click.command()
@click.option("--partitions-max", type=click.IntRange(1), help="Own at most so many partitions.")
@url_option
@process_command
def scheduler(partitions_max: int | None, no_wait: bool, **given: Any) -> None:
    """Advance runs.

    Start as many as you like, on as many machines: they share the partitions fairly, and when one
    dies the others take over within seconds.
    """
    settings = begin(**given)

    async def serve(stopping: Stopping) -> None:
        outside = await open_outside(settings, "scheduler", wait=not no_wait)
        try:
            service = Scheduler(outside, partitions_max=partitions_max or 0)
            stopping.act = service.stop
            async with asyncio.TaskGroup() as group:
                group.create_task(service.run())
                await service.ready.wait()
                ready_line(describe(service, outside.log.partitions, settings), settings)
        finally:
            await outside.close()

    run_async(until_stopped, serve)


def describe(service: Scheduler, partitions: int, settings: Settings) -> str:
    """``scheduler <name> ready: 16 of 16 partitions, nats://…``."""
    held = len(service.ownership.held) if service.ownership else 0
    where = redacted(settings.url)
    return f"scheduler {service.name} ready: {held} of {partitions} partitions, {where}"
