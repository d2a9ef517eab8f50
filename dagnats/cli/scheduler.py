"""``dagnats scheduler``: one scheduler process."""

from __future__ import annotations

import asyncio
import functools
import os
from typing import Any

import click
from msgspec import Struct

from dagnats.cli.output import run_async, url_option
from dagnats.cli.processes import (
    Stopping,
    begin,
    declared_file,
    declared_option,
    declaring,
    duration_setting_ms,
    open_outside,
    process_command,
    ready_line,
    until_stopped,
)
from dagnats.core.control import policy_problem
from dagnats.errors import DefinitionError
from dagnats.jetstream.connect import redacted
from dagnats.limits import ARCHIVE_AFTER_MIN_MS, ARCHIVE_EVERY_MS, GRACE_MIN_MS, RETENTION_MIN_MS
from dagnats.policies import policy_of
from dagnats.scheduler.archiver import Retention
from dagnats.scheduler.service import Scheduler
from dagnats.settings import Settings


class Ready(Struct, frozen=True, kw_only=True):
    """What ``--json`` prints."""

    ready: bool = True
    scheduler: str
    nats_url: str
    partitions_held: int
    partitions: int
    pid: int


@click.command()
@click.option("--partitions-max", type=click.IntRange(1), help="Own at most so many partitions.")
@declared_option
@url_option
@process_command
def scheduler(
    partitions_max: int | None, config: str | None, no_wait: bool, as_json: bool, **given: Any
) -> None:
    """Advance runs.

    Start as many as you like, on as many machines: they share the partitions fairly, and when one
    dies the others take over within seconds.
    """
    settings = begin(**given)
    declared = declared_file(config)
    options = {**control_plane_options(settings), **retention_options(settings)}

    async def serve(stopping: Stopping) -> None:
        outside = await open_outside(settings, "scheduler")
        try:
            service = Scheduler(outside, partitions_max=partitions_max or 0, **options)
            stopping.act = service.stop
            async with asyncio.TaskGroup() as group:
                running = group.create_task(service.run())
                await service.ready.wait()
                ready = describe(service, outside.log.partitions, settings)
                ready_line(ready_text(ready), settings, ready if as_json else None)
                async with declaring(outside, declared):
                    await asyncio.wait({running})
        finally:
            await outside.close()

    run_async(functools.partial(until_stopped, serve, wait=not no_wait))


def control_plane_options(settings: Settings) -> dict[str, Any]:
    """What the settings say of the control plane, as a scheduler takes it.

    Raises:
        DefinitionError: one of them cannot be.
    """
    policy = policy_of(settings.control_plane_grant, settings.control_plane_promote)
    problem = policy_problem(policy)
    if problem:
        raise DefinitionError(f"control_plane_promote: {problem}")
    grace = settings.control_plane_grace
    grace_ms = duration_setting_ms("control_plane_grace", grace, GRACE_MIN_MS) if grace else 0
    return {"policy": policy, "grace_ms": grace_ms}


def retention_options(settings: Settings) -> dict[str, Any]:
    """What the settings say of finished runs, as a scheduler takes it.

    Raises:
        DefinitionError: one of them cannot be.
    """
    after, keep = settings.archive_after, settings.retention
    after_ms = duration_setting_ms("archive_after", after, ARCHIVE_AFTER_MIN_MS) if after else 0
    keep_ms = duration_setting_ms("retention", keep, RETENTION_MIN_MS)
    every_ms = min(ARCHIVE_EVERY_MS, max(after_ms, ARCHIVE_AFTER_MIN_MS))
    return {"retention": Retention(after_ms=after_ms, keep_ms=keep_ms, every_ms=every_ms)}


def describe(service: Scheduler, partitions: int, settings: Settings) -> Ready:
    """What a scheduler that works now says about itself."""
    return Ready(
        scheduler=service.name,
        nats_url=redacted(settings.url),
        partitions_held=len(service.ownership.held) if service.ownership else 0,
        partitions=partitions,
        pid=os.getpid(),
    )


def ready_text(ready: Ready) -> str:
    """``scheduler <name> ready: 16 of 16 partitions, nats://…``."""
    held = f"{ready.partitions_held} of {ready.partitions} partitions"
    return f"scheduler {ready.scheduler} ready: {held}, {ready.nats_url}"
