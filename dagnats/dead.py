"""What can be done with dead letters: look at them, replay them, discard them, bring them back.

A replay does not run the letter's body: it opens the letter's run again, at the step that failed, so that
everything after that step goes on, too. Then the letter is removed. Nothing of this is lost by a crash
in between: the letter goes last.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from dagnats import letters
from dagnats.clock import Clock
from dagnats.core.views import text_of_time
from dagnats.errors import (
    InvalidInput,
    LetterNotFound,
    OutsideError,
    PayloadGone,
    RequestError,
)  # fmt: skip
from dagnats.ids import checked_run_id
from dagnats.letters import LetterCounts, LetterListing, LetterRow, LetterView
from dagnats.limits import (
    DISCARDED_AGE_MS,
    OFFLOAD_SIZE_BYTES,
    REPLAY_INTERVAL_MIN_MS,
    REPLAYS_DEFAULT,
    REPLAYS_MAX,
)
from dagnats.ports import Append, Letter, Outside
from dagnats.wire import subjects
from dagnats.wire.codec import encode

log = logging.getLogger("dagnats.dead")

_FAILED_AT: Final = subjects.DLQ_PREFIX + "Failed-At"
_INTERVAL_S: Final = 30.0

Rows = list[LetterRow]
Outcomes = list["Watched"]
Retry = Callable[[str], Awaitable[Any]]


class Replayed(Struct, frozen=True, kw_only=True):
    """A run that was opened again. ``sequences`` are the letters that this settled, ``left`` those it did not."""

    run_id: str
    step_id: str
    sequences: list[int]
    left: list[int] = []


class Discarded(Struct, frozen=True, kw_only=True):
    """A letter that was removed, and until when that can be undone."""

    sequence: int
    run_id: str
    step_id: str
    undo_until: str


class Restored(Struct, frozen=True, kw_only=True):
    """A discarded letter that is back; streams give no sequence twice, so it has another one."""

    sequence: int
    was: int


class Watched(Struct, frozen=True, kw_only=True):
    """What a watch did with a letter. ``replays`` counts those of its step by watches, with this one."""

    sequence: int
    run_id: str
    step_id: str
    outcome: Literal["replayed", "refused", "given_up"]
    replays: int
    reason: str = ""


class _Kept(Struct, frozen=True, omit_defaults=True):
    """A discarded letter: the message as it was. A large body is in the object store, as ``blob``."""

    subject: str
    headers: tuple[tuple[str, str], ...]
    at_ms: int
    body: bytes = b""
    blob: str = ""


_kept = msgspec.json.Decoder(_Kept)
_count = msgspec.json.Decoder(int)


class DeadLetters:
    """The dead letters of a deployment; ``client.dead`` is one. ``retry`` opens a run again."""

    def __init__(self, outside: Outside, clock: Clock, retry: Retry) -> None:
        self._outside = outside
        self._clock = clock
        self._retry = retry
        self._discarded = outside.documents(subjects.DISCARDED)
        self._replays = outside.documents(subjects.REPLAYS)

    # -- looking -----------------------------------------------------------------------------------

    async def list(self, **filters: Any) -> LetterListing:
        """The newest dead letters; see ``letters.listed`` for the filters."""
        return await letters.listed(self._outside, **filters)

    async def count(self, **filters: Any) -> LetterCounts:
        """How many dead letters there are, by task; see ``letters.counted`` for the filters."""
        return await letters.counted(self._outside, **filters)

    async def show(self, sequence: int) -> LetterView:
        """One dead letter with its headers, its body, and what to do with it.

        Raises:
            LetterNotFound.
        """
        return await letters.shown(self._outside, sequence)

    # -- replaying ---------------------------------------------------------------------------------

    async def replay(self, sequence: int) -> Replayed:
        """Open the letter's run again at the step that failed, and remove the letter.

        Older letters of the run go with it: they tell of failures before this one.

        Raises:
            LetterNotFound: there is no such letter.
            RequestError: it cannot be replayed, or its run not be opened; the letter stays.
        """
        letter = await self._outside.letters.get(sequence)
        if letter is None:
            raise letters.not_found(sequence)
        row = letters.row_of(letter)
        reason = letters.refusal(row)
        if reason:
            raise RequestError(f"dead letter {sequence} cannot be replayed: {reason}")
        return await self._reopen(row, await self._of_run(row.run_id))

    async def replay_run(self, run: str) -> Replayed:
        """Open a run again by its newest letter, and remove all its letters that this settles.

        Raises:
            LetterNotFound: the run has no letters.
            RequestError: none of them can be replayed, or the run not be opened; all stay.
        """
        rows = await self._of_run(checked_run_id(run))
        if not rows:
            raise LetterNotFound(f"run {run} has no dead letters; `dagnats dlq list` shows all")
        newest = max((row for row in rows if row.replayable), key=_when, default=None)
        if newest is None:
            reason = letters.refusal(rows[0])
            raise RequestError(
                f"run {run} cannot be replayed from dead letter {rows[0].sequence}: {reason}"
            )
        return await self._reopen(newest, rows)

    async def _reopen(self, row: LetterRow, rows: Rows) -> Replayed:
        """Revive a run, then remove what this settles; ``rows`` are all letters of the run."""
        newer = next((r for r in rows if r.replayable and _when(r) > _when(row)), None)
        if newer is not None:
            raise RequestError(
                f"dead letter {row.sequence} is out of date: run {row.run_id} failed again, at step "
                f"{newer.step_id}; replay dead letter {newer.sequence} instead"
            )
        try:
            await self._retry(row.run_id)
        except RequestError as problem:
            raise RequestError(
                f"dead letter {row.sequence} was not replayed: {problem.message}; if the work is "
                f"no longer wanted, `dagnats dlq discard {row.sequence}`"
            ) from problem
        settled = [r.sequence for r in rows if r.replayable and _when(r) <= _when(row)]
        for sequence in settled:
            await self._outside.letters.remove(sequence)
        return Replayed(
            run_id=row.run_id,
            step_id=row.step_id,
            sequences=settled,
            left=[r.sequence for r in rows if not r.replayable],
        )

    async def _of_run(self, run: str) -> Rows:
        found = self._outside.letters.newest(subjects.dead_letters(run=run))
        async with aclosing(found) as pages:
            return [letters.row_of(letter) async for page in pages for letter in page]

    # -- discarding --------------------------------------------------------------------------------

    async def discard(self, sequence: int) -> Discarded:
        """Remove a letter; its run stays as it is. ``undo`` brings the letter back for an hour.

        Raises:
            LetterNotFound: there is no such letter.
        """
        letter = await self._outside.letters.get(sequence)
        if letter is None:
            if await self._discarded.get(str(sequence)) is None:
                raise letters.not_found(sequence)
            raise LetterNotFound(
                f"dead letter {sequence} was discarded already; `dagnats dlq discard {sequence} "
                "--undo` brings it back"
            )
        await self._discarded.put(str(sequence), encode(await self._keep(letter)))
        await self._outside.letters.remove(sequence)
        row = letters.row_of(letter)
        until = text_of_time(self._clock.wall_ms() + DISCARDED_AGE_MS)
        return Discarded(
            sequence=sequence, run_id=row.run_id, step_id=row.step_id, undo_until=until
        )

    async def _keep(self, letter: Letter) -> _Kept:
        headers, body, blob = dict(letter.headers), letter.payload, ""
        headers.setdefault(_FAILED_AT, str(letter.at_ms))
        if len(body) > OFFLOAD_SIZE_BYTES:
            blob = hashlib.sha256(body).hexdigest()
            await self._outside.blobs.put(blob, body)
            body = b""
        return _Kept(letter.subject, tuple(headers.items()), letter.at_ms, body, blob)

    async def undo(self, sequence: int) -> Restored:
        """Bring a discarded letter back; doing so twice brings it back once.

        Raises:
            LetterNotFound: it was not discarded, or too long ago.
            PayloadGone: its large body is no longer in the object store.
        """
        found = await self._discarded.get(str(sequence))
        there = await self._outside.letters.get(sequence) is not None
        if found is None:
            hours = DISCARDED_AGE_MS // 3_600_000
            raise LetterNotFound(
                f"dead letter {sequence} was not discarded; it is still there"
                if there
                else f"no discarded dead letter {sequence}: what is discarded is kept for {hours} h"
            )
        restored = sequence  # when it is there, the discarding was cut off halfway
        if not there:
            restored = await self._publish_again(_kept.decode(found[0]), sequence)
        await self._discarded.delete(str(sequence))
        return Restored(sequence=restored, was=sequence)

    async def _publish_again(self, kept: _Kept, sequence: int) -> int:
        body = await self._outside.blobs.get(kept.blob) if kept.blob else kept.body
        if body is None:
            raise PayloadGone(
                f"the body of discarded dead letter {sequence} is no longer in the object store"
            )
        # Under its first id the server would take it for the letter that it has seen already.
        message = Append(kept.subject, body, f"letter:{sequence}:undo", headers=kept.headers)
        [stored] = await self._outside.log.append([message])
        return stored.seq

    # -- watching ----------------------------------------------------------------------------------

    async def watch(
        self,
        *,
        run: str = "",
        interval: float = _INTERVAL_S,
        max_replays: int = REPLAYS_DEFAULT,
    ) -> AsyncGenerator[Watched, None]:
        """Replay what there is and what comes, every ``interval`` seconds, each step ``max_replays`` times.

        Yields what was done. What cannot be replayed is told once, and looked at again each time.

        Raises:
            InvalidInput: a number out of bounds.
        """
        if not interval * 1000 >= REPLAY_INTERVAL_MIN_MS:
            raise InvalidInput(f"interval={interval:g}: at least {REPLAY_INTERVAL_MIN_MS} ms apart")
        told: set[Watched] = set()
        while True:
            try:
                outcomes = await self.sweep(run=run, max_replays=max_replays)
            except OutsideError as problem:
                log.warning("the dead letters are looked at again in %g s: %s", interval, problem)
            else:
                for outcome in outcomes:
                    if outcome not in told:
                        yield outcome
                told = set(outcomes)
            await asyncio.sleep(interval)

    async def sweep(self, *, run: str = "", max_replays: int = REPLAYS_DEFAULT) -> Outcomes:
        """Replay each run that has a letter once, within the bound for its step.

        How often a step was replayed so is kept for 30 days, whoever watches: a letter that comes back
        counts on.

        Raises:
            InvalidInput: a bound out of bounds, or what cannot be a run id.
        """
        if not 1 <= max_replays <= REPLAYS_MAX:
            raise InvalidInput(f"max_replays={max_replays}: use 1 to {REPLAYS_MAX}")
        seen: set[str] = set()
        outcomes: Outcomes = []
        pattern = subjects.dead_letters(run=checked_run_id(run) if run else "")
        async with aclosing(self._outside.letters.newest(pattern)) as pages:
            async for row in (letters.row_of(letter) async for page in pages for letter in page):
                if row.replayable and row.run_id not in seen:
                    seen.add(row.run_id)
                    outcome = await self._replay_within(row, max_replays)
                    outcomes += [outcome] if outcome else []
        return outcomes

    async def _replay_within(self, row: LetterRow, max_replays: int) -> Watched | None:
        """One replay, counted before it is done; None when another watch is at it."""
        key = f"{row.run_id}/{row.step_id}"
        value, revision = await self._replays.get(key) or (b"0", 0)
        before = _count.decode(value)
        if before >= max_replays:
            why = f"replayed {before} times, and failed again; `dagnats dlq replay` is not counted"
            return _watched(row, "given_up", before, why)
        claim = await self._replays.swap(key, encode(before + 1), revision)
        if claim is None:
            return None
        try:
            await self.replay_run(row.run_id)
        except LetterNotFound:
            await self._replays.swap(key, value, claim)
            return None
        except RequestError as problem:
            await self._replays.swap(key, value, claim)
            return _watched(row, "refused", before, problem.message)
        return _watched(row, "replayed", before + 1)


def _when(row: LetterRow) -> tuple[str, int]:
    """The order of failures: a letter that was discarded and brought back has a younger sequence."""
    return row.timestamp, row.sequence


def _watched(
    row: LetterRow,
    outcome: Literal["replayed", "refused", "given_up"],
    replays: int,
    reason: str = "",
) -> Watched:
    return Watched(
        sequence=row.sequence,
        run_id=row.run_id,
        step_id=row.step_id,
        outcome=outcome,
        replays=replays,
        reason=reason,
    )
