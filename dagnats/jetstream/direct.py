"""Reading stored messages without a consumer: direct get."""

from __future__ import annotations

import json
from typing import Final

from msgspec import Struct

from dagnats.errors import OutsideError
from dagnats.jetstream.asking import Answer, ApiError
from dagnats.jetstream.frames import description_of, header, milliseconds
from dagnats.jetstream.link import Link
from dagnats.limits import HISTORY_BATCH_MAX
from dagnats.ports import Entry
from dagnats.wire import subjects

_END_OF_BATCH: Final = 204
_NOT_FOUND: Final = 404


class Record(Struct, frozen=True):
    """A stored message with its raw headers."""

    entry: Entry
    headers: bytes


async def last(link: Link, stream: str, subject: str) -> Record | None:
    """The last message of a literal subject."""
    [answer] = await link.exchange(
        f"$JS.API.DIRECT.GET.{stream}", json.dumps({"last_by_subj": subject}).encode()
    )
    return _record(answer, stream)


async def read(link: Link, stream: str, subject: str, after_seq: int = 0) -> list[Record]:
    """Every message of a subject filter after a sequence, in order."""
    found: list[Record] = []
    at = after_seq
    while True:
        page, more = await read_page(link, stream, subject, at)
        found += page
        if not more:
            return found
        at = page[-1].entry.seq


async def read_page(
    link: Link, stream: str, subject: str, after_seq: int, batch: int = HISTORY_BATCH_MAX
) -> tuple[list[Record], bool]:
    """Up to ``batch`` messages after a sequence, and whether there are more."""
    body = {"seq": after_seq + 1, "next_by_subj": subject, "batch": batch}
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
            description_of(answer.headers) or f"no stream {stream} here",
            "DIRECT.GET",
        )
    headers = answer.headers
    seq = header(headers, b"Nats-Sequence")
    if not seq:
        raise OutsideError(f"the server sent an answer about {stream} that has no sequence")
    return Record(
        Entry(
            seq=int(seq),
            at_ms=milliseconds(header(headers, b"Nats-Time-Stamp")),
            subject=header(headers, b"Nats-Subject"),
            payload=answer.payload,
            msg_id=header(headers, subjects.MSG_ID.encode()),
        ),
        headers,
    )
