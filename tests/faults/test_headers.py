"""Headers of a publisher that bear the names of the server's own: what the server says is what counts."""

from __future__ import annotations

import pytest

from dagnats.jetstream.outside import JetStream
from dagnats.ports import Append
from dagnats.wire import subjects

pytestmark = [pytest.mark.faults]


@pytest.fixture
async def outside_of_one(broker):
    """A deployment with one partition."""
    made = await JetStream.open(broker.url, name="test", partitions=1)
    yield made
    await made.close()


async def test_a_publishers_headers_are_not_taken_for_the_servers(outside_of_one):
    """A fact with another sequence, subject and time in its headers is read back as it was stored."""
    subject = subjects.fact(0, "run", "worker")
    forged = (
        ("Nats-Sequence", "77"), ("Nats-Subject", subjects.fact(0, "run", "client")),
        ("Nats-Time-Stamp", "rubbish"),
    )  # fmt: skip
    await outside_of_one.log.append([Append(subject, b"1"), Append(subject, b"2", headers=forged)])
    await outside_of_one.log.append([Append(subject, b"3")])
    feed = await outside_of_one.feed(0)
    delivered = [(d.seq, d.at_ms, d.subject, d.payload) for d in await feed.next(10)]
    while len(delivered) < 3:
        delivered += [(d.seq, d.at_ms, d.subject, d.payload) for d in await feed.next(10)]
    await feed.close()
    read = [(e.seq, e.at_ms, e.subject, e.payload) for e in await outside_of_one.log.history("run")]

    assert read == delivered
    assert [(seq, name) for seq, _, name, _ in read] == [(n, subject) for n in (1, 2, 3)]
