"""How runs and their events read."""

import io

import msgspec
import pytest
from msgspec import Raw
from rich.console import Console
from rich.text import Text

from dagnats.cli import render
from dagnats.cli.watch import Tokens, visible
from dagnats.core.views import ErrorView, EventView, RunView, StepView
from dagnats.listing import Listing, RunRow
from dagnats.streaming import ChunkView, Superseded

NOW = 1_800_000_000_000  # 2027-01-15T08:00:00Z


def event(type, **data):
    """An event with its data."""
    place = {key: data.pop(key) for key in ("step", "attempt", "iteration") if key in data}
    return EventView(
        seq=7, at="2027-01-15T08:00:00.123Z", author="worker", type=type,
        data=Raw(msgspec.json.encode({"type": type, **data})), **place,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ms", "text"),
    [(None, ""), (0, "0ms"), (999, "999ms"), (1_250, "1.2s"), (59_999, "60.0s"), (184_500, "3m4s")],
)
def test_durations_read_well(ms, text):
    """Three digits at the most."""
    assert render.took(ms) == text


@pytest.mark.parametrize(
    ("when", "text"),
    [
        ("2027-01-15T08:00:00.000Z", "0s ago"),
        ("2027-01-15T07:58:59.000Z", "1m ago"),
        ("2027-01-14T06:00:00.000Z", "1d ago"),
        ("2027-01-15T08:00:09.000Z", "0s ago"),
        ("", ""),
    ],
)
def test_how_long_ago(when, text):
    """In the largest unit; clocks that disagree are no negative time."""
    assert render.ago(when, NOW) == text


def test_a_step_with_all_its_facts():
    """Attempt n of m, iteration i of the bound, duration, worker."""
    step = StepView(
        id="write", kind="agent_loop", task="draft", status="running", attempt=2, attempts=3,
        iteration=4, max_iterations=10, duration_ms=1_500, worker="worker-1",
    )  # fmt: skip

    assert render.step_line(step, None).plain == (
        "● write  running · draft · iteration 4/10 · attempt 2 of 3 · 1.5s · on worker-1"
    )


def test_a_failed_step_shows_the_first_line_of_its_error():
    """And only that."""
    error = ErrorView("it broke\nTraceback and so on")
    step = StepView(id="a", kind="task", task="a", status="failed", attempt=1, error=error)

    assert render.step_line(step, None).plain == "✗ a  failed  it broke"


def test_events_in_one_line_each():
    """Nonces and tickets are never shown; an end is short; errors are their first line."""
    ended = event(
        "run.closed", status="completed", workflow="w", output=6, started_ms=1, closed_ms=2
    )
    failed = event(
        "step.failed", step="a", attempt=2, error="no\nmore", ticket="a/2/0", nonce="n", ran_ms=5
    )
    went_on = event("step.continued", step="a", iteration=1, checkpoint={"k": "x" * 500})

    assert render.event_line(ended).plain.split() == [
        "08:00:00.123", "run.closed", "status=completed", "output=6",
    ]  # fmt: skip
    assert render.event_line(failed).plain.endswith("a attempt 2  5ms  no")
    assert "iteration 2" in render.event_line(went_on).plain
    assert len(render.event_line(went_on).plain) < 250
    assert "x" * 500 in render.event_line(went_on, full=True).plain


def test_an_event_that_cannot_be_read_is_shown():
    """Whatever is in the log."""
    odd = EventView(
        seq=1, at="2027-01-15T08:00:00.123Z", author="worker", type="unreadable", data=Raw(b"[1")
    )

    assert "unreadable" in render.event_line(odd).plain


def test_a_footer_only_when_something_is_left_out():
    """The total, when it is known."""
    whole = Listing(runs=[], total=0, returned=0, truncated=False)
    known = Listing(runs=[], total=90, returned=50, truncated=True)
    unknown = Listing(runs=[], total=None, returned=50, truncated=True)

    assert render.listing_footer(whole) == ""
    assert "50 of 90" in render.listing_footer(known)
    assert "there are more" in render.listing_footer(unknown)


def test_a_run_without_its_definition():
    """Its steps are unknown, its state is not."""
    run = RunView(run_id="r", workflow="w", status="failed", error=ErrorView("gone\nx"))

    assert render.run_header(run).plain == "r  w\n✗ failed\ngone"
    assert render.step_lines(run, []) == []


def test_rows_that_do_not_fit_are_counted():
    """The step at work stays in sight."""
    rows = [Text(str(number)) for number in range(100)]
    statuses = ["completed"] * 60 + ["running"] + ["pending"] * 39
    shown = [row.plain for row in visible(rows, statuses, 12)]

    assert len(shown) == 12
    assert "60" in shown
    assert shown[0] == "… 57 above"
    assert shown[-1] == "… 33 below"
    assert visible(rows, statuses, 100) == rows
    assert [row.plain for row in visible(rows, ["completed"] * 100, 12)][-1] == "99"


def test_tokens_are_joined_and_the_old_ones_forgotten():
    """By step; what is no text is JSON on a line of its own."""
    tokens = Tokens()
    for number in range(10_000):
        tokens.add(ChunkView(step="a", attempt=1, iteration=0, n=number, data="word "))
    tokens.add(ChunkView(step="b", attempt=1, iteration=0, n=0, data={"k": 1}))
    first, second = tokens.panels(80)

    assert len(first.renderable.plain) < 4_000
    assert str(first.title) == "a"
    assert second.renderable.plain.strip() == '{"k":1}'


def test_superseded_tokens_are_taken_back():
    """Those of the iteration that is repeated; what was said before it stays."""
    tokens = Tokens()
    for iteration, word in ((0, "kept "), (1, "void "), (1, "void ")):
        tokens.add(ChunkView(step="a", attempt=1, iteration=iteration, n=0, data=word))
    tokens.add(Superseded(step="a", attempt=2, iteration=1))
    tokens.add(ChunkView(step="a", attempt=2, iteration=1, n=0, data="new"))

    assert tokens.panels(80)[0].renderable.plain.strip() == "kept new"


@pytest.mark.parametrize("terminal", [True, False])
def test_what_runs_say_is_shown_and_not_obeyed(terminal, monkeypatch, capsys):
    """Markup, emoji codes and control characters of an error neither fail, nor vanish, nor reach the terminal."""
    made = Console(markup=False, emoji=False, force_terminal=terminal, width=200)
    monkeypatch.setattr(render, "console", lambda: made)
    said = "closing [/] [red] :smile: \x1b]0;title\x07\x9b2J"
    row = RunRow(
        run_id="r", workflow="w", status="failed", created_at="", error=ErrorView(message=said)
    )
    render.show(render.runs_table(Listing(runs=[row], total=1, returned=1, truncated=False), NOW))
    render.show(Text(said))
    shown = capsys.readouterr().out

    assert shown.count("closing [/] [red] :smile: �]0;title�2J") == 2
    assert "\x07" not in shown
    assert "\x9b" not in shown


def test_a_stream_may_have_any_name():
    """The name of a step that a piece claims to be from is no markup."""
    tokens = Tokens()
    tokens.add(ChunkView(step="[/]", attempt=1, iteration=0, n=0, data="hello"))
    out = Console(width=40, file=io.StringIO(), markup=False)
    for panel in tokens.panels(40):
        out.print(panel)

    assert "[/]" in out.file.getvalue()
