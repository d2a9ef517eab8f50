"""Reading and writing frames, without a server."""

from __future__ import annotations

import pytest
from nats.errors import ProtocolError

from dagnats.jetstream.frames import (
    FrameReader,
    description_of,
    header,
    milliseconds,
    publish_frame,
    rfc3339,
    status_of,
)
from dagnats.jetstream.puller import consumer_seq, delivery


class Client:
    """What the reader needs of nats-py's client."""

    def __init__(self) -> None:
        self.seen: list = []

    async def _process_ping(self):
        self.seen.append("ping")

    async def _process_info(self, info):
        self.seen.append(info)

    async def _process_op_err(self, problem):
        self.seen.append(str(problem))

    async def _process_msg(self, number, subject, reply, payload, headers):
        self.seen.append((number, subject, reply, headers, payload))


WIRE = (
    b'PING\r\nINFO {"a":1}\r\n+OK\r\nMSG a.b 7 3\r\nx\r\n\r\nMSG a.b 7 re.ply 0\r\n\r\n'
    b"HMSG s 7 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\nHMSG s 9 r 16 16\r\nNATS/1.0 404\r\n\r\n\r\n"
    b"-ERR 'Permissions Violation for Publish to \"x\"'\r\n-ERR 'Stale'\r\n"
)


async def read(pieces) -> tuple:
    """What a reader makes of pieces of a stream."""
    client, heard, refused = Client(), [], []
    reader = FrameReader(client, [refused.append])
    reader.direct[7] = lambda *message: heard.append(message)
    for piece in pieces:
        await reader.parse(piece)
    return client.seen, heard, refused


async def test_wherever_the_stream_is_cut():
    """The same frames come out, however the bytes arrive."""
    whole = await read([WIRE])

    assert whole == (
        ["ping", {"a": 1}, (9, b"s", b"r", b"NATS/1.0 404\r\n\r\n", b""), "nats: Stale"],
        [
            (b"a.b", b"", b"", b"x\r\n"),
            (b"a.b", b"re.ply", b"", b""),
            (b"s", b"", b"NATS/1.0\r\nA: b\r\n\r\n", b"hi"),
        ],
        ['Permissions Violation for Publish to "x"'],
    )
    assert await read([WIRE[at : at + 1] for at in range(len(WIRE))]) == whole
    for cut in range(len(WIRE)):
        assert await read([WIRE[:cut], WIRE[cut:]]) == whole


async def test_what_is_not_a_frame():
    """Bytes that are no frame end the connection instead of being waited for."""
    with pytest.raises(ProtocolError):
        await read([b"HTTP/1.1 200 OK\r\n\r\n"])
    with pytest.raises(ProtocolError):
        await read([b"PING" * 20_000])


def test_nothing_can_be_smuggled_into_a_frame():
    """A subject or header with a line break cannot become a second command."""
    for subject in ("a\r\nPUB b 0", "a b", "", "a\tb"):
        with pytest.raises(ValueError, match="not a subject"):
            publish_frame(subject, b"")

    frame = publish_frame("a", b"x", headers=[("Nats-Msg-Id", "a\r\nNats-Rollup: all")])

    assert b"\r\nNats-Rollup" not in frame


def test_headers_and_statuses():
    """Statuses, descriptions and single headers are read from raw bytes."""
    raw = b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 2\r\n\r\n"

    assert status_of(raw) == 408
    assert description_of(raw) == "Request Timeout"
    assert header(raw, b"Nats-Pending-Messages") == "2"
    assert header(raw, b"Nats-Pending") == ""
    assert status_of(b"NATS/1.0\r\nA: b\r\n\r\n") == 0
    assert status_of(b"") == 0


def test_times():
    """Times are rounded down to milliseconds, as nanoseconds of a delivery are."""
    assert milliseconds("2026-11-21T09:24:35.031763022Z") % 100_000 == 75_031
    assert milliseconds("1970-01-01T00:00:01Z") == 1_000
    assert milliseconds(rfc3339(1_795_253_043_378)) == 1_795_253_043_378


@pytest.mark.parametrize("more", ["", "hub.ACCHASH."])
def test_deliveries(more):
    """Both forms of the acknowledgement's subject are understood."""
    tail = ".rand0m" if more else ""
    reply = f"$JS.ACK.{more}DAGNATS_TASKS.worker+a+_.3.17.25.1795253043378999999.4{tail}"
    source = b"NATS/1.0\r\nNats-Stream-Source: DAGNATS_EVENTS 42 a b c\r\n\r\n"

    got = delivery(b"s", reply.encode(), source, b"{}")

    assert (got.seq, got.at_ms, got.delivered, got.pending, got.origin_seq) == (
        17, 1_795_253_043_378, 3, 4, 42,
    )  # fmt: skip
    assert consumer_seq(reply) == 25
