"""Reading stored messages without a consumer: direct get.

In a cluster any replica answers a direct get, and a follower may lag behind. So there the last message of
a subject comes from the stream's leader, and the leader is asked before anything is taken for missing.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from dagnats.errors import OutsideError
from dagnats.jetstream.asking import STORES_NOTHING, Answer, ApiError
from dagnats.jetstream.frames import (
    added_header,
    description_of,
    header,
    milliseconds,
    rfc3339,
)
from dagnats.jetstream.link import Link
from dagnats.limits import HISTORY_BATCH_MAX, PUBLISH_TIMEOUT_MS
from dagnats.ports import Entry
from dagnats.wire import subjects as names

_END_OF_BATCH: Final = 204
_NOT_FOUND: Final = 404
_SUBJECTS_MAX: Final = 1000  # the server answers for 1,024 at most
_NO_MESSAGE: Final = 10037
_LAGGING_S: Final = 0.05


class Record(Struct, frozen=True):
    """A stored message with its raw headers."""

    entry: Entry
    headers: bytes


class PageLimits(Struct, frozen=True):
    """How much one answer may hold; 0 bytes leaves that to the server."""

    messages: int
    size_bytes: int = 0


USUAL: Final = PageLimits(HISTORY_BATCH_MAX)


async def get(link: Link, stream: str, seq: int) -> Record | None:
    """The message of a sequence."""
    [answer] = await link.exchange(
        f"$JS.API.DIRECT.GET.{stream}", json.dumps({"seq": seq}).encode()
    )
    found = _record(answer, stream)
    return await from_leader(link, stream, seq=seq) if found is None and link.clustered else found


async def last(link: Link, stream: str, subject: str) -> Record | None:
    """The last message of a literal subject."""
    if link.clustered:
        return await from_leader(link, stream, last_by_subj=subject)
    [answer] = await link.exchange(
        f"$JS.API.DIRECT.GET.{stream}", json.dumps({"last_by_subj": subject}).encode()
    )
    return _record(answer, stream)


async def from_leader(link: Link, stream: str, **what: Any) -> Record | None:
    """One message (by ``seq``, ``last_by_subj``, or ``seq`` and ``next_by_subj``) from the stream's leader."""
    try:
        found = (await link.api(f"STREAM.MSG.GET.{stream}", what, timeout_ms=PUBLISH_TIMEOUT_MS))[
            "message"
        ]
    except ApiError as refused:
        if refused.code == _NO_MESSAGE:
            return None
        raise
    headers = base64.b64decode(found.get("hdrs", ""))
    return Record(
        Entry(
            seq=int(found["seq"]),
            at_ms=milliseconds(found["time"]),
            subject=found["subject"],
            payload=base64.b64decode(found.get("data", "")),
            msg_id=header(headers, names.MSG_ID.encode()),
        ),
        headers,
    )


async def read(link: Link, stream: str, subject: str, after_seq: int = 0) -> list[Record]:
    """Every message of a subject filter after a sequence, in order."""
    found: list[Record] = []
    start = after_seq + 1
    more = True
    while more:
        part, more = await page(link, stream, subject, start)
        found += part
        start = part[-1].entry.seq + 1 if part else start
    while link.clustered:  # what the replica that answered does not have yet
        record = await from_leader(link, stream, seq=start, next_by_subj=subject)
        if record is None:
            break
        found.append(record)
        start = record.entry.seq + 1
    return found


async def page(
    link: Link, stream: str, subject: str, seq: int, limits: PageLimits = USUAL
) -> tuple[list[Record], bool]:
    """The first messages of a subject filter from a sequence on, and whether there are more."""
    body = {"seq": seq, "next_by_subj": subject, "batch": limits.messages}
    if limits.size_bytes:
        body["max_bytes"] = limits.size_bytes
    return await _ask(link, stream, body)


async def first_since(link: Link, stream: str, subject: str, since_ms: int) -> Record | None:
    """The first message of a subject filter from a time on."""
    body = {"start_time": rfc3339(since_ms), "next_by_subj": subject, "batch": 1}
    while True:
        found, _ = await _ask(link, stream, body)
        if found or not link.clustered:
            return found[0] if found else None
        newest = await from_leader(link, stream, last_by_subj=subject)
        if newest is None or newest.entry.at_ms < since_ms:
            return None
        await asyncio.sleep(
            _LAGGING_S
        )  # leaders cannot be asked by time: a replica catches up soon


async def last_of_each(
    link: Link, stream: str, subjects: Sequence[str], up_to_seq: int | None = None
) -> list[Record]:
    """The last message (up to a sequence) of each of many subjects that have one."""
    if up_to_seq is not None and up_to_seq <= 0:
        return []
    found: list[Record] = []
    for at in range(0, len(subjects), _SUBJECTS_MAX):
        body: dict[str, Any] = {"multi_last": list(subjects[at : at + _SUBJECTS_MAX])}
        if up_to_seq:
            body["up_to_seq"] = up_to_seq
        part, _ = await _ask(link, stream, body)
        found += part
    if link.clustered and not up_to_seq:
        known = {record.entry.subject for record in found}
        missing = [subject for subject in subjects if subject not in known]
        asked = [await from_leader(link, stream, last_by_subj=subject) for subject in missing]
        found += [record for record in asked if record]
    return found


async def _ask(link: Link, stream: str, body: dict[str, Any]) -> tuple[list[Record], bool]:
    """One answer of many messages, and whether there are more behind it."""
    answers = await link.exchange(
        f"$JS.API.DIRECT.GET.{stream}", json.dumps(body).encode(), last=lambda a: a.status != 0
    )
    page = [record for answer in answers[:-1] if (record := _record(answer, stream))]
    end = answers[-1]
    if end.status not in (_NOT_FOUND, _END_OF_BATCH):
        _record(end, stream)
    left = header(end.headers, b"Nats-Num-Pending")
    return page, bool(page) and left not in ("", "0")


def _record(answer: Answer, stream: str) -> Record | None:
    if answer.status == _NOT_FOUND:
        return None
    if answer.status:
        raise ApiError(
            answer.status,
            description_of(answer.headers) or f"no stream {stream} here; {STORES_NOTHING}",
            "DIRECT.GET",
        )
    headers = answer.headers
    seq = added_header(headers, b"Nats-Sequence")
    if not seq:
        raise OutsideError(f"the server sent an answer about {stream} that has no sequence")
    return Record(
        Entry(
            seq=int(seq),
            at_ms=milliseconds(added_header(headers, b"Nats-Time-Stamp")),
            subject=added_header(headers, b"Nats-Subject"),
            payload=answer.payload,
            msg_id=header(headers, names.MSG_ID.encode()),
        ),
        headers,
    )
