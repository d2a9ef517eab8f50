"""Connecting, and what is refused."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from dagnats.errors import BrokerUnavailable, BrokerUnsuitable
from dagnats.jetstream.connect import connect, patiently, redacted, version_of
from tests.support.broker import Broker


async def fake_server(info: dict):
    """A socket that greets like a server and answers every PING."""

    async def serve(reader, writer):
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def port_of(server) -> int:
    """Where it listens."""
    return server.sockets[0].getsockname()[1]


async def test_nobody_answers():
    """An address where nothing listens fails within three seconds, in one line with the cure."""
    began = time.monotonic()

    with pytest.raises(BrokerUnavailable) as caught:
        await connect("nats://someone:secret@127.0.0.1:1", name="test")

    assert time.monotonic() - began < 3.5
    assert "no NATS server answers at nats://127.0.0.1:1; start one with `dagnats serve`" in str(
        caught.value
    )
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_listener_that_says_nothing():
    """Something that accepts and stays silent is not a server either."""

    async def wait(reader, writer):
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(wait, "127.0.0.1", 0)

    with pytest.raises(BrokerUnavailable):
        await connect(f"nats://127.0.0.1:{port_of(silent)}", name="test")

    silent.close()


async def test_patience():
    """Who is patient waits for a server that starts later."""
    broker = Broker()
    connecting = asyncio.create_task(patiently(lambda: connect(broker.url, name="test"), "waiting"))
    done, _ = await asyncio.wait([connecting], timeout=0.3)

    assert not done

    broker.start()
    try:
        link = await asyncio.wait_for(connecting, 10)

        assert link.up

        await link.close()
    finally:
        broker.remove()


async def test_an_old_server():
    """An old server is refused with the version found and the one needed."""
    server = await fake_server({"version": "2.10.22", "max_payload": 1048576, "headers": True})

    with pytest.raises(BrokerUnsuitable, match=r"is version 2\.10\.22; DagNats needs 2\.14\.5"):
        await connect(f"nats://127.0.0.1:{port_of(server)}", name="test")

    server.close()


async def test_jetstream_disabled():
    """A server without JetStream is refused with the option that enables it."""
    broker = Broker(jetstream=False).start()
    try:
        with pytest.raises(BrokerUnsuitable, match=r"nats-server -js.*dagnats serve"):
            await connect(broker.url, name="test")
    finally:
        broker.remove()


async def test_small_messages():
    """A server that allows only small messages is refused."""
    broker = Broker(config="max_payload: 65536\n").start()
    try:
        with pytest.raises(BrokerUnsuitable, match=r"65536 bytes.*raise max_payload"):
            await connect(broker.url, name="test")
    finally:
        broker.remove()


async def test_wrong_password():
    """Refused credentials are said at once, not taken for an absent server."""
    broker = Broker(config='authorization { user: "a", password: "b" }\n').start()
    try:
        with pytest.raises(BrokerUnsuitable, match="refuses these credentials"):
            await connect(broker.url.replace("//", "//a:wrong@"), name="test")
        link = await connect(broker.url.replace("//", "//a:b@"), name="test")
        await link.close()
    finally:
        broker.remove()


async def test_coming_back(broker: Broker, until):
    """After kill -9 and a restart the link is up again, and its requests and subscriptions work."""
    events: list[str] = []
    heard: list[bytes] = []
    link = await connect(
        broker.url,
        name="test",
        on_reconnect=lambda: events.append("back"),
        on_disconnect=lambda: events.append("gone"),
    )
    await link.listen("some.subject", lambda _s, _r, _h, payload: heard.append(payload))

    broker.kill()
    await until(lambda: events == ["gone"])
    asking = asyncio.create_task(link.api("INFO"))
    broker.start()
    await until(lambda: events == ["gone", "back"])
    link.publish("some.subject", b"hello")

    assert "streams" in await asking
    await until(lambda: heard == [b"hello"])
    assert link.reconnects == 1

    await link.close()


async def test_large_frames(outside, until):
    """Payloads larger than the socket's buffer arrive whole, between small ones."""
    heard: list[int] = []
    await outside.link.listen("sizes", lambda _s, _r, _h, payload: heard.append(len(payload)))
    sizes = [0, 1, 900_000, 3, 32_768, 32_767, 500_000, 2] * 3

    for size in sizes:
        outside.link.publish("sizes", b"\r\n" * (size // 2) + b"x" * (size % 2))

    await until(lambda: len(heard) == len(sizes))
    assert heard == sizes


async def test_a_failing_listener(outside, until):
    """A callback that raises loses its own message only."""
    heard: list[bytes] = []

    def hear(_subject, _reply, _headers, payload):
        if payload == b"bad":
            raise ValueError(payload)
        heard.append(payload)

    await outside.link.listen("fails", hear)
    for payload in (b"a", b"bad", b"b"):
        outside.link.publish("fails", payload)

    await until(lambda: heard == [b"a", b"b"])


def test_addresses():
    """Credentials never reach a message; versions are compared as numbers."""
    assert redacted("nats://u:p@a:4222,nats://t@b:1") == "nats://a:4222,nats://b:1"
    assert redacted("nats://u:p@ss@a:4222, u:p@b:1") == "nats://a:4222, b:1"
    assert version_of("2.15.1-RC.2") == (2, 15, 1)
    assert version_of("2.9.0") < version_of("2.14.5")
    assert version_of("nonsense") == (0, 0, 0)
