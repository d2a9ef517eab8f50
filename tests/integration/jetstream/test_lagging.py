"""Replicas that lag: what a direct get does not find is asked of the leader, in a cluster and only there."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from dagnats.jetstream import direct
from dagnats.jetstream.asking import Answer, ApiError

EMPTY = Answer(b"NATS/1.0 404 Message Not Found\r\n\r\n", b"")


class Lagging:
    """A link whose replica has nothing yet, while the leader has some messages of one subject."""

    def __init__(self, *, clustered: bool, stored: int = 3) -> None:
        self.clustered = clustered
        self.asked = 0
        self._last = stored

    async def exchange(self, *_: Any, **__: Any) -> list[Answer]:
        return [EMPTY]

    async def api(self, _subject: str, body: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.asked += 1
        seq = self._last if "last_by_subj" in body else body["seq"]
        if seq > self._last:
            raise ApiError(10037, "no message found")
        data = base64.b64encode(b"%d" % seq).decode()
        message = {"seq": seq, "subject": "a", "time": "2026-01-01T00:00:00Z", "data": data}
        return {"message": message}


async def everything(link: Any) -> list[Any]:
    """What each way of reading finds."""
    read = [record.entry.seq for record in await direct.read(link, "S", "a", 1)]
    last, one = await direct.last(link, "S", "a"), await direct.get(link, "S", 2)
    each = await direct.last_of_each(link, "S", ["a"])
    return [read, *(r and r.entry.seq for r in (last, one)), [r.entry.seq for r in each]]


async def test_the_leader_has_the_last_word():
    """The end of a history, the last message, one by its sequence: none is taken for missing."""
    assert await everything(Lagging(clustered=True)) == [[2, 3], 3, 2, [3]]


async def test_a_single_server_is_asked_once():
    """Where there are no followers nobody else is asked."""
    link = Lagging(clustered=False)
    assert await everything(link) == [[], None, None, []]
    assert link.asked == 0


@pytest.mark.parametrize("after", [3, 7])
async def test_what_is_not_there_is_not_there(after):
    """The leader's no is the end of it."""
    assert await direct.read(Lagging(clustered=True), "S", "a", after) == []  # type: ignore[arg-type]
