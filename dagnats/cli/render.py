"""Runs and workflows as people read them: text, tables and trees. No I/O but ``show``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import click
import msgspec
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from dagnats.cli.kinds import json_text, words_of
from dagnats.cli.layout import Line
from dagnats.cli.output import console
from dagnats.core.durations import text_of_ms
from dagnats.core.limiting import gate_name
from dagnats.core.views import ErrorView, EventView, RunView, StepView, UsageView
from dagnats.listing import Listing, RunRow

_WIDE: Final = 200  # of what is not a terminal: nothing is cut
_DATA_MAX: Final = 160
_DETAIL_MAX: Final = 60
_SECOND_MS: Final = 1_000
_MINUTE_MS: Final = 60_000
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

GLYPHS: Final = {
    "pending": ("·", "dim"),
    "queued": ("○", "cyan"),
    "running": ("●", "bold cyan"),
    "waiting": ("◔", "yellow"),
    "completed": ("✓", "green"),
    "recovered": ("✓", "yellow"),
    "skipped": ("–", "dim"),
    "failed": ("✗", "bold red"),
    "cancelled": ("⊘", "magenta"),
    "compensated": ("↶", "yellow"),
    "compensate_failed": ("✗", "bold red"),
    "continued": ("→", "cyan"),
    "budget_exceeded": ("$", "bold yellow"),
}


def harmless(text: str) -> str:
    """A text without control characters: what a run says must not steer the terminal."""
    return _CONTROL.sub("�", text)


class Harmless:
    """What it is made of, shown without control characters."""

    def __init__(self, what: RenderableType) -> None:
        self._what = what

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Its segments, cleaned."""
        for segment in console.render(self._what, options):
            if segment.control:
                yield segment
            else:
                yield Segment(harmless(segment.text), segment.style)


def show(what: RenderableType) -> None:
    """Print; on a terminal within its width, anywhere else uncut."""
    out = console()
    if out.is_terminal:
        out.print(Harmless(what), highlight=False)
    elif isinstance(what, Text):
        click.echo(harmless(what.plain))
    else:
        wide = Console(width=_WIDE, highlight=False, markup=False, emoji=False)
        wide.print(Harmless(what))


def took(ms: int | None) -> str:
    """A duration for reading: ``85ms``, ``1.2s``, ``3m4s``."""
    if ms is None:
        return ""
    if ms < _SECOND_MS:
        return f"{ms}ms"
    if ms < _MINUTE_MS:
        return f"{ms / _SECOND_MS:.1f}s"
    return text_of_ms(ms // _SECOND_MS * _SECOND_MS)


def ago(when: str, now_ms: int) -> str:
    """How long ago a time was: ``12s ago``, ``3h ago``."""
    if not when:
        return ""
    seconds = max(0, now_ms // 1_000 - int(datetime.fromisoformat(when).timestamp()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return f"{seconds}s ago"


def status_text(status: str) -> Text:
    """A status with its glyph and colour."""
    glyph, style = GLYPHS.get(status, ("?", ""))
    return Text(f"{glyph} {status}", style)


def table(*columns: str) -> Table:
    """An empty table in the style of this command line."""
    made = Table(box=None, pad_edge=False, header_style="bold dim", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        made.add_column(column, no_wrap=number == 0, overflow="fold" if number == 0 else "ellipsis")
    return made


# -- runs ------------------------------------------------------------------------------------------


def runs_table(listing: Listing, now_ms: int) -> Table:
    """A list of runs, one line each."""
    made = table("RUN", "WORKFLOW", "STATUS", "STARTED", "TOOK", "ERROR")
    for column in made.columns[:-1]:
        column.no_wrap = True
    for row in listing.runs:
        made.add_row(row.run_id, row.workflow, status_text(row.status), *_row_end(row, now_ms))
    return made


def _row_end(row: RunRow, now_ms: int) -> tuple[str, str, Text]:
    """The last cells. The error is what gives way on a narrow terminal: cut, never wrapped."""
    error = Text(_first_line(row.error), no_wrap=True, overflow="ellipsis")
    return ago(row.created_at, now_ms), took(row.duration_ms), error


def listing_footer(listing: Listing) -> str:
    """What a list leaves out, if anything."""
    if not listing.truncated:
        return ""
    of = f" of {listing.total}" if listing.total is not None else "; there are more"
    return f"the newest {listing.returned}{of}: see more with --limit, fewer with --workflow, --status or --since"


def run_header(run: RunView) -> Text:
    """A run in one or two lines: what it is, how far, why it ended."""
    text = Text.assemble(
        (run.run_id, "bold"), "  ", run.workflow, (f" v{run.version}" if run.version else "", "dim")
    )
    text.append("\n").append(status_text(run.status))
    if run.steps:
        text.append(f"  {run.done}/{len(run.steps)} steps", "dim")
    if run.duration_ms is not None:
        text.append(f"  {took(run.duration_ms)}", "dim")
    for name, value in (("started", run.created_at), ("deadline", run.deadline_at)):
        text.append(f"  {name} {value}" if value else "", "dim")
    for name, value in run.metadata.items():
        text.append(f"  {name}={value}", "dim")
    text.append("".join(f"  #{tag}" for tag in run.tags), "dim")
    for name in ("parent", "previous", "successor", "forked"):
        value = getattr(run, name)
        text.append(f"  {name} {value}" if value else "", "dim")
    if run.usage or run.budget:
        text.append("\n").append(spent_line(run.usage, run.budget), "dim")
    if run.error:
        text.append("\n").append(_first_line(run.error), "red")
    return text


def spent_line(usage: UsageView | None, budget: Mapping[str, Any]) -> str:
    """What was used, and of how much."""
    used = usage or UsageView()
    tokens = used.input_tokens + used.output_tokens
    parts = [
        _of("${:,.4g}", used.usd, budget.get("usd")),
        _of("{:,} tokens", tokens, budget.get("tokens")),
        _of("{:,} iterations", used.iterations, budget.get("iterations")),
        f"at most {budget['wall']}" if budget.get("wall") else "",
    ]
    return "used " + ", ".join(part for part in parts if part)


def _of(form: str, used: float, most: float | None) -> str:
    if most:
        return f"{form.format(used)} of {form.format(most)}"
    return form.format(used) if used else ""


def step_lines(run: RunView, lines: Sequence[Line]) -> list[Text]:
    """The steps of a run, drawn where ``lines`` say; in file order when they say nothing."""
    drawn = {line.step.id: line for line in lines}
    views = {view.id: view for view in run.steps}
    if not lines:
        return [step_line(view, None) for view in run.steps]
    made: list[Text] = []
    for name, line in drawn.items():
        if name in views:
            made.append(step_line(views[name], line))
            made += [owned_line(view) for view in run.steps if view.owner == name]
    return made


def owned_line(view: StepView) -> Text:
    """A step that another one brought into the run, below it."""
    return Text.assemble(("    ↳ ", "dim"), step_line(view, None))


def step_line(step: StepView, line: Line | None) -> Text:
    """One step: its glyph, its name, and how it stands."""
    glyph, style = GLYPHS.get(step.status, ("?", ""))
    text = Text.assemble((line.prefix if line else "", "dim"), (glyph, style), " ", step.id)
    facts = " · ".join(_step_facts(step))
    text.append(f"  {facts}" if facts else "", "dim")
    if line and line.note and step.status == "pending":
        text.append(f"  ({line.note})", "dim")
    if step.error and step.status not in ("completed", "skipped"):
        text.append(f"  {_first_line(step.error)}", "red")
    return text


def _step_facts(step: StepView) -> Iterable[str]:
    if step.status not in ("completed", "pending"):
        yield step.status
    if step.task != step.id and step.task:
        yield step.task
    if step.max_iterations and step.iteration:
        yield f"iteration {step.iteration}/{step.max_iterations}"
    if step.attempt > 1 or (step.attempts > 1 and step.error):
        yield f"attempt {step.attempt} of {step.attempts}"
    yield from _brought_along(step)
    if step.due_at and step.status == "waiting":
        yield f"goes on at {step.due_at[11:19]}"
    if step.duration_ms is not None:
        yield took(step.duration_ms)
    if step.worker:
        yield f"on {step.worker}"
    if step.detail:
        said = bytes(step.detail).decode(errors="replace")
        yield said if len(said) <= _DETAIL_MAX else f"{said[:_DETAIL_MAX]}…"


def _brought_along(step: StepView) -> Iterable[str]:
    """Items, what is waited for, the child run."""
    if step.items:
        lost = f", {step.items.lost} failed" if step.items.lost else ""
        yield f"{step.items.done}/{step.items.total}{lost}"
    if step.waits_for:
        yield f"for {step.waits_for}"
    if step.child_run_id:
        yield f"run {step.child_run_id}"


def _first_line(error: ErrorView | None) -> str:
    return error.message.strip().split("\n")[0] if error else ""


def error_report(run: RunView) -> Iterable[Text]:
    """Every error of a run in full, with its traceback."""
    for step in run.steps:
        if step.error:
            head = f"{step.id}, attempt {step.attempt} of {step.attempts}"
            text = Text.assemble(
                (head, "bold"), (f" ({step.error.failure})" if step.error.failure else "", "dim")
            )
            kind = f"{step.error.type}: " if step.error.type else ""
            text.append("\n  ").append(kind + step.error.message, "red")
            for row in step.error.traceback.rstrip().split("\n") if step.error.traceback else ():
                text.append(f"\n  {row}", "dim")
            yield text


# -- events ----------------------------------------------------------------------------------------


_QUIET: Final = frozenset(
    {"type", "ticket", "nonce", "worker", "ran_ms", "definition", "start", "subject", "decision"}
)
_CLOSED_QUIET: Final = frozenset({"workflow", "started_ms", "closed_ms"})


def event_line(event: EventView, *, full: bool = False) -> Text:
    """One event of a history in one line; with ``full``, its data uncut."""
    data = _members(event)
    text = Text.assemble(
        (event.at[11:23], "dim"), "  ", (f"{event.type:<20}", _event_style(event, data))
    )
    if event.step:
        text.append(f"  {event.step}", "bold")
        text.append("".join(f" {word}" for word in _place(event)), "dim")
    ran = data.get("ran_ms")
    if ran is not None:
        text.append(f"  {took(int(ran))}", "dim")
    quiet = _QUIET | _CLOSED_QUIET if event.type == "run.closed" else _QUIET
    rest = {key: value for key, value in data.items() if key not in quiet}
    if "gate" in rest:
        rest["gate"] = ":".join(gate_name(str(rest["gate"])))
    if full:
        text.append(f"  #{event.seq} {event.author}", "dim")
        text.append(f"  {bytes(event.data).decode(errors='replace')}", "dim")
    elif event.type != "step.dispatched" and rest:
        body = _short(rest)
        text.append(f"  {body}", "red" if "error" in rest else "dim")
    return text


def _place(event: EventView) -> Iterable[str]:
    if event.iteration:
        yield f"iteration {event.iteration + 1}"
    if event.attempt > 1:
        yield f"attempt {event.attempt}"


def _event_style(event: EventView, data: dict[str, Any]) -> str:
    outcome = (
        str(data.get("status", "")) if event.type == "run.closed" else event.type.partition(".")[2]
    )
    styles = {"succeeded": "green", "failed": "red", "continued": "cyan", "dispatched": "dim"}
    return styles.get(outcome) or GLYPHS.get(outcome, ("", "bold"))[1]


def _members(event: EventView) -> dict[str, Any]:
    try:
        return msgspec.json.decode(event.data, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def _short(rest: dict[str, Any]) -> str:
    error = rest.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    if error:
        body = str(error).strip().split("\n")[0]
        body = f"{rest['status']}: {body}" if "status" in rest else body
    else:
        body = " ".join(f"{key}={json_text(value)}" for key, value in rest.items())
    return body if len(body) <= _DATA_MAX else body[: _DATA_MAX - 1] + "…"


# -- workflows -------------------------------------------------------------------------------------


def workflow_lines(lines: Sequence[Line]) -> Iterable[Text]:
    """The steps of a workflow, drawn as its graph."""
    for line in lines:
        step = line.step
        text = Text.assemble((line.prefix, "dim"), (step.id, "bold"))
        facts = [step.task] if step.task not in ("", step.id) else []
        facts += words_of(step)
        if line.note:
            facts.append(line.note)
        yield text.append(f"  {' · '.join(facts)}" if facts else "", "dim")
