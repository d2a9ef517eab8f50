"""What the server cannot refuse has no effect: answers without the nonce, and ids that were taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from dagnats.client import Client, Handle
from dagnats.core.model import Workflow
from dagnats.enquiries import Enquiries
from dagnats.jetstream.asking import ApiError
from dagnats.jetstream.lease_link import LeaseKeeperLink
from dagnats.jetstream.link import Link
from dagnats.jetstream.publisher import Publisher
from dagnats.ports import Append
from dagnats.registry import Registry
from dagnats.scheduler.service import Scheduler
from dagnats.settings import Access
from dagnats.wire import subjects
from dagnats.wire.messages import Enquiry
from dagnats.worker.service import Worker
from tests.security.app import app
from tests.security.support import Guarded
from tests.support.deployment import Process, eventually

_SHOUT: Workflow = app.tasks["shout"].definition()


@asynccontextmanager
async def scheduled(roles: Guarded) -> AsyncIterator[Client]:
    """A scheduler at work, and the api's client; ``add`` is registered."""
    async with roles.outside("scheduler", ensure=True) as inside, roles.client("api") as client:
        scheduler = Process(Scheduler(inside), inside)
        await scheduler.ready()
        await client.register(_SHOUT)
        await client.register(app.tasks["add"].definition())
        yield client
        await scheduler.stop()


async def dispatched(client: Client, run: str) -> dict[str, Any]:
    """The first dispatch of a run."""

    async def found() -> Any:
        entries = await client.outside.log.history(run)
        bodies = [each.payload for each in entries if each.subject.startswith("dagnats.task.")]
        return bodies[0] if bodies else None

    return msgspec.json.decode(await eventually(found))


async def told(link: Link, subject: str, body: dict[str, Any], msg_id: str = "") -> None:
    """Publish as whoever the link belongs to."""
    publisher = await Publisher(link).open()
    await publisher.publish(Append(subject, msgspec.json.encode(body), msg_id))


def answer(ticket: dict[str, Any], nonce: str, output: int) -> dict[str, Any]:
    """An outcome."""
    return {"type": "step.succeeded", "ticket": ticket["ticket"], "nonce": nonce, "output": output}


async def letters(client: Client, run: str) -> int:
    """How many messages of a run were given up as poison."""
    tally = await client.outside.letters.tally(subjects.dead_letters(run=run))
    return sum(tally.values())


async def test_an_answer_without_the_nonce_changes_nothing(roles: Guarded):
    """A worker may write answers about any run; without the ticket's nonce one is put away, and the run waits."""
    async with scheduled(roles) as client, roles.link("worker-add") as other:
        handle: Handle[str] = await client.start("add", {"a": 1, "b": 2})
        ticket = await dispatched(client, handle.run_id)
        await told(other, ticket["answer_to"], answer(ticket, "0" * 16, 666))
        await eventually(lambda: letters(client, handle.run_id))
        assert (await handle.status()).status == "running"
        await told(other, ticket["answer_to"], answer(ticket, ticket["nonce"], 3))
        assert await handle.result(10) == 3


async def test_a_dispatch_whose_id_was_taken_is_stored(roles: Guarded):
    """Ids are known by stream: a worker could take that of a dispatch to come. It is written all the same."""
    async with scheduled(roles) as client, roles.link("worker-add") as other:
        taken = subjects.fact(0, "any", "worker")
        await told(other, taken, {}, "victim-1/add/1/0:dispatch")
        await client.start("add", {"a": 1, "b": 2}, id="victim-1")
        ticket = await dispatched(client, "victim-1")
        assert ticket["ticket"] == "add/1/0"


async def test_a_start_whose_id_was_taken_is_stored(roles: Guarded):
    """So it is with a start; and a second start is still refused."""
    async with scheduled(roles) as client, roles.link("worker-add") as other:
        await told(other, subjects.fact(0, "any", "worker"), {}, "victim-2:start")
        await client.start("add", {"a": 1, "b": 2}, id="victim-2")
        assert (await dispatched(client, "victim-2"))["run"] == "victim-2"


async def test_an_answer_whose_id_was_taken_is_stored(roles: Guarded):
    """The worker asks whether the message of that id counts, and answers again when it does not."""
    async with scheduled(roles) as client, roles.link("worker-shout") as other:
        await told(other, subjects.fact(0, "any", "worker"), {}, "victim-3/add/1/0:answer")
        handle = await client.start("add", {"a": 1, "b": 2}, id="victim-3")
        async with roles.outside("worker-add") as outside:
            access = Access(roles.creds("worker-add"))
            keeper = LeaseKeeperLink(roles.broker.url, name="leases", access=access)
            tasks = {"add": app.tasks["add"]}
            worker = Process(Worker(outside, tasks, keeper, concurrency=1), outside)
            await worker.ready()
            assert await handle.result(20) == 3
            await worker.stop()


async def test_schedulers_read_the_log_for_workers(roles: Guarded):
    """A worker that may not read asks whether its ticket was answered; who lacks the nonce gets no answer."""
    async with scheduled(roles) as client, roles.outside("worker-add") as outside:
        handle = await client.start("add", {"a": 1, "b": 2})
        ticket = await dispatched(client, handle.run_id)
        enquiries = Enquiries(outside, Registry(outside.documents(subjects.DEFINITIONS)))
        enquiry = Enquiry(run=handle.run_id, ticket=ticket["ticket"], nonce=ticket["nonce"])
        assert not (await enquiries.ask(enquiry)).settled
        forged = msgspec.json.encode(msgspec.structs.replace(enquiry, nonce="0" * 16))
        assert await outside.notices.ask(subjects.DESK, forged, 500, enough=1) == []
        await told(outside.link, ticket["answer_to"], answer(ticket, ticket["nonce"], 3))
        await handle.result(10)
        assert (await enquiries.ask(enquiry)).settled


async def test_a_ticket_that_is_pushed_keeps_its_subject(roles: Guarded):
    """A worker may have its own tickets sent where somebody listens: they are heard, and are stored as nothing."""
    async with (
        scheduled(roles) as client,
        roles.link("worker-add") as other,
        roles.link("admin") as admin,
    ):
        handle: Handle[str] = await client.start("shout", "hello")
        waiting = asyncio.ensure_future(handle.result(30))
        ticket = await dispatched(client, handle.run_id)
        partition = subjects.partition_of(handle.run_id, client.outside.log.partitions)
        mark = subjects.mark(partition, handle.run_id, "closed")
        heard: list[bytes] = []
        await admin.listen(mark, lambda subject, *_: heard.append(subject))
        await admin.settle()
        # A dispatch as any, but that the server does not know its id any more.
        await told(admin, subjects.task(0, "old", "add", ""), {**ticket, "run": "old"})
        name, own = subjects.worker_consumer("add", ""), subjects.queue("add", "")
        consumer = f"{subjects.TASKS}.{name}"
        with suppress(ApiError):
            await admin.api(f"CONSUMER.DELETE.{consumer}")
        config = {
            "name": name, "durable_name": name, "ack_policy": "explicit", "filter_subject": own,
            "deliver_subject": mark,
        }  # fmt: skip
        body = {"stream_name": subjects.TASKS, "config": config}
        await other.api(f"CONSUMER.CREATE.{consumer}.{own}", body)
        await eventually(lambda: b"dagnats.queue.add._.old" in heard)
        await admin.api(f"CONSUMER.DELETE.{consumer}")
        assert await client.outside.log.last(mark) is None
        done = answer(ticket, ticket["nonce"], 0) | {"output": "HELLO"}
        async with roles.link("worker-shout") as honest:
            await told(honest, ticket["answer_to"], done)
        assert await waiting == "HELLO"
