"""What the owner of a partition owes other runs, and what it lets go of."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import msgspec
import pytest
from msgspec import Raw

from dagnats.core.entities import TriggerFired, TriggerSet
from dagnats.core.events import CancelRequested, Fact, RunContinued, RunStarted, SignalReceived
from dagnats.core.model import Limit, Workflow
from dagnats.core.triggers.file import write_trigger
from dagnats.core.triggers.model import Subject, Trigger, entity_of, fired_run_id
from dagnats.errors import PublishFailed
from dagnats.limits import FACTS_IN_A_ROW, SIGNALS_KEPT_MAX
from dagnats.memory.clock import VirtualClock
from dagnats.memory.mischief import Fault, Harmless
from dagnats.memory.outside import Memory
from dagnats.memory.world import World
from dagnats.ports import Append, Delivery
from dagnats.registry import Registry
from dagnats.scheduler.partition import Partition
from dagnats.wire import subjects
from dagnats.wire.codec import encode, event_of
from dagnats.wire.messages import nonce
from tests.support.builders import a_workflow

SECRET = b"secret"


class Refusing(Harmless):
    """A server that does not take some messages, by the end of their ids."""

    def __init__(self) -> None:
        self.refused = ""

    def fail_append(self, message: Append) -> Fault:
        """Refuse them."""
        return "before" if self.refused and message.msg_id.endswith(self.refused) else ""


class Deployment:
    """One partition in memory, and its owners."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.mischief = Refusing()
        self.world = World(self.clock, 1, self.mischief)
        self.outside = Memory(self.world)
        self.registry = Registry(self.outside.documents(subjects.DEFINITIONS))

    async def owner(self) -> Partition:
        """A new owner."""
        partition = Partition(0, self.outside, self.registry, SECRET, self.clock, lambda: True)
        await partition.forget()
        return partition

    async def start(self, workflow: Workflow) -> None:
        """A run begins."""
        digest = await self.registry.register(workflow)
        await self.say("client", RunStarted(workflow=workflow.name, definition=digest))

    async def say(self, author: str, fact: Fact) -> None:
        """Something happens to the run."""
        await self.outside.log.append([Append(subjects.fact(0, "run", author), encode(fact))])

    async def done(self, owner: Partition) -> list[Delivery]:
        """Have everything folded and stored that was not acknowledged."""
        feed = await self.outside.feed(0)
        await feed.rewind()
        deliveries = await feed.next(100)
        await owner.store(await owner.fold(deliveries))
        return deliveries

    def stored(self, stream: str, subject: str) -> int:
        """How many messages there are."""
        return len(self.world.streams[stream].matching(subject))


def a_continuation() -> RunContinued:
    """The handler of step a ends the run, to go on as another."""
    return RunContinued(ticket="a/1/0", nonce=nonce(SECRET, "run", "a/1/0"), input=Raw(b"2"))


async def test_the_mark_is_stored_after_what_the_run_owes_others():
    """Once there is a mark, nobody would look for what was refused next to it."""
    deployment = Deployment()
    await deployment.start(a_workflow("a"))
    owner = await deployment.owner()
    await deployment.done(owner)
    await deployment.say("worker", a_continuation())
    deployment.mischief.refused = ":start"
    with pytest.raises(PublishFailed):
        await deployment.done(owner)
    marks = subjects.mark(0, "run", "closed")
    assert not deployment.stored(subjects.EVENTS, marks)

    deployment.mischief.refused = ""
    await deployment.done(await deployment.owner())

    assert deployment.stored(subjects.EVENTS, marks) == 1
    assert deployment.stored(subjects.EVENTS, "dagnats.fact.0.*.client") == 2


@pytest.mark.parametrize("live", [True, False])
async def test_a_signal_too_many_is_a_dead_letter(live):
    """Once, with the bound: also when it is folded by an owner that brings the run back into memory."""
    deployment = Deployment()
    owner = await deployment.owner()
    await deployment.start(a_workflow("a"))
    for number in range(SIGNALS_KEPT_MAX + 1):
        await deployment.say("signal.go", SignalReceived(name="go", payload=Raw(b"%d" % number)))
    if not live:
        owner = await deployment.owner()
    feed = await deployment.outside.feed(0)
    await feed.rewind()
    while deliveries := await feed.next(500):
        batch = await owner.fold(deliveries)
        await owner.store(batch)
        await owner.acknowledge(batch, feed)

    [letter] = deployment.world.streams[subjects.DEAD].matching("dagnats.dead.poison.run.>")
    assert str(SIGNALS_KEPT_MAX) in letter.payload.decode()
    headers = dict(deployment.world.streams[subjects.DEAD].headers_of(letter))
    assert f"keeps {SIGNALS_KEPT_MAX:,} signals" in headers[f"{subjects.DLQ_PREFIX}Error"]


async def test_a_cancellation_of_what_never_began_is_no_dead_letter():
    """A parent may give a child up that it came not to starting."""
    deployment = Deployment()
    await deployment.start(a_workflow("a"))
    fact = encode(CancelRequested())
    await deployment.outside.log.append([Append(subjects.fact(0, "child", "client"), fact)])
    await deployment.outside.log.append([Append(subjects.fact(0, "ghost", "worker"), b"{}")])

    await deployment.done(await deployment.owner())

    assert not deployment.stored(subjects.DEAD, "dagnats.dead.poison.child.>")
    assert deployment.stored(subjects.DEAD, "dagnats.dead.poison.ghost.>")


async def test_a_run_that_had_ended_leaves_memory_though_it_owes_its_gate_something():
    """The next owner takes back from gates once more, and has no other use for it."""
    deployment = Deployment()
    await deployment.start(a_workflow("a", limits=(Limit(kind="slots", limit=1),)))
    await deployment.say("client", CancelRequested())
    await deployment.done(await deployment.owner())

    owner = await deployment.owner()
    feed = await deployment.outside.feed(0)
    await feed.rewind()
    batch = await owner.fold(await feed.next(100))
    assert owner.runs_in_memory
    await owner.store(batch)
    await owner.acknowledge(batch, feed)

    assert not owner.runs_in_memory


async def test_a_refused_start_of_a_trigger_is_made_up_for_before_its_run_is_cancelled():
    """A cancellation that came before the start would stand for it, or be lost."""
    deployment = Deployment()
    await deployment.registry.register(a_workflow("a"))
    on = Subject(event="paid")
    trigger = Trigger(id="t", workflow="flow", on=on, overlap="cancel-running", input=1)
    facts = [TriggerSet(definition=Raw(msgspec.json.encode(write_trigger(trigger))))]
    facts += [TriggerFired(key=key, kind="manual") for key in ("one", "two")]
    for fact in facts:
        subject = subjects.fact(0, entity_of("t"), "trigger")
        await deployment.outside.log.append([Append(subject, encode(fact))])
    first = fired_run_id("t", "one")
    deployment.mischief.refused = f"{first}:start"
    with pytest.raises(PublishFailed):
        await deployment.done(await deployment.owner())

    deployment.mischief.refused = ""
    await deployment.done(await deployment.owner())

    log = deployment.world.streams[subjects.EVENTS].matching(subjects.fact(0, first, "client"))
    assert [type(event_of(entry).fact) for entry in log] == [RunStarted, CancelRequested]


async def test_many_facts_leave_others_their_turn():
    """Whoever shares the loop (a lease that is to be renewed) waits for so many facts, and not for all of them."""
    deployment = Deployment()
    owner = await deployment.owner()
    await deployment.start(a_workflow("a"))
    for _ in range(4 * FACTS_IN_A_ROW):
        await deployment.say("signal", SignalReceived(name="go"))
    feed = await deployment.outside.feed(0)
    await feed.rewind()
    deliveries = await feed.next(5 * FACTS_IN_A_ROW)
    seen: list[int] = []
    folding = asyncio.ensure_future(owner.fold(deliveries))
    while not folding.done():
        runs = owner._runs.get("run")
        seen.append(runs.run.facts if runs else 0)
        await asyncio.sleep(0)

    assert len(deliveries) > 4 * FACTS_IN_A_ROW
    assert seen[-1] > 3 * FACTS_IN_A_ROW
    assert max(b - a for a, b in pairwise([0, *seen])) <= FACTS_IN_A_ROW
