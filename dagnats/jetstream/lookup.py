"""Looking things up in a stream without reading it all: its newest messages, its subjects."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from typing import Any, Final

from dagnats.jetstream import direct
from dagnats.jetstream.asking import ApiError
from dagnats.jetstream.frames import header, milliseconds
from dagnats.jetstream.link import Link
from dagnats.limits import HISTORY_BATCH_MAX
from dagnats.ports import Entry
from dagnats.wire import subjects as names

_WINDOW_FIRST: Final = 1_000  # sequences; a short list needs no more than one window
_WINDOW_MAX: Final = 4_000_000
_GROWTH_MAX: Final = 16
_AIM: Final = (
    HISTORY_BATCH_MAX * 9 // 10
)  # messages of a window: one request, with little read twice
_BEYOND: Final = 2**31 - 1
_NO_MESSAGE: Final = 10037


async def newest(
    link: Link, stream: str, subject: str, since_ms: int = 0
) -> AsyncGenerator[list[Entry], None]:
    """The messages of a filter in pages, newest first, none from before a time.

    Direct gets only read forwards, so this walks back in windows of sequences, and fits their width
    to how densely the filter's messages lie.
    """
    state = (await link.api(f"STREAM.INFO.{stream}"))["state"]
    low, high = int(state["first_seq"]), int(state["last_seq"]) + 1
    if since_ms:
        first = await direct.first_since(link, stream, subject, since_ms)
        if first is None:
            return
        low = first.entry.seq
    width = _WINDOW_FIRST
    while high > low:
        start = max(low, high - width)
        page = await _window(link, stream, subject, start, high)
        high = start
        width = min(_WINDOW_MAX, width * min(_GROWTH_MAX, _AIM // (len(page) + 1)) or width // 2)
        if page:
            yield page[::-1]


async def _window(link: Link, stream: str, subject: str, start: int, end: int) -> list[Entry]:
    """The messages of a filter from one sequence up to, and without, another."""
    found: list[Entry] = []
    while start < end:
        page, more = await direct.page(link, stream, subject, start)
        found += [record.entry for record in page if record.entry.seq < end]
        if not more:
            break
        start = page[-1].entry.seq + 1
    return found


async def last(link: Link, stream: str, subject: str) -> Entry | None:
    """The last message of a filter, from the stream's leader: replicas may lag behind it."""
    try:
        answer = await link.api(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
    except ApiError as refused:
        if refused.code == _NO_MESSAGE:
            return None
        raise
    found = answer["message"]
    headers = base64.b64decode(found.get("hdrs", ""))
    return Entry(
        seq=int(found["seq"]),
        at_ms=milliseconds(found["time"]),
        subject=found["subject"],
        payload=base64.b64decode(found.get("data", "")),
        msg_id=header(headers, names.MSG_ID.encode()),
    )


async def subjects_of(link: Link, stream: str, subject: str) -> list[str]:
    """The literal subjects of a filter that have messages, in no order."""
    found: dict[str, Any] = {}
    while True:
        info = await link.api(
            f"STREAM.INFO.{stream}", {"subjects_filter": subject, "offset": len(found)}
        )
        page = info["state"].get("subjects") or {}
        found |= page
        if not page or len(found) >= int(info.get("total") or 0):
            return list(found)


async def count(link: Link, stream: str, subject: str) -> int:
    """How many literal subjects of a filter have messages: the server counts, and names none."""
    info = await link.api(f"STREAM.INFO.{stream}", {"subjects_filter": subject, "offset": _BEYOND})
    return int(info.get("total") or 0)
