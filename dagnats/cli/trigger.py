"""`dagnats trigger`: schedules, subjects, webhooks: what starts runs without anyone asking."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from dagnats.cli import given, render
from dagnats.cli.completion import trigger_ids, workflow_names
from dagnats.cli.group import Commands, examples
from dagnats.cli.holding import (
    event_words,
    hold_options,
    hold_settings,
    hold_words,
    rehearsal,
    show_held,
)
from dagnats.cli.output import emit_json, json_option, open_client, run_async, url_option
from dagnats.clock import SystemClock
from dagnats.core.reader import Reader
from dagnats.core.triggers.file import read_trigger, write_trigger
from dagnats.core.triggers.model import Cron, Trigger
from dagnats.core.triggers.schedule import cron_problems, preview
from dagnats.core.views import text_of_time
from dagnats.errors import DefinitionError, RequestError
from dagnats.ids import new_trigger_id
from dagnats.limits import PREVIEW_MAX
from dagnats.triggers import FireView, TriggerView

_REFUSED = 2
_PREVIEWED = 5


def _what(function: Any) -> Any:
    """The options that say what a trigger is."""
    options = [
        click.option("--cron", metavar="EXPR", help='Five fields, or "@every 10m".'),
        click.option("--tz", metavar="ZONE", help="The schedule's time zone (default: UTC)."),
        click.option(
            "--backfill/--no-backfill", default=None, help="Make up for instants that were missed."
        ),
        click.option("--subject", help="A NATS subject; wildcards are fine."),
        click.option("--event", help="An external event, by name."),
        click.option("--webhook", metavar="PATH", help="Requests to /hooks/PATH."),
        click.option("--secret", help="Of a webhook: its requests must be signed with it."),
        click.option(
            "--overlap", help="While a run of it goes on: allow, skip, queue, cancel-running."
        ),
        click.option("--filter", "filter_", metavar="EXPR", help="amount > 100 and paid"),
        click.option("--input", "input_", metavar="JSON", help="The run's input, as a template."),
    ]
    function = hold_options(function)
    for option in reversed(options):
        function = option(function)
    return function


def _settings(options: dict[str, Any], old: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the options say, in the form of a file; ``old`` is what they change."""
    cron, webhook = options["cron"], options["webhook"]
    if (options["tz"] or options["backfill"] is not None) and not cron:
        raise click.UsageError("--tz and --backfill belong to --cron")
    if options["secret"] and not webhook:
        raise click.UsageError("--secret belongs to --webhook")
    data: dict[str, Any] = {
        "cron": {"expression": cron, "timezone": options["tz"], "backfill": options["backfill"]}
        if cron
        else None,
        "subject": options["subject"],
        "event": options["event"],
        "webhook": {"path": webhook, "secret": options["secret"]} if webhook else None,
        "overlap": options["overlap"],
        "filter": options["filter_"],
    }
    found = {key: value for key, value in data.items() if value is not None}
    if options["input_"] is not None:
        found["input"] = msgspec.json.decode(given.read_input(options["input_"]))
    return {**found, **hold_settings(options, old or {})}


def _read(data: dict[str, Any]) -> Trigger:
    reader = Reader()
    found = read_trigger(reader, "trigger", data)
    if found is None or reader.problems:
        raise DefinitionError("\n".join(map(str, reader.problems)), problems=reader.problems)
    return found


@click.group(cls=Commands, aliases={"ls": "list", "rm": "delete", "pause": "disable"})
def trigger() -> None:
    """Start runs by schedules, NATS subjects, events and webhooks."""


@trigger.command(
    epilog=examples(
        'dagnats trigger create report --cron "0 9 * * 1-5" --tz Europe/Berlin',
        'dagnats trigger create ship --event order.paid --filter "amount > 100"',
        "dagnats trigger create import --subject files.new.* --overlap queue",
        "dagnats trigger create index --event page.changed --debounce 5s --timeout 1m --key page",
        "dagnats trigger create bill --event used --batch 100 --timeout 5s --key tenant",
    )
)
@click.argument("workflow", shell_complete=workflow_names)
@click.option("--id", "id_", metavar="ID", help="The trigger's id (default: a new one).")
@_what
@url_option
@json_option
def create(workflow: str, id_: str | None, url: str | None, as_json: bool, **options: Any) -> None:
    """Have WORKFLOW started by exactly one of a schedule, a subject, an event or a webhook."""
    found = _read({"id": id_ or new_trigger_id(), "workflow_id": workflow, **_settings(options)})
    view = run_async(_create, found, url)
    _tell(view, "created", as_json)


async def _create(found: Trigger, url: str | None) -> TriggerView:
    async with open_client(url) as client:
        if any(each.id == found.id for each in await client.triggers()):
            text = f'trigger "{found.id}" exists; `dagnats trigger update {found.id}` changes it'
            raise RequestError(text, trigger=found.id)
        await client.set_trigger(found)
        return await client.view_trigger(found)


def _tell(view: TriggerView, verb: str, as_json: bool) -> None:
    if as_json:
        emit_json(view)
        return
    click.echo(f"{verb} trigger {view.id}: {_on(view)} → {view.workflow}")


def _on(view: TriggerView) -> str:
    first, *rest = (str(value) for value in view.on.values())
    zone = f" ({view.on['timezone']})" if "timezone" in view.on else ""
    return f"{view.kind} {first}{zone}" + (" …" if rest and not zone else "") + hold_words(view)


@trigger.command(
    epilog=examples('dagnats trigger update nightly --cron "0 3 * * *"', "dagnats trigger update in --filter paid")
)  # fmt: skip
@click.argument("trigger_id", metavar="TRIGGER", shell_complete=trigger_ids)
@click.option("--workflow", help="Start another workflow.", shell_complete=workflow_names)
@_what
@url_option
@json_option
def update(
    trigger_id: str, workflow: str | None, url: str | None, as_json: bool, **options: Any
) -> None:
    """Change TRIGGER; what is not named stays."""
    view = run_async(_update, trigger_id, workflow, options, url)
    _tell(view, "updated", as_json)


async def _update(
    trigger_id: str, workflow: str | None, options: dict[str, Any], url: str | None
) -> TriggerView:
    async with open_client(url) as client:
        before = await client.trigger(trigger_id)
        old = write_trigger(before)
        if isinstance(before.on, Cron):
            options["cron"] = options["cron"] or before.on.expression
            options["tz"] = before.on.timezone if options["tz"] is None else options["tz"]
            if options["backfill"] is None:
                options["backfill"] = before.on.backfill
        new = {**old, **_settings(options, old)}
        if workflow:
            new["workflow_id"] = workflow
        changed = _read(new)
        await client.set_trigger(changed)
        return await client.view_trigger(changed)


@trigger.command("list", epilog=examples("dagnats trigger list"))
@url_option
@json_option
def list_(url: str | None, as_json: bool) -> None:
    """List the triggers, with what they wait for and when they are due."""
    rows = run_async(_listed, url)
    if as_json:
        emit_json({"triggers": rows, "total": len(rows)})
        return
    if not rows:
        click.echo("no triggers yet; `dagnats trigger create --help`", err=True)
        return
    made = render.table("TRIGGER", "WORKFLOW", "WAITS FOR", "NEXT", "OVERLAP", "STATE", "KEPT BY")
    for row in rows:
        state = "enabled" if row.enabled else "disabled"
        state += f", holds {row.held.events}" if row.held.events else ""
        made.add_row(
            row.id, row.workflow, _on(row), row.next_at or "–", row.overlap, state, row.source or "–"
        )  # fmt: skip
    render.show(made)


async def _listed(url: str | None) -> list[TriggerView]:
    async with open_client(url) as client:
        return [await client.view_trigger(each) for each in await client.triggers()]


@trigger.command(epilog=examples("dagnats trigger show index"))
@click.argument("trigger_id", metavar="TRIGGER", shell_complete=trigger_ids)
@url_option
@json_option
def show(trigger_id: str, url: str | None, as_json: bool) -> None:
    """What TRIGGER waits for, when it is due, what runs of it, and which events it holds."""

    async def ask() -> TriggerView:
        async with open_client(url) as client:
            return await client.view_trigger(await client.trigger(trigger_id))

    view = run_async(ask)
    if as_json:
        emit_json(view)
        return
    state = "enabled" if view.enabled else "disabled"
    click.echo(f"{view.id} ({state}): {_on(view)} → {view.workflow}")
    if view.next_at:
        click.echo(f"due next at {view.next_at}")
    if view.overlap != "allow":
        runs = ", ".join(view.running) or "nothing"
        click.echo(f"overlap {view.overlap}: {runs} runs, {view.waiting} fires wait")
    if view.hold:
        show_held(view)


@trigger.command(epilog=examples("dagnats trigger enable nightly"))
@click.argument("trigger_id", metavar="TRIGGER", shell_complete=trigger_ids)
@url_option
@json_option
def enable(trigger_id: str, url: str | None, as_json: bool) -> None:
    """Let TRIGGER fire again; what happened meanwhile starts nothing."""
    _switch(trigger_id, url, enabled=True, as_json=as_json)


@trigger.command(epilog=examples("dagnats trigger disable nightly"))
@click.argument("trigger_id", metavar="TRIGGER", shell_complete=trigger_ids)
@url_option
@json_option
def disable(trigger_id: str, url: str | None, as_json: bool) -> None:
    """Pause TRIGGER. It stays so when a worker or a file defines it again."""
    _switch(trigger_id, url, enabled=False, as_json=as_json)


def _switch(trigger_id: str, url: str | None, *, enabled: bool, as_json: bool) -> None:
    async def ask() -> bool:
        async with open_client(url) as client:
            return await client.enable_trigger(trigger_id, enabled=enabled)

    changed, state = run_async(ask), "enabled" if enabled else "disabled"
    if as_json:
        emit_json({"id": trigger_id, "enabled": enabled, "changed": changed})
    else:
        click.echo(f"trigger {trigger_id} is {state}" + ("" if changed else " already"))


@trigger.command(epilog=examples("dagnats trigger delete nightly --force"))
@click.argument("trigger_id", metavar="TRIGGER", shell_complete=trigger_ids)
@click.option("--force", is_flag=True, help="Do not ask, and delete what a file or an app keeps.")
@url_option
@json_option
def delete(trigger_id: str, force: bool, url: str | None, as_json: bool) -> None:
    """Delete TRIGGER; its history and its runs stay."""
    run_async(_delete, trigger_id, force, url)
    if as_json:
        emit_json({"id": trigger_id, "deleted": True})
    else:
        click.echo(f"deleted trigger {trigger_id}")


async def _delete(trigger_id: str, force: bool, url: str | None) -> None:
    async with open_client(url) as client:
        found = await client.trigger(trigger_id)
        if found.source and not force:
            raise RequestError(
                f"trigger {trigger_id} is kept by {found.source}, which would define it again; remove it "
                "there, `dagnats trigger disable` it, or add --force",
                trigger=trigger_id,
            )
        await client.delete_trigger(trigger_id)


@trigger.command(epilog=examples("dagnats trigger fire nightly"))
@click.argument("trigger_id", metavar="TRIGGER", shell_complete=trigger_ids)
@click.argument("data", metavar="[JSON|-|@FILE]", required=False)
@url_option
@json_option
def fire(trigger_id: str, data: str | None, url: str | None, as_json: bool) -> None:
    """Fire the schedule, webhook or external TRIGGER by hand, now."""
    raw = given.read_input(data)

    async def ask() -> FireView:
        async with open_client(url) as client:
            return await client.fire_trigger(trigger_id, raw)

    view = run_async(ask)
    if as_json:
        emit_json(view)
    elif view.skipped:
        click.echo(f"trigger {trigger_id} started nothing: {view.skip_reason}")
    elif view.status == "held":
        click.echo(
            f"trigger {trigger_id} holds it; `dagnats trigger show {trigger_id}` says until when"
        )
    elif view.status == "pending":
        click.echo(
            f"trigger {trigger_id} was told to fire; no scheduler has come to it yet", err=True
        )
    else:
        click.echo(view.run_id)
    sys.exit(_REFUSED if view.skipped else 0)


@trigger.command(epilog=examples("dagnats trigger history nightly --limit 50"))
@click.argument("trigger_id", metavar="TRIGGER", shell_complete=trigger_ids)
@click.option(
    "--limit", type=int, default=10, show_default=True, help="At most so many, up to 500."
)
@url_option
@json_option
def history(trigger_id: str, limit: int, url: str | None, as_json: bool) -> None:
    """The newest fires of TRIGGER, and what became of each."""

    async def ask() -> list[FireView]:
        async with open_client(url) as client:
            fires = await client.fires(trigger_id, limit)
            if not fires:
                await client.trigger(trigger_id)  # is there one at all?
            return fires

    rows = run_async(ask)
    if as_json:
        emit_json({"fires": rows, "returned": len(rows)})
        return
    if not rows:
        click.echo(f"trigger {trigger_id} has not fired yet", err=True)
        return
    made = render.table("FIRED AT", "BY", "EVENTS", "RUN", "STATUS", "DURATION")
    for row in rows:
        spent = render.took(row.duration_ms) if row.duration_ms is not None else "–"
        status = f"skipped: {row.skip_reason}" if row.skipped else row.status
        status += f" ({row.note})" if row.note else ""
        made.add_row(row.fired_at, row.source, event_words(row), row.run_id or "–", status, spent)
    render.show(made)


@trigger.command(
    epilog=examples(
        'dagnats trigger test "0 9 * * 1-5" --tz Europe/Berlin',
        "dagnats trigger test --debounce 1s --timeout 3s --events 0s,0.5s,1.2s,9s",
    )
)
@click.argument("expression", required=False)
@click.option("--cron", help="The expression, instead of the argument.")
@click.option("--tz", default="", metavar="ZONE", help="Its time zone (default: UTC).")
@click.option(
    "--count",
    type=click.IntRange(1, PREVIEW_MAX),
    default=_PREVIEWED,
    show_default=True,
    help="How many instants.",
)
@hold_options
@click.option(
    "--events", metavar="TIMES", help="When events come, for --debounce or --batch: 0s,0.5s,9s"
)
@json_option
def test(
    expression: str | None,
    cron: str | None,
    tz: str,
    count: int,
    events: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show when a cron EXPRESSION is due next, or what --debounce or --batch make of events; needs no server."""
    text = expression or cron
    holds = options["debounce"] or options["batch"]
    if holds and events and not text:
        rehearsal(options, events, as_json)
        return
    if holds or events:
        raise click.UsageError(
            "--events and one of --debounce and --batch belong together, without a schedule"
        )
    if not text or (expression and cron):
        raise click.UsageError('give one expression, such as "0 9 * * 1-5"')
    schedule = Cron(text, tz)
    for field, what, cure in cron_problems(schedule):
        raise DefinitionError(f"{field}: {what}; {cure}")
    times = [text_of_time(ms) for ms in preview(schedule, SystemClock().wall_ms(), count)]
    if as_json:
        emit_json({"expression": text, "timezone": tz or "UTC", "next": times})
        return
    for each in times:
        click.echo(each)
