"""What each role may not do. Each act is first done with the admin's credential: it would work."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from dagnats.errors import DagNatsError, NotPermitted
from dagnats.jetstream import direct
from dagnats.jetstream.asking import ApiError
from dagnats.jetstream.link import Link
from dagnats.jetstream.publisher import Publisher
from dagnats.ports import Append
from dagnats.wire import subjects
from tests.security.support import Guarded
from tests.support.deployment import eventually

_WORKER = "worker-add"
_OTHERS = f"{subjects.TASKS}.{subjects.worker_consumer('shout', '')}"
_OWN = f"{subjects.TASKS}.{subjects.worker_consumer('add', '')}"
_DOOMED = "DOOMED"  # for acts that must not be done to a stream that others need


class Act(NamedTuple):
    """A request, and who may not make it."""

    name: str
    subject: str
    body: Any = None
    roles: tuple[str, ...] = (_WORKER, "client")


def consumer(name: str, **config: Any) -> dict[str, Any]:
    """A request for a consumer of the work queue."""
    about = {"name": name, "durable_name": name, "ack_policy": "explicit", **config}
    return {"stream_name": subjects.TASKS, "config": about}


_SHOUT = subjects.queue("shout", "")
_SHOUTS = subjects.worker_consumer("shout", "")
API = [
    Act("delete a stream", f"STREAM.DELETE.{_DOOMED}", roles=(_WORKER, "client", "api", "scheduler")),
    Act("purge the log", f"STREAM.PURGE.{subjects.EVENTS}", {"filter": "no.such"}, (_WORKER, "client", "api")),
    Act("purge payloads", "STREAM.PURGE.OBJ_dagnats_blobs", {"filter": "no.such"}, (_WORKER, "client", "api")),
    Act("change a stream", f"STREAM.UPDATE.{_DOOMED}", {"name": _DOOMED, "subjects": ["doomed.>"]},
        (_WORKER, "client", "api")),
    Act("make a stream", "STREAM.CREATE.MINE", {"name": "MINE", "subjects": ["mine.>"]}, (_WORKER, "client", "api")),
    Act("delete a message", f"STREAM.MSG.DELETE.{_DOOMED}", {"seq": 1}, (_WORKER, "client", "api")),
    Act("have another's consumer made", f"CONSUMER.CREATE.{_OTHERS}.{_SHOUT}",
        consumer(_SHOUTS, filter_subject=_SHOUT), (_WORKER, "client", "api")),
    Act("look at another's consumer", f"CONSUMER.INFO.{_OTHERS}", roles=(_WORKER,)),
    Act("delete a consumer", f"CONSUMER.DELETE.{_OTHERS}", roles=(_WORKER, "client", "api")),
    Act("read a message of the log", f"STREAM.MSG.GET.{subjects.EVENTS}", {"last_by_subj": "dagnats.>"}, (_WORKER,)),
    Act("read a message of the queue", f"STREAM.MSG.GET.{subjects.TASKS}", {"last_by_subj": ">"}),
    Act("read a definition", "STREAM.MSG.GET.KV_dagnats_definitions", {"last_by_subj": ">"}, (_WORKER,)),
    Act("read the secret", "STREAM.MSG.GET.KV_dagnats_secrets", {"last_by_subj": ">"}, (_WORKER, "client", "api")),
]  # fmt: skip

WRITES = [
    Act("start a run", subjects.fact(0, "r", "client"), {}, (_WORKER,)),
    Act("say that a child has ended", subjects.fact(0, "r", "scheduler"), {}, (_WORKER, "client", "api")),
    Act("say that a timer is due", subjects.fact(0, "r", "timer"), {}, (_WORKER, "client", "api")),
    Act("signal", subjects.signal(0, "r", "go"), {}, (_WORKER,)),
    Act("let in at a gate", subjects.fact(0, "r", "gate"), {}),
    Act("fire a trigger", subjects.fact(0, "trigger=t", "trigger"), {}, (_WORKER,)),
    Act("answer a ticket", subjects.fact(0, "r", "worker"), {}, ("client", "api")),
    Act("dispatch", subjects.task(0, "r", "shout", ""), {}, (_WORKER, "client", "api")),
    Act("end a run", subjects.mark(0, "r", "closed"), {}, (_WORKER, "client", "api")),
    Act("publish an event", subjects.inbox("e"), {}, (_WORKER,)),
    Act("write a dead letter", subjects.dead("shout", "r", "s"), {}),
    Act("set the secret", "$KV.dagnats_secrets.nonce", {}, (_WORKER, "client", "api")),
    Act("grant the control plane", "$KV.dagnats_control.policy", {}, (_WORKER, "client", "api")),
    Act("register a workflow", "$KV.dagnats_definitions.name.x", {}),
    Act("change another's task", "$KV.dagnats_tasks.shout", {}),
    Act("take a lease", "$KV.dagnats_leases.partition.0", {}, (_WORKER, "client", "api")),
]  # fmt: skip


def cases(acts: list[Act]) -> list[Any]:
    """Each act for each role that may not do it."""
    return [pytest.param(role, act, id=f"{role}: {act.name}") for act in acts for role in act.roles]


async def doom(roles: Guarded) -> int:
    """A stream with a message, to be harmed; how many it has."""
    async with roles.link("admin") as admin:
        await admin.api(f"STREAM.CREATE.{_DOOMED}", {"name": _DOOMED, "subjects": ["doomed.>"]})
        await (await Publisher(admin).open()).publish(Append("doomed.x", b"{}"))
        return await held(admin)


async def held(admin: Link) -> int:
    """How many messages the doomed stream has."""
    count: int = (await admin.api(f"STREAM.INFO.{_DOOMED}"))["state"]["messages"]
    return count


async def asked(link: Link, act: Act) -> None:
    """Ask; what JetStream has against a request that it was handed is not of interest here."""
    try:
        await link.api(act.subject, act.body)
    except ApiError:
        return


@pytest.mark.parametrize(("role", "act"), cases(API))
async def test_requests_that_are_not_theirs(roles: Guarded, role: str, act: Act):
    """The server hands the request of the admin to JetStream, and refuses the role's."""
    before = await doom(roles)
    async with roles.link(role) as link:
        with pytest.raises(NotPermitted, match=rf"{role}\.nk may not publish to \$JS\.API\."):
            await link.api(act.subject, act.body)
    async with roles.link("admin") as admin:
        assert await held(admin) == before
        await asked(admin, act)
        await asked(admin, Act("", f"STREAM.DELETE.{_DOOMED}"))
        await asked(admin, Act("", "STREAM.DELETE.MINE"))


@pytest.mark.parametrize(("role", "act"), cases(WRITES))
async def test_writes_that_are_not_theirs(roles: Guarded, role: str, act: Act):
    """The admin's write is stored; the role's is refused."""
    async with roles.link("admin") as admin:
        there = await (await Publisher(admin).open()).publish(Append(act.subject, b"{}"))
        assert there.seq > 0
    async with roles.link(role) as link:
        with pytest.raises(NotPermitted, match="may not publish to"):
            await (await Publisher(link).open()).publish(Append(act.subject, b"{}"))


@pytest.mark.parametrize("stream", ["DAGNATS_EVENTS", "DAGNATS_TASKS", "KV_dagnats_secrets"])
async def test_a_worker_reads_no_stream_of_others(roles: Guarded, stream: str):
    """Direct gets: the admin's is answered, the worker's is refused."""
    async with roles.link("admin") as admin:
        await direct.get(admin, stream, 1)
    async with roles.link(_WORKER) as link:
        with pytest.raises(NotPermitted):
            await direct.get(link, stream, 1)


@pytest.mark.parametrize(
    "config",
    [
        {"filter_subject": _SHOUT},
        {"filter_subjects": [subjects.queue("add", ""), _SHOUT]},
        {"filter_subject": subjects.queue("add", ""), "filter_subjects": [_SHOUT]},
        {},
    ],
    ids=["another filter", "two filters", "both", "none"],
)
async def test_a_workers_own_consumer_takes_its_own_tickets_only(
    roles: Guarded, config: dict[str, Any]
):
    """The server holds the request to the filter in its subject, which is what the worker may publish to."""
    name = subjects.worker_consumer("add", "")
    own = subjects.queue("add", "")
    async with roles.link(_WORKER) as link:
        with pytest.raises(ApiError):
            await link.api(f"CONSUMER.CREATE.{_OWN}.{own}", consumer(name, **config))
        made = await link.api(f"CONSUMER.CREATE.{_OWN}.{own}", consumer(name, filter_subject=own))
        assert made["config"]["filter_subject"] == own


async def test_a_worker_pulls_no_tickets_of_another(roles: Guarded):
    """A pull on another's consumer brings the admin a ticket, and the worker nothing but a refusal."""
    ticket = subjects.task(0, "r", "shout", "")
    async with roles.link("admin") as admin:
        await admin.api(
            f"CONSUMER.CREATE.{_OTHERS}.{_SHOUT}", consumer(_SHOUTS, filter_subject=_SHOUT)
        )
        await (await Publisher(admin).open()).publish(Append(ticket, b"{}"))
        pull = json.dumps({"batch": 1, "expires": 29_000_000_000}).encode()
        async with roles.link(_WORKER) as link:
            with pytest.raises(NotPermitted):
                await link.exchange(f"$JS.API.CONSUMER.MSG.NEXT.{_OTHERS}", pull)
        came: list[bytes] = []
        inbox = admin.client.new_inbox()
        await admin.listen(inbox, lambda _subject, _reply, _headers, body: came.append(body))
        admin.publish(f"$JS.API.CONSUMER.MSG.NEXT.{_OTHERS}", pull, inbox)
        await eventually(lambda: came == [b"{}"])


@pytest.mark.parametrize(
    ("role", "subject"),
    [
        (_WORKER, ">"),
        (_WORKER, "dagnats.>"),
        (_WORKER, "dagnats.mark.>"),
        (_WORKER, "dagnats.live.handover.>"),
        (_WORKER, "_INBOX.>"),
        ("client", ">"),
        ("client", "dagnats.fact.>"),
        ("client", "_INBOX.>"),
        ("client", "dagnats.live.settled.*"),
    ],
)
async def test_nobody_listens_to_what_is_not_for_them(roles: Guarded, role: str, subject: str):
    """The admin hears; the role's subscription is refused."""
    async with roles.link("admin") as admin:
        (await admin.listen(subject, lambda *_: None))()
        await admin.settle()
        admin.refusals.check(subject)
    async with roles.link(role) as link:
        await link.listen(subject, lambda *_: None)
        await link.settle()
        with pytest.raises(NotPermitted, match="may not subscribe to"):
            link.refusals.check(subject)


@pytest.mark.parametrize("stream", ["OBJ_dagnats_blobs", "KV_dagnats_checkpoints"])
async def test_no_header_purges_what_workers_write(roles: Guarded, stream: str):
    """Where rollups are allowed, one write can purge a stream; there the worker's is refused."""
    body = {"name": _DOOMED, "subjects": ["doomed.>"], "allow_rollup_hdrs": True}
    rollup = (("Nats-Rollup", "all"),)
    async with roles.link("admin") as admin:
        publisher = await Publisher(admin).open()
        await admin.api(f"STREAM.CREATE.{_DOOMED}", body)
        await publisher.publish(Append("doomed.x", b"1"))
        await publisher.publish(Append("doomed.y", b"2", headers=rollup))
        assert (await admin.api(f"STREAM.INFO.{_DOOMED}"))["state"]["messages"] == 1
        await admin.api(f"STREAM.DELETE.{_DOOMED}")
    mine = {
        "OBJ_dagnats_blobs": "$O.dagnats_blobs.M.x",
        "KV_dagnats_checkpoints": "$KV.dagnats_checkpoints.r.s",
    }
    async with roles.link(_WORKER) as link:
        publisher = await Publisher(link).open()
        before = await publisher.publish(Append(mine[stream], b"1"))
        with pytest.raises(DagNatsError, match="rollup"):
            await publisher.publish(Append(mine[stream], b"2", headers=rollup))
        assert (await direct.get(link, stream, before.seq)) is not None


@pytest.mark.parametrize("role", [_WORKER, "client", "api"])
async def test_answers_stay_on_their_side(roles: Guarded, role: str):
    """A server answers wherever a request says. Inside one account that writes what its asker may not."""
    victim = "dagnats.fact.0.victim.client"
    own = {"client": "dagnats.event.e", "api": "dagnats.event.e"}.get(
        role, "$KV.dagnats_checkpoints.r.s"
    )
    stream = "DAGNATS_INBOX" if "event" in own else "KV_dagnats_checkpoints"

    async def planted(link: Link) -> None:
        """Have the server answer a read, and a write, on the victim's subject."""
        await (await Publisher(link).open()).publish(
            Append(own, b'{"type": "run.cancel_requested"}')
        )
        body = json.dumps({"last_by_subj": own}).encode()
        link.publish(f"$JS.API.DIRECT.GET.{stream}", body, victim)
        link.publish(own, b"{}", victim)
        await link.settle()

    async def stored(admin: Link) -> int:
        info = await admin.api(f"STREAM.INFO.{subjects.EVENTS}", {"subjects_filter": victim})
        return (info["state"].get("subjects") or {}).get(victim, 0)

    async def reached(admin: Link, count: int) -> bool:
        return await stored(admin) >= count

    async with roles.link("admin") as admin:
        before = await stored(admin)
        async with roles.link(role) as link:
            await planted(link)
        await planted(admin)
        await eventually(lambda: reached(admin, before + 2))
        assert await stored(admin) == before + 2
