"""Tickets that were removed from the queue come back; others do not come twice."""

from __future__ import annotations

import pytest
from msgspec import Raw

from dagnats.core.events import StepSucceeded
from dagnats.errors import PublishFailed
from dagnats.memory.queue import MemoryQueue
from dagnats.scheduler.partition import Partition
from dagnats.wire import subjects
from dagnats.wire.messages import nonce
from tests.support.builders import a_step, a_workflow
from tests.unit.scheduler.test_partition import SECRET, Deployment

DISPATCHES = "dagnats.task.0.run.>"


def removed(deployment: Deployment, *tickets: str) -> None:
    """Somebody takes tickets out of the queue, by hand."""
    ids = {f"run/{ticket}:dispatch" for ticket in tickets}
    for line in deployment.world.queue._lines.values():
        for seq, ticket in list(line.tickets.items()):
            if ticket.entry.msg_id in ids:
                line.purge(seq)


def dispatched(deployment: Deployment) -> list[str]:
    """The ids of all dispatches, in order."""
    return [each.msg_id for each in deployment.world.streams[subjects.EVENTS].matching(DISPATCHES)]


async def under_way(*steps) -> tuple[Deployment, Partition]:
    """A run whose steps are queued, and its next owner."""
    deployment = Deployment()
    await deployment.start(a_workflow(*steps))
    first = await deployment.owner()
    await deployment.done(first)
    return deployment, await deployment.owner()


async def test_what_is_missing_twice_is_dispatched_again():
    """Of two tickets on one subject the one that was removed, once, with what it had."""
    deployment, owner = await under_way(a_step("a", task="t"), a_step("b", task="t"))
    removed(deployment, "b/1/0")
    for _ in range(5):
        await owner.reconciler.look()

    log = deployment.world.streams[subjects.EVENTS]
    lost, again = [each for each in log.matching(DISPATCHES) if "/b/" in each.msg_id]
    assert again.msg_id == f"run/b/1/0:dispatch:{lost.seq}"
    assert again.payload == lost.payload
    assert len(dispatched(deployment)) == 3
    assert await deployment.outside.queue.waiting("run") == {"run/a/1/0:dispatch", again.msg_id}


async def test_two_owners_dispatch_again_once():
    """Whoever looks writes the same; and it may be lost again."""
    deployment, owner = await under_way("a")
    other = await deployment.owner()
    removed(deployment, "a/1/0")
    for each in (owner, other, owner, other):
        await each.reconciler.look()
    first, second = dispatched(deployment)
    await deployment.outside.queue.purge_run("run")
    for _ in range(3):
        await owner.reconciler.look()

    assert len(dispatched(deployment)) == 3
    assert len({first, second, *dispatched(deployment)}) == 3


async def test_one_look_is_not_enough():
    """What was dispatched a moment ago may not have come to the queue."""
    deployment, owner = await under_way("a")
    removed(deployment, "a/1/0")
    assert await owner.reconciler.look() == 0
    assert await owner.reconciler.look() == 1


async def test_a_queue_that_lags_behind_says_nothing(monkeypatch):
    """Nothing counts as missing; when it has caught up, two looks are needed again."""
    deployment, owner = await under_way("a")
    removed(deployment, "a/1/0")
    await owner.reconciler.look()

    async def lagging(self: MemoryQueue, run: str) -> None:
        return None

    with monkeypatch.context() as patched:
        patched.setattr(MemoryQueue, "waiting", lagging)
        assert await owner.reconciler.look() == 0
    assert [await owner.reconciler.look() for _ in range(2)] == [0, 1]


async def test_an_answer_that_was_not_folded_counts():
    """It is in the log, and its ticket is gone from the queue as it should be."""
    deployment, owner = await under_way("a", "b")
    answer = StepSucceeded(ticket="a/1/0", nonce=nonce(SECRET, "run", "a/1/0"), output=Raw(b"1"))
    await deployment.say("worker", answer)
    removed(deployment, "a/1/0")
    for _ in range(3):
        await owner.reconciler.look()
    assert dispatched(deployment) == ["run/a/1/0:dispatch"]
    assert len(owner.reconciler) == 1, "b is to be dispatched by whoever folds the answer"


async def test_a_run_without_tickets_is_let_go():
    """Whoever waits for something else costs nothing from then on."""
    deployment, owner = await under_way("a")
    answer = StepSucceeded(ticket="a/1/0", nonce=nonce(SECRET, "run", "a/1/0"), output=Raw(b"1"))
    await deployment.say("worker", answer)
    await owner.reconciler.look()
    assert len(owner.reconciler) == 0


async def test_a_run_that_falls_silent_is_looked_at():
    """Also one that was started after the owner took over; not while it is in memory."""
    deployment = Deployment()
    owner = await deployment.owner()
    await owner.reconciler.look()
    await deployment.start(a_workflow("a"))
    feed = await deployment.outside.feed(0)
    batch = await owner.fold(await feed.next(100))
    await owner.store(batch)
    await owner.acknowledge(batch, feed)
    assert len(owner.reconciler) == 0
    await owner.park(idle_ms=0)
    assert len(owner.reconciler) == 1

    removed(deployment, "a/1/0")
    assert [await owner.reconciler.look() for _ in range(3)] == [0, 1, 0]


async def test_a_look_takes_its_turn():
    """So many runs at a time, the one looked at longest ago first."""
    deployment, owner = await under_way("a")
    removed(deployment, "a/1/0")
    owner.reconciler.note("ghost")
    assert [await owner.reconciler.look(most=1) for _ in range(4)] == [0, 0, 1, 0]


async def test_what_could_not_be_stored_is_still_missing():
    """The next look goes on."""
    deployment, owner = await under_way("a")
    removed(deployment, "a/1/0")
    await owner.reconciler.look()
    deployment.mischief.fail_append = lambda message: "before"  # type: ignore[method-assign]
    with pytest.raises(PublishFailed):
        await owner.reconciler.look()
    del deployment.mischief.fail_append
    assert sum([await owner.reconciler.look() for _ in range(2)]) == 1
