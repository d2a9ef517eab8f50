"""Whatever anybody publishes where facts and tickets belong: processes live, and other runs go on."""

from __future__ import annotations

import json
import os
import socket

import pytest

from dagnats.ports import Append
from dagnats.wire import subjects
from tests.faults.load import Scene, scene
from tests.support.deployment import Deployment, eventually

pytestmark = [pytest.mark.faults]

PAYLOAD_MAX = 1024 * 1024  # what the server takes
SOON_S = 10


def garbage() -> list[bytes]:
    """Payloads that are no facts."""
    return [
        b"",
        b"\x00",
        os.urandom(200),
        b"\xff\xfe{}",
        b"null",
        b"[]",
        b'"step.succeeded"',
        b"{",
        b'{"type":"step.succeeded"}',
        b'{"type":"step.vanished","ticket":"s0/1/0"}',
        b'{"type":"step.succeeded","ticket":7}',
        b'{"type":"run.started","workflow":1e999,"definition":{}}',
        b'{"type":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"type":"step.failed","ticket":"s0/1/0","error":"' + b"x" * 900_000 + b'"}',
        b"x" * PAYLOAD_MAX,
    ]


def well_formed(run: str) -> list[tuple[str, bytes]]:
    """Facts in good order that have no business here: by author and body."""
    bodies = [
        ("worker", {"type": "step.succeeded", "ticket": "s0/1/0", "nonce": "0" * 16}),
        ("worker", {"type": "step.failed", "ticket": "s0/1/0", "error": "e" * 900_000}),
        ("worker", {"type": "step.continued", "ticket": "s0/1/0"}),
        ("worker", {"type": "run.cancel_requested", "reason": f"not mine to ask, {run}"}),
        ("client", {"type": "step.succeeded", "ticket": "s1/1/0"}),
        ("client", {"type": "timer.fired", "due_ms": 1}),
    ]
    return [(author, json.dumps(body).encode()) for author, body in bodies]


async def poison_facts(s: Scene, run: str, partition: int) -> list[bytes]:
    """Everything above about one run; what was stored."""
    pieces = [(author, body) for body in garbage() for author in ("client", "worker", "timer")]
    pieces += [("nobody", b"{}"), ("signal.x", b"{}"), *well_formed(run)]
    for author, body in pieces:
        await s.load.client.outside.log.append(
            [Append(subjects.fact(partition, run, author), body)]
        )
    return [body for _, body in pieces]


async def dead_bodies(s: Scene) -> list[bytes]:
    """What the dead letters hold."""
    deployment = Deployment(None, s.broker, s.load.client.outside, 16)  # only to look
    return [message.body for message in await deployment.dead()]


async def others_go_on(s: Scene) -> None:
    """New runs in every partition complete soon, and nobody has died."""
    await s.load.start(60)
    await s.load.complete(SOON_S)
    assert all(program.alive for program in s.fleet.everybody)


async def test_poison_among_the_facts(broker, tmp_path):
    """Facts that cannot be folded become dead letters as they came; the next runs are not delayed."""
    async with scene(broker, tmp_path, workers=1) as s:
        await s.load.start(5)
        sent: list[bytes] = []
        for partition in (0, 7):
            sent += await poison_facts(s, f"unknown-{partition}", partition)
        await others_go_on(s)

        async def all_dead() -> bool:
            return len(await dead_bodies(s)) >= len(sent)

        await eventually(all_dead)
        missing = [body[:60] for body in set(sent) - set(await dead_bodies(s)) if len(body) < 10**6]
        assert missing == []
        assert await s.load.judge() == {}


async def test_a_definition_that_is_gone(broker, tmp_path):
    """A run whose workflow nobody has any more ends, or is kept as a dead letter; the next ones are not delayed."""
    async with scene(broker, tmp_path, workers=1) as s:
        outside = s.load.client.outside
        started = {"type": "run.started", "workflow": "chain", "definition": "0" * 64, "input": 1}
        body = json.dumps(started).encode()
        subject = subjects.fact(subjects.partition_of("orphan", 16), "orphan", "client")
        await outside.log.append([Append(subject, body)])
        await others_go_on(s)

        async def seen() -> bool:
            closed = subjects.mark(subjects.partition_of("orphan", 16), "orphan", "closed")
            return body in await dead_bodies(s) or await outside.log.last(closed) is not None

        await eventually(seen)
        assert await s.load.judge() == {}


async def test_forged_answers_change_nothing(broker, tmp_path):
    """Answers with a wrong nonce, for runs that are going on, do not move them."""
    async with scene(broker, tmp_path, workers=1) as s:
        s.fleet.workers[0].kill()  # it has made the workflows known
        await s.load.start(10)
        for run in s.load.started:
            partition = subjects.partition_of(run, s.load.client.outside.log.partitions)
            for author, body in well_formed(run):
                subject = subjects.fact(partition, run, author)
                await s.load.client.outside.log.append([Append(subject, body)])
        for run in s.load.started:
            statuses = [step.status for step in (await s.load.client.run(run)).steps]
            assert statuses == ["queued", *["pending"] * 4]
        await s.fleet.add_worker()
        await s.load.complete()
        for run in s.load.started:
            types = [event.type for event in await s.load.client.handle(run).history()]
            assert types.count("step.dispatched") == 5


async def test_poison_among_the_tickets(broker, tmp_path):
    """What is no ticket is removed from the queue, and a false one answers nobody; real ones go on."""
    async with scene(broker, tmp_path, workers=2) as s:
        ticket = {
            "ticket": "s0/1/0", "run": "r", "step": "s0", "task": "hop", "workflow": "chain", "input": 1,
            "answer_to": "$JS.API.STREAM.PURGE.DAGNATS_EVENTS",
        }  # fmt: skip
        false = [
            ticket,
            {**ticket, "answer_to": ""},
            {**ticket, "answer_to": "dagnats.fact.0.other.worker"},
            {**ticket, "answer_to": "dagnats.fact.0.r.worker bad", "input": "not a number"},
            {**ticket, "task": "unheard-of"},
            {**ticket, "checkpoint": {"$dagnats.blob": "nowhere", "size": 1}},
            {**ticket, "input": {"$dagnats.blob": "nowhere", "size": 1}},
        ]
        for task in ("hop", "turn"):
            for body in (*garbage(), *(json.dumps(each).encode() for each in false)):
                subject = subjects.task(0, "r", task, "")
                await s.load.client.outside.log.append([Append(subject, body)])
        await others_go_on(s)
        assert "no ticket and was removed" in "".join(w.text for w in s.fleet.workers)


async def test_subjects_that_are_none_of_ours(broker, tmp_path):
    """Subjects with bytes that are no text, with too few and too many tokens, and false marks."""
    async with scene(broker, tmp_path, workers=1) as s:
        with socket.create_connection(("127.0.0.1", broker.port)) as raw:
            raw.sendall(b'CONNECT {"verbose":false,"headers":true}\r\n')
            for subject in (
                b"dagnats.fact.0.\xff\xfe.client", b"dagnats.fact.0.x", b"dagnats.fact.0.a.b.c.d.e",
                b"dagnats.fact.0.%2E%FF.client", b"dagnats.task.0.x.hop._", b"dagnats.task.0.\xff.hop._",
                b"dagnats.task.0.x", b"dagnats.mark.0.\xff.closed", b"dagnats.mark.0.x.closed",
                b"dagnats.fact.99.y.client", b"dagnats.fact.none.y.client",
            ):  # fmt: skip
                raw.sendall(b"PUB %s 2\r\n{}\r\n" % subject)
                header = b"NATS/1.0 503 none\r\nNats-Msg-Id: \xff\r\nodd\r\n\r\n"
                raw.sendall(
                    b"HPUB %s %d %d\r\n%s{}\r\n" % (subject, len(header), len(header) + 2, header)
                )
            raw.sendall(b"PING\r\n")
            await eventually(lambda: b"PONG" in raw.recv(65536))
        await others_go_on(s)
        assert len((await s.load.client.runs(limit=100)).runs) >= 60
        assert await s.load.judge() == {}


async def test_poison_everywhere_else(broker, tmp_path):
    """Garbage among signals, events, timers, streams, dead letters and hooks, and to whoever listens live."""
    async with scene(broker, tmp_path, workers=1) as s:
        await s.load.start(5)
        outside = s.load.client.outside
        [run, *_] = s.load.started
        partition = subjects.partition_of(run, outside.log.partitions)
        stored = [
            subjects.signal(partition, run, "go"), subjects.signal(3, "unknown", "go"),
            subjects.inbox("paid"), subjects.due(partition, run), subjects.due(3, "unknown"),
            subjects.stream(run, "s0", "1"), subjects.dead("hop", run, "s0"),
            subjects.mark(partition, "unknown", "closed"), "dagnats.hook.x", "dagnats.cron.x", "dagnats.timer.0.x",
        ]  # fmt: skip
        heard = [
            subjects.live(run), subjects.ask(run), subjects.handover("nobody"),
            *(subjects.settled(w.name) for w in s.fleet.workers),
        ]  # fmt: skip
        bodies = garbage()
        for subject in stored:
            await outside.log.append([Append(subject, body) for body in bodies])
        for subject in heard:
            for body in bodies:
                outside.link.publish(subject, body)
        await outside.link.settle()
        await others_go_on(s)
        assert await s.load.judge() == {}
