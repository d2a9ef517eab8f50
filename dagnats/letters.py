"""Dead letters as people see them: what was given up and why, and what can be done about it."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from typing import Final

import msgspec
from msgspec import Raw, Struct

from dagnats.core.views import text_of_time
from dagnats.errors import InvalidInput, LetterNotFound
from dagnats.ids import checked_run_id
from dagnats.limits import LIST_COUNTED_MAX, LIST_DEFAULT, LIST_MAX
from dagnats.ports import Letter, Outside
from dagnats.wire import subjects

_NOT_WORK: Final = (subjects.POISON, subjects.TOO_LARGE)
_DIGITS_MAX: Final = 13  # milliseconds since 1970 need no more
_loose = msgspec.json.Decoder(dict[str, Raw])


class LetterRow(Struct, frozen=True, kw_only=True):
    """One dead letter in a list. ``timestamp`` is when the work was given up.

    ``body_preserved`` says that the body is whole, ``replayable`` that the letter's run can be told to go on.
    """

    sequence: int
    timestamp: str
    task: str
    run_id: str
    step_id: str
    workflow: str
    failure: str
    error: str
    attempts: int
    delivery_count: int
    consumer: str
    subject: str
    body_preserved: bool
    replayable: bool
    headers: dict[str, str]


class LetterView(Struct, frozen=True, kw_only=True):
    """One dead letter with its body, and what to do with it.

    ``body`` is the JSON that was kept, without its nonce. What is no JSON object is in ``body_base64``.
    """

    letter: LetterRow
    advice: str
    size_bytes: int
    body: Raw = Raw(b"null")
    body_base64: bytes = b""


class LetterListing(Struct, frozen=True, kw_only=True):
    """Dead letters, newest first; ``total`` and ``truncated`` are as in a list of runs."""

    letters: list[LetterRow]
    total: int | None
    returned: int
    truncated: bool


class LetterCounts(Struct, frozen=True, kw_only=True):
    """How many dead letters there are, and of which tasks."""

    total: int
    tasks: dict[str, int]


# -- asking ----------------------------------------------------------------------------------------


async def listed(
    outside: Outside,
    *,
    run: str = "",
    task: str = "",
    workflow: str = "",
    failure: str = "",
    limit: int = LIST_DEFAULT,
) -> LetterListing:
    """The newest dead letters that match.

    Raises:
        InvalidInput: a limit out of bounds, or what cannot be a run id.
    """
    if not 1 <= limit <= LIST_MAX:
        raise InvalidInput(f"a list has 1 to {LIST_MAX} entries, not {limit}")
    pattern = _pattern(task, run)
    plain = not (workflow or failure)
    rows: list[LetterRow] = []
    matching = looked_at = 0
    async with aclosing(outside.letters.newest(pattern)) as pages:
        async for page in pages:
            found = [row for row in map(row_of, page) if _fits(row, workflow, failure)]
            rows += found[: limit - len(rows)]
            matching += len(found)
            looked_at += len(page)
            if len(rows) == limit and (
                plain or (matching > limit and looked_at >= LIST_COUNTED_MAX)
            ):
                break
        else:
            return _listing(rows, matching)
    total = max(sum((await outside.letters.tally(pattern)).values()), matching) if plain else None
    return _listing(rows, total)


def _listing(rows: list[LetterRow], total: int | None) -> LetterListing:
    truncated = total is None or total > len(rows)
    return LetterListing(letters=rows, total=total, returned=len(rows), truncated=truncated)


async def counted(
    outside: Outside, *, run: str = "", task: str = "", workflow: str = "", failure: str = ""
) -> LetterCounts:
    """How many dead letters match. With ``workflow`` or ``failure`` every one of them is read.

    Raises:
        InvalidInput: what cannot be a run id.
    """
    pattern = _pattern(task, run)
    tasks: Counter[str] = Counter()
    if not (workflow or failure):
        for subject, count in (await outside.letters.tally(pattern)).items():
            tasks[subjects.parts_of_dead(subject)[0]] += count
    else:
        async with aclosing(outside.letters.newest(pattern)) as pages:
            async for page in pages:
                tasks.update(
                    subjects.parts_of_dead(row.subject)[0]
                    for row in map(row_of, page)
                    if _fits(row, workflow, failure)
                )
    return LetterCounts(total=tasks.total(), tasks=dict(tasks.most_common()))


async def shown(outside: Outside, sequence: int) -> LetterView:
    """One dead letter with its body.

    Raises:
        LetterNotFound: there is none of that sequence.
    """
    letter = await outside.letters.get(sequence)
    if letter is None:
        raise not_found(sequence)
    row = row_of(letter)
    body = _readable(letter.payload)
    return LetterView(
        letter=row,
        advice=refusal(row) or _advice(row),
        size_bytes=len(letter.payload),
        body=body or Raw(b"null"),
        body_base64=b"" if body else letter.payload,
    )


def not_found(sequence: int) -> LetterNotFound:
    """The error of a sequence that no letter has."""
    return LetterNotFound(
        f"no dead letter {sequence}; `dagnats dlq list` shows those there are", sequence=sequence
    )


def _pattern(task: str, run: str) -> str:
    return subjects.dead_letters(task, checked_run_id(run) if run else "")


def _fits(row: LetterRow, workflow: str, failure: str) -> bool:
    return workflow in ("", row.workflow) and failure in ("", row.failure)


# -- reading one -----------------------------------------------------------------------------------


def row_of(letter: Letter) -> LetterRow:
    """What a letter says of itself; of headers that are missing, what its subject says."""
    said = {
        name.removeprefix(subjects.DLQ_PREFIX): value
        for name, value in letter.headers
        if name.startswith(subjects.DLQ_PREFIX)
    }
    task, run = subjects.parts_of_dead(letter.subject)
    failure = said.get("Failure", "")
    attempts = _number(said, "Attempts")
    whole = _whole(letter, said, failure)
    return LetterRow(
        sequence=letter.seq,
        timestamp=text_of_time(_number(said, "Failed-At") or letter.at_ms),
        task=said.get("Task") or task,
        run_id=said.get("Run-Id", run),
        step_id=said.get("Step-Id", ""),
        workflow=said.get("Workflow", ""),
        failure=failure,
        error=said.get("Error", ""),
        attempts=attempts,
        delivery_count=_number(said, "Delivery-Count") or attempts,
        consumer=said.get("Consumer", ""),
        subject=letter.subject,
        body_preserved=whole,
        replayable=whole and failure not in _NOT_WORK and _names_work(said),
        headers=dict(letter.headers),
    )


def _number(said: dict[str, str], name: str) -> int:
    text = said.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else 0


def _names_work(said: dict[str, str]) -> bool:
    """Whether there is a step of a run to go on from: anybody may publish a letter."""
    try:
        return bool(checked_run_id(said.get("Run-Id", "")) and said.get("Step-Id"))
    except InvalidInput:
        return False


def _whole(letter: Letter, said: dict[str, str], failure: str) -> bool:
    """Whether nothing of the body was cut off: work is JSON with a ticket, anything else has its size."""
    if failure in _NOT_WORK:
        return _number(said, "Size") == len(letter.payload)
    return "ticket" in _members(letter.payload)


def _members(payload: bytes) -> dict[str, Raw]:
    try:
        return _loose.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _readable(payload: bytes) -> Raw:
    """A body that is a JSON object, without the nonce: it was the right to answer."""
    members = _members(payload)
    members.pop("nonce", None)
    return Raw(msgspec.json.encode(members)) if members else Raw(b"")


def refusal(row: LetterRow) -> str:
    """Why a letter cannot be replayed, and what to do instead; empty when it can."""
    if row.replayable:
        return ""
    if row.failure == subjects.POISON:
        place = row.headers.get(subjects.DLQ_PREFIX + "Subject", "the log")
        return (
            f"it is no work, but a message on {place} that could not be read as a fact; if a newer "
            "DagNats wrote it, upgrade the schedulers and publish its body there again, else discard it"
        )
    if row.failure == subjects.TOO_LARGE:
        return (
            "it is the beginning of a message that the NATS server was too small for; raise its "
            f"max_payload, then cancel run {row.run_id} and start it again"
        )
    if row.body_preserved or not row.step_id:
        return (
            "it does not say which step of which run it is about; look at its body, then discard it"
        )
    return (
        f"its body was cut off; `dagnats run retry {row.run_id}` goes on from the run's history, if the "
        "NATS server's max_payload was raised"
    )


def _advice(row: LetterRow) -> str:
    return (
        f"`dagnats dlq replay {row.sequence}` opens run {row.run_id} again at step {row.step_id}; "
        f"`dagnats dlq discard {row.sequence}` removes the letter, and the run stays as it is"
    )
