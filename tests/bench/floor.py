"""The wire floor: this design's message pattern on plain nats-py, with no engine in it.

A start fact; for each step one dispatch into the log, which the server copies into the work queue, and one
outcome fact. The scheduler stand-in only counts, the worker stand-in calls nothing. What remains is the
server and the client library.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import sys
import time
from typing import Any

import msgspec
import nats
import uvloop

PAYLOAD = "x" * 256
UP_TO = 20_000


class Message(msgspec.Struct, array_like=True):
    """A dispatch or an outcome: which step of how many, for which run."""

    run: str
    step: int
    steps: int
    payload: str


_decode = msgspec.msgpack.Decoder(Message).decode
_encode = msgspec.msgpack.encode


class Publisher:
    """Publishes without waiting for each answer: one inbox, one future a message."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._prefix = connection.new_inbox() + "."
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._numbers = itertools.count()

    async def open(self) -> Publisher:
        """Listen for the answers."""
        await self._connection.subscribe(self._prefix + "*", cb=self._answered)
        return self

    async def _answered(self, message: Any) -> None:
        future = self._waiting.pop(message.subject[len(self._prefix) :])
        if b'"error"' in message.data:
            future.set_exception(RuntimeError(message.data.decode()))
        else:
            future.set_result(None)

    async def publish(
        self, subject: str, body: bytes, headers: dict[str, str]
    ) -> asyncio.Future[None]:
        """Send; the future is done when it is stored."""
        number = str(next(self._numbers))
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._connection.publish(subject, body, reply=self._prefix + number, headers=headers)
        return future


async def pull(connection: Any, stream: str, consumer: str, batch: int, handle: Any) -> None:
    """Keep one request for messages open, and hand over what has come."""
    arrived: asyncio.Queue[Any] = asyncio.Queue()
    inbox = connection.new_inbox()

    async def put(message: Any) -> None:
        arrived.put_nowait(message)

    await connection.subscribe(inbox, cb=put, pending_msgs_limit=-1, pending_bytes_limit=-1)
    wanted = 0
    while True:
        if wanted < batch // 2:
            ask = {"batch": batch - wanted, "expires": 30_000_000_000}
            await connection.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
                json.dumps(ask).encode(),
                reply=inbox,
            )
            wanted = batch
        messages = [await arrived.get()]
        while not arrived.empty():
            messages.append(arrived.get_nowait())
        delivered = [message for message in messages if message.reply]
        wanted = wanted - len(delivered) if len(delivered) == len(messages) else 0
        if delivered:
            await handle(delivered)


async def setup(connection: Any) -> None:
    """The log, the queue sourced from it, and a consumer of each."""

    async def api(subject: str, body: dict[str, Any]) -> None:
        answer = await connection.request(
            "$JS.API." + subject, json.dumps(body).encode(), timeout=5
        )
        if b'"error"' in answer.data:
            raise RuntimeError(answer.data.decode())

    transform = {"src": "task.*.*.*", "dest": "queue.{{wildcard(3)}}.{{wildcard(2)}}"}
    log = {
        "name": "LOG",
        "subjects": ["fact.>", "task.>"],
        "storage": "file",
        "duplicate_window": 120_000_000_000,
    }
    queue = {
        "name": "QUEUE", "retention": "workqueue", "storage": "file",
        "sources": [{"name": "LOG", "subject_transforms": [transform]}],
    }  # fmt: skip
    await api("STREAM.CREATE.LOG", log)
    await api("STREAM.CREATE.QUEUE", queue)
    for stream, name, acknowledge, subject in (
        ("LOG", "scheduler", "all", "fact.0.>"),
        ("QUEUE", "worker", "explicit", "queue.noop.*"),
    ):
        config = {
            "durable_name": name, "ack_policy": acknowledge, "filter_subject": subject, "max_ack_pending": UP_TO,
        }  # fmt: skip
        await api(
            f"CONSUMER.CREATE.{stream}.{name}.{subject}", {"stream_name": stream, "config": config}
        )


async def scheduler(connection: Any) -> None:
    """Answer each fact with the next dispatch."""
    publisher = await Publisher(connection).open()

    async def handle(messages: list[Any]) -> None:
        stored = []
        for message in messages:
            fact = _decode(message.data)
            if fact.step == fact.steps:
                await connection.publish(f"closed.{fact.run}")
                continue
            headers = {"Nats-Msg-Id": f"{fact.run}.{fact.step}:dispatch"}
            stored.append(
                await publisher.publish(f"task.0.{fact.run}.noop", _encode(fact), headers)
            )
        await asyncio.gather(*stored)
        await connection.publish(messages[-1].reply, b"+ACK")

    await pull(connection, "LOG", "scheduler", 1000, handle)


async def worker(connection: Any) -> None:
    """Answer each dispatch with an outcome, then acknowledge it."""
    publisher = await Publisher(connection).open()
    running: set[asyncio.Task[None]] = set()

    async def run(message: Any) -> None:
        task = _decode(message.data)
        outcome = Message(task.run, task.step + 1, task.steps, task.payload)
        headers = {"Nats-Msg-Id": f"{task.run}.{task.step}:succeeded"}
        await (await publisher.publish(f"fact.0.{task.run}", _encode(outcome), headers))
        await connection.publish(message.reply, b"+ACK")

    async def handle(messages: list[Any]) -> None:
        for message in messages:
            task = asyncio.get_running_loop().create_task(run(message))
            running.add(task)
            task.add_done_callback(running.discard)

    await pull(connection, "QUEUE", "worker", 400, handle)


async def client(connection: Any, runs: int, in_flight: int, steps: int) -> None:
    """Start runs and wait for them; print steps a second and milliseconds a step."""
    publisher = await Publisher(connection).open()
    slots = asyncio.Semaphore(in_flight)
    closing: dict[str, asyncio.Future[float]] = {}
    took: list[float] = []
    prefix = os.urandom(4).hex()

    async def closed(message: Any) -> None:
        closing.pop(message.subject.split(".")[1]).set_result(time.perf_counter())

    await connection.subscribe("closed.*", cb=closed)

    async def one(number: int) -> None:
        async with slots:
            run = f"{prefix}{number}"
            end = closing[run] = asyncio.get_running_loop().create_future()
            began = time.perf_counter()
            headers = {"Nats-Expected-Last-Subject-Sequence": "0", "Nats-Msg-Id": f"{run}:start"}
            await (
                await publisher.publish(
                    f"fact.0.{run}", _encode(Message(run, 0, steps, PAYLOAD)), headers
                )
            )
            took.append(await end - began)

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(runs)))
    elapsed = time.perf_counter() - began
    figures = {
        "steps_per_s": runs * steps / elapsed,
        "ms_per_step_p50": statistics.median(took) * 1000 / steps,
    }
    print(json.dumps(figures))


ROLES: dict[str, Any] = {"setup": setup, "scheduler": scheduler, "worker": worker, "client": client}


async def main(role: str, url: str, *numbers: str) -> None:
    """Play one role."""
    connection = await nats.connect(url)
    await ROLES[role](connection, *map(int, numbers))
    await connection.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
