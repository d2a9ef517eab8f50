"""The dead letters on JetStream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from dagnats.jetstream import direct, lookup
from dagnats.jetstream.asking import ApiError
from dagnats.jetstream.frames import own_headers
from dagnats.jetstream.link import Link
from dagnats.limits import LETTERS_BATCH_MAX, LETTERS_BATCH_MAX_BYTES
from dagnats.ports import Letter
from dagnats.wire import subjects as names

# Letters carry whole payloads: small answers come in time on a slow network, too.
_LIMITS: Final = direct.PageLimits(LETTERS_BATCH_MAX, LETTERS_BATCH_MAX_BYTES)
_SEQ_END: Final = 2**63
_GONE: Final = frozenset({10043, 10057})  # what the server says of a sequence that holds nothing


class JetStreamLetters:
    """``ports.Letters``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def get(self, seq: int) -> Letter | None:
        """The letter, or None when there is none of that sequence."""
        found = await direct.get(self._link, names.DEAD, seq) if _possible(seq) else None
        return _letter(found) if found else None

    async def newest(self, subject: str) -> AsyncGenerator[list[Letter], None]:
        """The letters of a wildcard filter in pages, newest first."""
        found = lookup.backwards(
            self._link, names.DEAD, subject, width=LETTERS_BATCH_MAX, limits=_LIMITS
        )
        async with aclosing(found) as pages:
            async for page in pages:
                yield [_letter(record) for record in page]

    async def tally(self, subject: str) -> dict[str, int]:
        """How many letters each literal subject of a wildcard filter has."""
        return await lookup.tally(self._link, names.DEAD, subject)

    async def remove(self, seq: int) -> bool:
        """Take a letter out of the stream; False when it is not there."""
        if not _possible(seq):
            return False
        try:
            await self._link.api(f"STREAM.MSG.DELETE.{names.DEAD}", {"seq": seq, "no_erase": True})
        except ApiError as refused:
            if refused.code in _GONE:
                return False
            raise
        return True


def _possible(seq: int) -> bool:
    """Whether the server can read it as a sequence."""
    return 0 < seq < _SEQ_END


def _letter(record: direct.Record) -> Letter:
    entry = record.entry
    return Letter(
        entry.seq,
        entry.at_ms,
        entry.subject,
        entry.payload,
        entry.msg_id,
        headers=own_headers(record.headers),
    )
