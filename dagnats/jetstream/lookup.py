"""Looking things up in a stream without reading it all: its newest messages, its subjects."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from dagnats.jetstream import direct
from dagnats.jetstream.link import Link
from dagnats.ports import Entry

_WINDOW_FIRST: Final = 1_000  # sequences; a short list needs no more than one window
_WINDOW_MAX: Final = 4_000_000
_GROWTH_MAX: Final = 16
_BEYOND: Final = 2**31 - 1


async def newest(
    link: Link, stream: str, subject: str, since_ms: int = 0
) -> AsyncGenerator[list[Entry], None]:
    """The messages of a filter in pages, newest first, none from before a time."""
    low = 0
    if since_ms:
        first = await direct.first_since(link, stream, subject, since_ms)
        if first is None:
            return
        low = first.entry.seq
    async with aclosing(backwards(link, stream, subject, low)) as pages:
        async for page in pages:
            yield [record.entry for record in page]


async def backwards(
    link: Link,
    stream: str,
    subject: str,
    low: int = 0,
    *,
    width: int = _WINDOW_FIRST,
    limits: direct.PageLimits = direct.USUAL,
) -> AsyncGenerator[list[direct.Record], None]:
    """The messages of a filter from a sequence on in pages, newest first.

    Direct gets only read forwards, so this walks back in windows of sequences, and fits their width
    to how densely the filter's messages lie: with a little room, a window is one request.
    """
    state = (await link.api(f"STREAM.INFO.{stream}"))["state"]
    low, high = max(low, int(state["first_seq"])), int(state["last_seq"]) + 1
    aim = limits.messages * 9 // 10
    while high > low:
        start = max(low, high - width)
        page = await _window(link, stream, subject, start, high, limits)
        high = start
        width = min(_WINDOW_MAX, width * min(_GROWTH_MAX, aim // (len(page) + 1)) or width // 2)
        if page:
            yield page[::-1]


async def _window(
    link: Link, stream: str, subject: str, start: int, end: int, limits: direct.PageLimits
) -> list[direct.Record]:
    """The messages of a filter from one sequence up to, and without, another."""
    found: list[direct.Record] = []
    while start < end:
        page, more = await direct.page(link, stream, subject, start, limits)
        found += [record for record in page if record.entry.seq < end]
        if not more:
            break
        start = page[-1].entry.seq + 1
    return found


async def last(link: Link, stream: str, subject: str) -> Entry | None:
    """The last message of a filter, from the stream's leader: replicas may lag behind it."""
    found = await direct.from_leader(link, stream, last_by_subj=subject)
    return found.entry if found else None


async def subjects_of(link: Link, stream: str, subject: str) -> list[str]:
    """The literal subjects of a filter that have messages, in no order."""
    return list(await tally(link, stream, subject))


async def tally(link: Link, stream: str, subject: str) -> dict[str, int]:
    """How many messages each literal subject of a filter has."""
    found: dict[str, int] = {}
    while True:
        info = await link.api(
            f"STREAM.INFO.{stream}", {"subjects_filter": subject, "offset": len(found)}
        )
        page: dict[str, int] = info["state"].get("subjects") or {}
        found |= page
        if not page or len(found) >= int(info.get("total") or 0):
            return found


async def count(link: Link, stream: str, subject: str) -> int:
    """How many literal subjects of a filter have messages: the server counts, and names none."""
    info = await link.api(f"STREAM.INFO.{stream}", {"subjects_filter": subject, "offset": _BEYOND})
    return int(info.get("total") or 0)
