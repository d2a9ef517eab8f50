"""``dagnats worker``: one worker process, or several."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import click
from msgspec import Struct

from dagnats.app import App
from dagnats.cli.isolated import isolates
from dagnats.cli.last_resort import LastResort
from dagnats.cli.output import run_async, url_option
from dagnats.cli.processes import (
    Family,
    Stopping,
    begin,
    duration_setting_ms,
    open_outside,
    option_arguments,
    process_command,
    ready_line,
    stop_signals,
    until_stopped,
    watch_parent,
)
from dagnats.client import Client
from dagnats.clock import SystemClock
from dagnats.errors import DagNatsError, NotPermitted, OutsideError, UnknownTask
from dagnats.ids import checked_worker_name
from dagnats.jetstream.connect import redacted
from dagnats.jetstream.lease_link import LeaseKeeperLink
from dagnats.jetstream.outside import JetStream
from dagnats.limits import CONCURRENCY_MAX, PROCESSES_MAX, WORKER_LEASE_MIN_MS
from dagnats.settings import Settings
from dagnats.task import Task
from dagnats.trigger_types import TriggerType
from dagnats.wire import subjects
from dagnats.worker.catalogue import publish_tasks
from dagnats.worker.external import Owned, keep_external
from dagnats.worker.loader import load_app
from dagnats.worker.service import Worker

log = logging.getLogger("dagnats.worker")

_ASK_AGAIN_S = 0.5
_NAMES_SHOWN = 8
_HANDLERS = "dagnats-task"  # how the threads of plain handlers are called
_LAST_S = 1.0
_STOP_S = 10.0  # beyond the drain time: handlers are told to stop, and what is stored gets through
_LEAVE_S = 3.0

Tasks = dict[str, Task[Any, Any]]


class Ready(Struct, frozen=True, kw_only=True):
    """What ``--json`` prints."""

    ready: bool = True
    worker: str
    nats_url: str
    tasks: list[str]
    concurrency: int
    group: str
    pid: int


@click.command()
@click.argument("target", metavar="MODULE[:APP]")
@click.option("--concurrency", type=click.IntRange(1, CONCURRENCY_MAX), help="Handlers at once.")
@click.option(
    "--processes",
    type=click.IntRange(1, PROCESSES_MAX),
    help="So many processes; dead ones are replaced.",
)
@click.option(
    "--task", "names", multiple=True, metavar="TASK", help="Only this task; may be repeated."
)
@click.option(
    "--name",
    default="",
    help="This worker's name, for runs that stick to it (default: one of its own).",
)
@click.option("--group", help="Serve this worker group (default: the tasks without one).")
@click.option("--all-groups", is_flag=True, help="Serve every task in its own group.")
@click.option("--drain-timeout", help="How long handlers may finish when stopping, such as 30s.")
@click.option("--lease", help="After how long a silent worker's tickets go to others, such as 15s.")
@url_option
@process_command
def worker(
    target: str,
    names: tuple[str, ...],
    name: str,
    all_groups: bool,
    no_wait: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Run the tasks of MODULE (or file.py), and register its workflows.

    SIGTERM or Ctrl-C: takes no more work, lets running handlers finish, then ends; a second one ends
    at once, and what was running is done by another worker.
    """
    settings = begin(**given)
    if name:
        checked_worker_name(name)
    lease_ms = duration_setting_ms("lease", settings.lease, WORKER_LEASE_MIN_MS)
    drain_ms = duration_setting_ms("drain_timeout", settings.drain_timeout)
    if settings.processes > 1:
        options = {**given, "processes": 1}
        more = option_arguments(
            task=names, all_groups=all_groups, no_wait=no_wait, json=as_json, **options
        )
        sys.exit(run_async(_several, [target, *more], settings.processes, name))
    app = load_app(target)
    settings = begin(**{**given, "url": given.get("url") or app.url})
    group = None if all_groups else settings.group
    tasks = served(app, names, group)

    last = LastResort(SystemClock())

    async def serve(stopping: Stopping) -> None:
        def told() -> None:
            patience = drain_ms / 1000 if stopping.signals == 1 else 0
            last.within(_STOP_S + patience)

        stopping.came = told
        outside = await open_outside(settings, f"{app.name}-worker")
        try:
            keeper = LeaseKeeperLink(
                settings.url, name=f"{app.name}-leases", access=settings.access
            )
            service = Worker(
                outside, tasks, keeper, concurrency=settings.concurrency, group=group,
                lease_ms=lease_ms, drain_ms=drain_ms, name=name, isolates=isolates(target, settings),
            )  # fmt: skip
            ready = describe(service, tasks, settings)
            await _work(
                app, tasks, service, outside, stopping,
                lambda: ready_line(ready_text(ready), settings, ready if as_json else None),
            )  # fmt: skip
        finally:
            await outside.close()

    async def run() -> None:
        try:
            await until_stopped(serve, wait=not no_wait)
        finally:
            last.within(_LEAVE_S)

    run_async(run)
    leave_handlers()


def leave_handlers() -> None:
    """End the process when handlers in threads would not: Python waits for every thread at its end."""
    left = [thread for thread in threading.enumerate() if thread.name.startswith(_HANDLERS)]
    for thread in left:  # those without work are about to go
        thread.join(_LAST_S / len(left))
    deaf = sum(thread.is_alive() for thread in left)
    if deaf:
        log.warning("%d handlers did not stop when told to; the process ends without them", deaf)
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


async def _several(arguments: list[str], count: int, name: str) -> int:
    """So many processes; of a named worker each has the name with its number, whichever life it is in."""
    named = [option_arguments(name=f"{name}-{n + 1}" if name else None) for n in range(count)]
    family = Family([["worker", *arguments, *each] for each in named])
    with stop_signals(family.stop):
        return await family.run()


async def _work(
    app: App,
    tasks: Tasks,
    service: Worker,
    outside: JetStream,
    stopping: Stopping,
    say_ready: Callable[[], None],
) -> None:
    owned = trigger_types(app)
    try:
        await register(app, outside)
    except NotPermitted as refused:
        log.warning("what the app defines is not registered by this worker: %s", refused.message)
    documents = outside.documents(subjects.TASK_CATALOGUE)
    await publish_tasks(documents, app.name, tasks.values())
    stopping.act = service.stop
    back = asyncio.Event()
    outside.link.on_disconnect.append(service.suspect_all)
    outside.link.on_reconnect.append(back.set)
    async with asyncio.TaskGroup() as group:
        beside = [
            group.create_task(_learn_suspects(service, outside, back)),
            group.create_task(watch_parent()),
            group.create_task(keep_external(Client(outside), owned, service.name)),
        ]
        working = group.create_task(service.run())
        waiting = group.create_task(service.ready.wait())
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if service.ready.is_set():
            say_ready()
        await asyncio.wait({working})
        for task in (*beside, waiting):
            task.cancel()


async def _learn_suspects(service: Worker, outside: JetStream, back: asyncio.Event) -> None:
    """After ``kill -9`` of the server, tickets that were answered may come again as if they were new."""
    while True:
        await back.wait()
        back.clear()
        try:
            service.suspect(await outside.queue.last_seq())
        except (OutsideError, TimeoutError):
            await asyncio.sleep(_ASK_AGAIN_S)
            back.set()


def trigger_types(app: App) -> list[Owned]:
    """The kinds of triggers that an app owns."""
    return [
        Owned(TriggerType(name=name, owner=app.name, **about), listen)
        for name, (about, listen) in app.trigger_types.items()
    ]


async def register(app: App, outside: JetStream) -> None:
    """Make the app's workflows and triggers current.

    Raises:
        DagNatsError: a definition is wrong, or the server did not take it.
    """
    client = Client(outside)
    for name, definition in app.workflows().items():
        try:
            await client.register(definition)
        except DagNatsError as problem:
            raise type(problem)(
                f"workflow {name} cannot be registered: {problem.message}"
            ) from problem
    workflows = [*app.workflows()]
    await client.keep_triggers(f"app:{app.name}", workflows, list(app.triggers.values()))


def served(app: App, names: tuple[str, ...], group: str | None) -> Tasks:
    """The tasks that this worker takes: those asked for, of its group.

    Raises:
        UnknownTask: a name is none of the app's.
    """
    for name in names:
        if name not in app.tasks:
            have = ", ".join(sorted(app.tasks)) or "none"
            raise UnknownTask(f"app {app.name} has no task {name}; it has: {have}")
    tasks = {name: task for name, task in app.tasks.items() if not names or name in names}
    if group is None:
        return tasks
    for task in tasks.values():
        if task.options.group not in ("", group):
            log.warning(
                "task %s belongs to group %s and is not served here; start a worker with --group %s",
                task.name, task.options.group, task.options.group,
            )  # fmt: skip
    return {name: task for name, task in tasks.items() if task.options.group in ("", group)}


def describe(service: Worker, tasks: Tasks, settings: Settings) -> Ready:
    """What a worker that works now says about itself."""
    return Ready(
        worker=service.name,
        nats_url=redacted(settings.url),
        tasks=sorted(tasks),
        concurrency=settings.concurrency,
        group=settings.group,
        pid=os.getpid(),
    )


def ready_text(ready: Ready) -> str:
    """``worker <name> ready: 3 tasks (a, b, c), concurrency 50, nats://…``."""
    names = ready.tasks
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
    count = f"{len(names)} task{'s' if len(names) != 1 else ''}" + (f" ({shown})" if names else "")
    group = f", group {ready.group}" if ready.group else ""
    return (
        f"worker {ready.worker} ready: {count}, concurrency {ready.concurrency}{group}, "
        f"{ready.nats_url}"
    )
