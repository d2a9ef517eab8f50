"""What `dagnats trigger` says of events that are held back: its options, what is held, and a rehearsal."""

from __future__ import annotations

from typing import Any

import click
from msgspec import UNSET

from dagnats.cli import render
from dagnats.cli.output import emit_json
from dagnats.core.durations import parse_ms, text_of_ms
from dagnats.core.reader import Reader
from dagnats.core.triggers.file import read_hold
from dagnats.core.triggers.model import External, Trigger
from dagnats.core.triggers.validate import trigger_problems
from dagnats.errors import DefinitionError
from dagnats.holding import rehearse
from dagnats.limits import PREVIEW_MAX
from dagnats.triggers import FireView, TriggerView

_OFF = "off"


def hold_options(function: Any) -> Any:
    """The options that say how events are held back."""
    options = [
        click.option(
            "--debounce", metavar="PERIOD", help='Start when no event has come for so long ("off": do not).'
        ),
        click.option("--batch", metavar="N", help='Collect so many events for one run ("off": do not).'),
        click.option(
            "--timeout", metavar="DURATION", help="The longest that --debounce or --batch hold an event."
        ),
        click.option("--key", metavar="PATH", help="Debounce or collect each value in the data by itself."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def hold_settings(options: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """What the options say, in the form of a file; ``old`` is what they change."""
    told = {kind: options[kind] for kind in ("debounce", "batch") if options[kind] is not None}
    rest = {name: options[name] for name in ("timeout", "key") if options[name] is not None}
    wanted = {kind: value for kind, value in told.items() if value != _OFF}
    if len(wanted) > 1:
        raise click.UsageError("--debounce and --batch contradict; give one")
    if told and not wanted:
        return {"debounce": None, "batch": None}
    kind = next(iter(wanted), next((kind for kind in ("debounce", "batch") if old.get(kind)), ""))
    if not kind:
        if rest:
            raise click.UsageError("--timeout and --key belong to --debounce or --batch")
        return {}
    own: dict[str, Any] = {}
    if wanted:
        value = wanted[kind]
        own = {"period": value} if kind == "debounce" else {"max_size": _number(value)}
    both = {"debounce": None, "batch": None}
    return {**both, kind: {**(old.get(kind) or {}), **own, **rest}}


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise click.UsageError(f'--batch: "{text}" is no whole number') from None


def hold_words(view: TriggerView) -> str:
    """How a trigger holds events back, in a few words."""
    for kind, hold in view.hold.items():
        how = (
            f"debounced {hold.get('period')}"
            if kind == "debounce"
            else f"batches of {hold.get('max_size')}"
        )
        longest = f" within {hold['timeout']}" if "timeout" in hold else ""
        return f", {how}{longest}" + (f" by {hold['key']}" if "key" in hold else "")
    return ""


def event_words(fire: FireView) -> str:
    """How many events a fire stands for, and of which key."""
    return f"{fire.events}" + (f" of {fire.key}" if fire.key else "") if fire.events else "–"


def show_held(view: TriggerView) -> None:
    """What a trigger holds now."""
    held = view.held
    if not held.events:
        click.echo("holds nothing")
        return
    events = f"{held.events} event" + ("s" if held.events > 1 else "")
    keys = f" of {held.keys} keys" if held.keys > 1 else ""
    click.echo(f"holds {events}{keys}; due first:")
    made = render.table("KEY", "EVENTS", "SINCE", "DUE")
    for each in held.first:
        made.add_row(each.key or "–", str(each.events), each.since, each.due_at)
    render.show(made)


def rehearsal(options: dict[str, Any], events: str, as_json: bool) -> None:
    """When events that come at these times would start runs."""
    data, reader = hold_settings(options, {}), Reader()
    hold = read_hold(reader, "trigger", data)
    meant = Trigger(id="test", workflow="test", on=External("test"), hold=hold)
    problems = [*reader.problems, *trigger_problems(meant)]
    if hold is UNSET or problems:
        raise DefinitionError("\n".join(map(str, problems)), problems=problems)
    try:
        times = [parse_ms(each) for each in events.replace(",", " ").split()]
    except ValueError as error:
        raise click.UsageError(f"--events: {error}") from error
    if not 1 <= len(times) <= PREVIEW_MAX:
        raise click.UsageError(f"--events: give 1 to {PREVIEW_MAX} times, such as 0s,0.2s,3s")
    runs = rehearse(hold, times)
    if as_json:
        emit_json({"runs": [{"at": text_of_ms(at), "events": numbers} for at, numbers in runs]})
        return
    for at_ms, numbers in runs:
        click.echo(f"{text_of_ms(at_ms):>8}  a run with event {', '.join(map(str, numbers))}")
