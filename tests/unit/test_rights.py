"""The table of rights, against what there is to have rights to."""

from __future__ import annotations

import pytest

from dagnats.jetstream.plans import UNLIMITED, plans
from dagnats.jetstream.rights import (
    ADMIN,
    API,
    CLIENT,
    EXTRAS,
    ROLES,
    SCHEDULER,
    SERVICES,
    WORKER,
    Grant,
    Queue,
    Rights,
    inbox_of,
    rights_of,
)
from dagnats.wire import subjects

_INSIDE_ONLY = {"DAGNATS_TIMERS", "DAGNATS_TASKS", "KV_dagnats_secrets"}


def rights(role: str, *extras: str, task: str = "t", group: str = "") -> Rights:
    """What a role has."""
    queues = (Queue(task, group),) if role == WORKER else ()
    grant = Grant(name=role, role=role, public="UX", queues=queues, extras=extras)
    return rights_of(grant, ("orders.>",))


@pytest.mark.parametrize("stream", [str(plan["name"]) for plan in plans(1, 1, UNLIMITED)])
def test_every_stream_is_somebodys_to_read(stream: str):
    """A new stream or bucket has to be given to a role, or kept from all on purpose."""
    readable = f"$JS.API.DIRECT.GET.{stream}" in rights(API).publish

    assert readable is (stream not in _INSIDE_ONLY)


@pytest.mark.parametrize("role", [API, CLIENT, WORKER])
def test_all_rights_outside_pass_the_border(role: str):
    """What is not imported would be published to nobody."""
    ways = (*SERVICES, "orders.>", "dagnats.live.>", "dagnats.ask.*")  # the last two stay outside

    for subject in rights(role, *EXTRAS if role == WORKER else ()).publish:
        assert any(subjects.covers(way, subject) for way in ways), subject


@pytest.mark.parametrize("role", sorted(set(ROLES) - {ADMIN}))
def test_inboxes_are_their_owners(role: str):
    """Nobody hears another's answers."""
    inboxes = [each for each in rights(role).subscribe if not each.startswith("dagnats.")]

    assert inboxes == [f"{inbox_of('UX')}.>"]
    assert rights(role).subscribe.count(">") == 0


def test_a_worker_has_one_queue():
    """Of its task and group; names are encoded as in the queue, and can hold no wildcard."""
    mine = rights(WORKER, task="git.*", group="big>").publish
    queues = [each for each in mine if "DAGNATS_TASKS" in each]

    assert len(queues) == 4
    assert all("worker+git=2E=2A+big=3E" in each for each in queues)
    assert any(each.endswith("dagnats.queue.git%2E%2A.big%3E.*") for each in queues)


def test_only_schedulers_and_the_admin_decide():
    """Dispatches, marks, timers and secrets."""
    for role in (API, CLIENT, WORKER):
        for subject in (
            "dagnats.task.0.r.t._",
            "dagnats.mark.0.r.closed",
            "$KV.dagnats_secrets.nonce",
        ):
            assert not any(subjects.covers(each, subject) for each in rights(role).publish)
    assert any(subjects.covers(each, "dagnats.task.0.r.t._") for each in rights(SCHEDULER).publish)
