"""The code review's ledger, verdict and report."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from examples.code_review.conversation import (
    Conversation,
)
from examples.code_review.ledger import Entry, Ledger, executions, interrupted, judge, reruns
from examples.code_review.model import Message, ToolCall
from examples.code_review.report import render
from tests.examples.planted import SHOP, line_of, plant, review


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package with planted problems."""
    return plant(tmp_path)


START = datetime(2030, 1, 1, 12, tzinfo=UTC)


def history(*entries: tuple[str, int, int]) -> tuple[Entry, ...]:
    """A ledger from (what, worker, iteration), one second apart."""
    return tuple(
        Entry(what, worker, START + timedelta(seconds=number), iteration, 1)
        for number, (what, worker, iteration) in enumerate(entries)
    )


KILLED_HALFWAY = history(
    ("started", 10, 0),
    ("finished", 10, 0),
    ("started", 10, 1),
    ("killed", 10, -1),
    ("started", 20, 1),
    ("finished", 20, 1),
    ("started", 20, 2),
    ("finished", 20, 2),
)


def test_a_kill_repeats_only_what_it_interrupted():
    """The interrupted iteration has two executions, and the promise is kept."""
    verdict = judge(KILLED_HALFWAY)
    assert verdict.kept
    assert "3 finished in 4 executions" in verdict.sentence
    assert "iteration 2" in verdict.sentence
    assert interrupted(KILLED_HALFWAY) == (1,)
    assert [run.outcome for run in executions(KILLED_HALFWAY)] == [
        "finished",
        "killed",
        "finished",
        "finished",
    ]


@pytest.mark.parametrize("again", [0, 1, 2])
def test_a_finished_iteration_that_runs_again_is_caught(again: int):
    """Whichever finished iteration is started again, the verdict says that it was."""
    entries = (*KILLED_HALFWAY, *history(("started", 20, again), ("finished", 20, again)))
    assert reruns(entries) == (again,)
    verdict = judge(entries)
    assert not verdict.kept
    assert verdict.sentence == f"BROKEN: finished iterations ran again: {again + 1}."
    assert "BROKEN" in render("pkg", "r", "s", Conversation.start("pkg"), entries)


def test_a_retry_after_a_failure_is_no_rerun():
    """An iteration that failed had not finished."""
    entries = history(("started", 1, 0), ("failed", 1, 0), ("started", 1, 0), ("finished", 1, 0))
    assert judge(entries).kept
    assert interrupted(entries) == ()


def test_an_empty_ledger_proves_nothing():
    """Without a finished iteration there is no good verdict."""
    assert not judge(()).kept
    assert "ledger is empty" in render("pkg", "r", "s", Conversation.start("pkg"), ())


def test_the_ledger_notes_executions(tmp_path: Path):
    """Start and end are noted with this process's id, also when the work fails."""
    ledger = Ledger(tmp_path / "new" / "ledger.jsonl")
    assert ledger.entries() == ()
    with ledger.execution(0, 1):
        assert [entry.what for entry in ledger.entries()] == ["started"]
    with pytest.raises(ValueError, match="no"), ledger.execution(1, 2):
        raise ValueError("no")
    assert [(e.what, e.worker, e.iteration, e.attempt) for e in ledger.entries()] == [
        ("started", os.getpid(), 0, 1),
        ("finished", os.getpid(), 0, 1),
        ("started", os.getpid(), 1, 2),
        ("failed", os.getpid(), 1, 2),
    ]


async def test_the_report_shows_findings_and_history(package: Path):
    """Places, code, suggestions, the kill, the table and the verdict are all in it."""
    conversation, said = await review(package)
    text = render("pkg", "offline reviewer", said[-1].content, conversation, KILLED_HALFWAY)
    line = line_of(SHOP, "time.sleep")
    assert text.startswith("# Code review of `pkg`")
    assert f"`shop.py:{line}`" in text
    assert "```python\ntime.sleep(1)\n```" in text
    assert "**Suggestion:** Await the asynchronous form" in text
    assert "| 2 | 10 (killed), then 20 | 2 | 1.0 |" in text
    assert "| 1 | 10 | 1 | 1.0 |" in text
    assert "Worker 10 was killed with SIGKILL at 12:00:03 UTC in the middle of iteration 2" in text
    assert "Worker 20 went on from the checkpoint, with iteration 2, 1.0 s later." in text
    assert "No finished iteration ran again" in text
    assert f"| {len(said)} | (concluded) |  |" in text


def test_a_table_survives_bars_in_its_cells():
    """A bar in a search text does not make another column."""
    call = ToolCall("1", "search", '{"text": "TODO|FIXME"}')
    conversation = Conversation.start("pkg").add(Message("assistant", "look", (call,)))
    assert "search TODO\\|FIXME" in render("pkg", "r", "s", conversation, KILLED_HALFWAY)
