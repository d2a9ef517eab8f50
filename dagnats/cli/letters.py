"""Dead letters as people read them: a table, a report, a line for each thing done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.table import Table
from rich.text import Text

from dagnats.cli import render
from dagnats.dead import Discarded, Replayed, Restored, Watched
from dagnats.letters import LetterListing, LetterRow, LetterView
from dagnats.wire import subjects

_BODY_MAX: Final = 4_000  # characters; with --json everything is shown
_RUN_WORDS: Final = frozenset({"Run-Id", "Step-Id", "Task", "Workflow", "Error", "Failure"})


def letters_table(listing: LetterListing, now_ms: int) -> Table:
    """A list of dead letters, one line each."""
    made = render.table("SEQ", "RUN", "STEP", "TASK", "FAILURE", "TRIES", "GIVEN UP", "ERROR")
    for column in made.columns[:-1]:
        column.no_wrap = True
    for row in listing.letters:
        error = Text(row.error, no_wrap=True, overflow="ellipsis")
        tries = str(row.attempts or "")
        made.add_row(
            str(row.sequence), row.run_id, row.step_id, row.task, row.failure, tries,
            render.ago(row.timestamp, now_ms), error,
        )  # fmt: skip
    return made


def letters_footer(listing: LetterListing) -> str:
    """What a list leaves out, if anything."""
    if not listing.truncated:
        return ""
    of = f" of {listing.total}" if listing.total is not None else "; there are more"
    return f"the newest {listing.returned}{of}: see more with --limit or --all, fewer with --run or --task"


def letter_report(view: LetterView) -> Iterable[Text]:
    """A dead letter in full: what it is about, why, its headers, its body, and what to do."""
    row = view.letter
    yield _head(row)
    if row.error:
        yield Text(row.error, "red")
    if row.headers:
        yield Text("\nheaders:")
    for name, value in row.headers.items():
        if name.removeprefix(subjects.DLQ_PREFIX) not in _RUN_WORDS:
            yield Text(f"  {name}: {value}", "dim")
    whole = "" if row.body_preserved else ", not whole"
    yield Text(f"\nbody ({view.size_bytes:,} bytes{whole}):")
    yield Text(_cut((view.body_base64 or bytes(view.body)).decode(errors="replace")))
    yield Text(f"\n{view.advice[:1].upper()}{view.advice[1:]}.")


def _head(row: LetterRow) -> Text:
    text = Text.assemble((f"dead letter {row.sequence}", "bold"))
    for name, value in (
        ("run", row.run_id),
        ("step", row.step_id),
        ("task", row.task),
        ("workflow", row.workflow),
    ):
        text.append(f"  {name} {value}" if value else "")
    facts = [row.failure, f"{row.attempts} attempts" if row.attempts > 1 else "", row.timestamp]
    return text.append("\n").append(" · ".join(fact for fact in facts if fact), "dim")


def _cut(text: str) -> str:
    if len(text) <= _BODY_MAX:
        return text
    return f"{text[:_BODY_MAX]}… ({len(text) - _BODY_MAX:,} more characters; --json has all)"


def replayed_line(done: Replayed) -> str:
    """A run that goes on."""
    text = f"run {done.run_id} goes on at step {done.step_id} ({_numbered(done.sequences)})"
    return f"{text}; kept, as no work of it: {_numbered(done.left)}" if done.left else text


def _numbered(sequences: list[int]) -> str:
    word = "dead letter" if len(sequences) == 1 else "dead letters"
    return f"{word} {', '.join(map(str, sequences))}"


def discarded_line(done: Discarded | Restored) -> str:
    """A letter that is gone, or back."""
    if isinstance(done, Restored):
        return f"dead letter {done.was} is back, as {done.sequence}"
    return (
        f"discarded dead letter {done.sequence} of run {done.run_id}; until {done.undo_until} "
        f"`dagnats dlq discard {done.sequence} --undo` brings it back"
    )


def watched_line(done: Watched) -> str:
    """What a watch did."""
    place = f"dead letter {done.sequence} of run {done.run_id}, step {done.step_id}"
    if done.outcome == "replayed":
        return f"replayed {place} (replay {done.replays} of this step)"
    word = "gave up" if done.outcome == "given_up" else "did not replay"
    return f"{word} {place}: {done.reason}"
