"""A fire starts one run, wherever its owner dies: before, between and after what it stores."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from dagnats.client import Client
from dagnats.core.definition import read_workflow
from dagnats.core.entities import TriggerSet
from dagnats.core.triggers.file import write_trigger
from dagnats.core.triggers.model import Batch, Cron, Subject, Trigger, Webhook
from dagnats.core.triggers.stored import restore
from dagnats.errors import PublishFailed, TriggerNotFound
from dagnats.memory.clock import VirtualClock
from dagnats.memory.outside import Memory
from dagnats.memory.world import World
from dagnats.ports import Append
from dagnats.registry import Registry
from dagnats.scheduler.listening import hear
from dagnats.scheduler.partition import Partition
from dagnats.wire import subjects

MINUTE = 60_000
WORKFLOW = {"name": "w", "steps": [{"id": "s", "task": "t"}]}


class Owner:
    """A scheduler of the one partition, as often as wanted."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.world = World(self.clock, 1)
        self.outside = Memory(self.world)
        self.client = Client(self.outside, self.clock)

    async def begin(self, trigger: Trigger) -> None:
        """Take over, with a trigger defined."""
        workflow, _ = read_workflow(WORKFLOW)
        await self.client.register(workflow)
        await self.take_over()
        await self.client.set_trigger(trigger)
        await self.work()

    async def take_over(self) -> None:
        """Another owner, which knows nothing."""
        registry = Registry(self.outside.documents(subjects.DEFINITIONS))
        self.feed = await self.outside.feed(0)
        self.partition = Partition(0, self.outside, registry, b"s", self.clock, lambda: True)
        await self.partition.forget()
        await self.feed.rewind()

    async def fold(self) -> Any:
        """The next batch, folded and not stored."""
        return await self.partition.fold(await self.feed.next(100))

    async def work(self) -> None:
        """Until nothing is left to do."""
        self.world.fire_due()
        while deliveries := await self.feed.next(100):
            batch = await self.partition.fold(deliveries)
            await self.partition.store(batch)
            await self.partition.acknowledge(batch, self.feed)

    async def pass_time(self, ms: int) -> None:
        """Let time pass, and what is due arrive."""
        self.clock.advance(ms)
        self.world.fire_due()

    async def runs(self) -> int:
        """How many there are: by their starts, of which each may have one."""
        log = self.world.streams[subjects.EVENTS]
        return len(log.matching(subjects.STARTS))


CRON = Trigger(id="t", workflow="w", on=Cron("* * * * *"))


@pytest.mark.parametrize("stored", ["nothing", "some", "all"])
async def test_an_owner_dies_while_it_starts_a_run(stored):
    """What a fact caused is done by the next owner: all of it, once."""
    owner = Owner()
    await owner.begin(CRON)
    await owner.pass_time(MINUTE)
    batch = await owner.fold()

    assert [each.subject.split(".")[1] for each in (*batch.first, *batch.appends)] == [
        "fact",
        "mark",
        "cron",
    ]

    if stored == "some":
        batch.appends.clear()
    if stored != "nothing":
        await owner.partition.store(batch)
    owner.clock.advance(180_000)  # message ids are forgotten
    await owner.take_over()
    await owner.work()
    fires = await owner.client.fires("t", 50)

    assert len([fire for fire in fires if not fire.skipped]) == await owner.runs()
    assert len({fire.run_id for fire in fires}) == len(fires)
    first = fires[-1]
    assert first.run_id
    assert (await owner.client.view_trigger(await owner.client.trigger("t"))).next_at


async def test_messages_while_nobody_owns_the_trigger_are_read_back_once():
    """In their order, after those that were heard, whoever wrote the last one's fact."""
    owner = Owner()
    await owner.begin(Trigger(id="t", workflow="w", on=Subject(event="e"), filter="n != 2"))

    async def publish(n: int) -> Any:
        await owner.client.publish_event("e", {"n": n})
        return owner.world.streams[subjects.INBOX].last_matching(subjects.inbox("e"))

    await hear(owner.partition, subjects.INBOX, await publish(1))
    await owner.work()
    heard = [await publish(n) for n in (2, 3, 4)]
    await owner.take_over()
    await owner.work()

    assert await owner.runs() == 3

    owner.clock.advance(180_000)  # message ids are forgotten
    for entry in heard:  # the listener of the process comes to them as well
        await hear(owner.partition, subjects.INBOX, entry)
    await owner.work()
    await owner.take_over()
    await owner.work()
    facts = owner.world.streams[subjects.EVENTS].matching("dagnats.fact.*.*.trigger")

    assert await owner.runs() == 3
    assert len(facts) == 4  # the definition, and a message each


async def test_a_message_that_could_not_be_stored_is_told_again():
    """Nothing behind it is taken for heard."""
    owner = Owner()
    await owner.begin(Trigger(id="t", workflow="w", on=Subject(event="e")))
    await owner.client.publish_event("e", {"n": 1})
    entry = owner.world.streams[subjects.INBOX].last_matching(subjects.inbox("e"))
    append = owner.world.store

    def refuse(_message: Append) -> Any:
        raise PublishFailed("no")

    owner.world.store = refuse
    with pytest.raises(PublishFailed):
        await hear(owner.partition, subjects.INBOX, entry)
    owner.world.store = append
    await hear(owner.partition, subjects.INBOX, entry)
    await owner.work()

    assert await owner.runs() == 1


async def test_an_idle_trigger_leaves_memory_and_comes_back_from_its_snapshot():
    """After so many facts that it was saved; what it knows is the same."""
    owner = Owner()
    await owner.begin(CRON)
    for _ in range(150):
        await owner.pass_time(MINUTE)
        await owner.work()
    owner.clock.advance(1)
    await owner.partition.park(idle_ms=0)

    assert await owner.outside.documents(subjects.SNAPSHOTS).get("trigger=t") is not None

    await owner.pass_time(MINUTE)
    await owner.work()

    assert await owner.runs() == 151
    assert len({fire.fired_at for fire in await owner.client.fires("t", 500)}) == 151


@pytest.mark.parametrize("overlap", ["skip", "queue", "cancel-running"])
async def test_a_key_that_comes_again_after_its_run_has_ended(overlap):
    """It is the same run, which has ended: others are not held up by it."""
    owner = Owner()
    await owner.begin(Trigger(id="t", workflow="w", on=Webhook("x"), overlap=overlap))
    trigger = await owner.client.trigger("t")

    async def fire(key: str) -> None:
        owner.clock.advance(180_000)  # message ids are forgotten
        await owner.client.tell_external(trigger, key, Raw(b"1"))
        await owner.work()

    async def running() -> tuple[str, ...]:
        return (await owner.client.view_trigger(trigger)).running

    await fire("1")
    [run] = await running()
    await owner.client.cancel(run)
    await owner.work()

    assert await running() == ()

    await fire("1")

    assert await running() == ()

    await fire("2")

    assert len(await running()) == 1
    assert len({each.run_id for each in await owner.client.fires("t", 50)}) == 2


async def test_a_key_that_waits_already():
    """It waits once."""
    owner = Owner()
    await owner.begin(Trigger(id="t", workflow="w", on=Webhook("x"), overlap="queue"))
    trigger = await owner.client.trigger("t")
    for key in ("1", "2", "2"):
        owner.clock.advance(180_000)
        await owner.client.tell_external(trigger, key, Raw(b"1"))
        await owner.work()

    assert (await owner.client.view_trigger(trigger)).waiting == 1


async def test_a_client_dies_between_a_triggers_log_and_the_list():
    """The owner makes the list say what the log says: what fires can be seen and deleted."""
    owner = Owner()
    await owner.begin(Trigger(id="z", workflow="w", on=Cron("@yearly")))
    body = Raw(msgspec.json.encode(write_trigger(CRON)))
    await owner.client._tell("t", TriggerSet(definition=body), "set:1")
    await owner.work()

    assert await owner.client.trigger("t") == CRON

    await owner.client._tell("t", TriggerSet(), "set:2")
    await owner.work()
    with pytest.raises(TriggerNotFound):
        await owner.client.trigger("t")

    documents = owner.outside.documents(subjects.TRIGGERS)
    await documents.put("trigger=t", bytes(body))  # as it was for clients of before

    assert await owner.client.set_trigger(CRON)


async def test_a_read_back_that_fails_loses_nothing():
    """What is published meanwhile does not overtake what could not be read."""
    owner = Owner()
    await owner.begin(Trigger(id="t", workflow="w", on=Subject(event="e")))
    for n in range(3):
        await owner.client.publish_event("e", {"n": n})
    read, failed = owner.outside.inbox.messages, []

    async def fail(*args: Any) -> Any:
        failed.append(args)
        raise PublishFailed("a hiccup")

    owner.outside.inbox.messages = fail
    with pytest.raises(PublishFailed):
        await owner.take_over()
    owner.outside.inbox.messages = read
    await owner.client.publish_event("e", {"n": 3})
    newest = owner.world.streams[subjects.INBOX].last_matching(subjects.inbox("e"))
    await hear(owner.partition, subjects.INBOX, newest)  # the listener goes on, whatever happened
    await owner.take_over()
    await owner.work()

    assert failed
    assert await owner.runs() == 4


async def test_a_looser_filter_counts_from_now_on():
    """What the filter of before has rejected stays rejected."""
    owner = Owner()
    strict = Trigger(id="t", workflow="w", on=Subject(event="e"), filter="n > 100")
    await owner.begin(strict)
    for n in range(20):
        await owner.client.publish_event("e", {"n": n})
        newest = owner.world.streams[subjects.INBOX].last_matching(subjects.inbox("e"))
        await hear(owner.partition, subjects.INBOX, newest)
    owner.clock.advance(MINUTE)
    await owner.client.set_trigger(msgspec.structs.replace(strict, filter="n > 5"))
    await owner.work()

    assert await owner.runs() == 0

    await owner.client.publish_event("e", {"n": 6})
    newest = owner.world.streams[subjects.INBOX].last_matching(subjects.inbox("e"))
    await hear(owner.partition, subjects.INBOX, newest)
    await owner.work()

    assert await owner.runs() == 1


async def test_a_payload_that_is_gone_skips_its_fire():
    """The rest of the partition goes on."""
    owner = Owner()
    await owner.begin(Trigger(id="t", workflow="w", on=Webhook("x"), input="data"))
    trigger = await owner.client.trigger("t")
    await owner.client.tell_external(trigger, "1", Raw(msgspec.json.encode("x" * 400_000)))
    for name in list(owner.world.blobs):
        await owner.outside.blobs.delete(name)
    await owner.work()
    [fire] = await owner.client.fires("t")

    assert fire.skipped
    assert await owner.runs() == 0


async def test_a_path_can_go_over_to_another_id():
    """Within one source: the trigger that it no longer has makes room first."""
    owner = Owner()
    await owner.begin(Trigger(id="z", workflow="w", on=Cron("@yearly")))
    await owner.client.keep_triggers("f", None, [Trigger(id="a", workflow="w", on=Webhook("p"))])
    await owner.client.keep_triggers("f", None, [Trigger(id="b", workflow="w", on=Webhook("p"))])

    assert [each.id for each in await owner.client.triggers()] == ["b", "z"]


@pytest.mark.parametrize("stored", ["nothing", "some", "all"])
async def test_an_owner_dies_while_it_starts_the_run_of_a_batch(stored):
    """One run is started with the whole list, whatever of it was stored, and whoever comes to it again."""
    owner = Owner()
    hold = Batch(max_size=10, timeout_ms=MINUTE)
    await owner.begin(Trigger(id="t", workflow="w", on=Webhook("x"), hold=hold))
    trigger = await owner.client.trigger("t")
    for number in range(3):
        await owner.client.tell_external(trigger, str(number), Raw(b"%d" % number))
    await owner.work()
    await owner.take_over()  # with the events held, and their timer armed
    await owner.work()

    assert await owner.runs() == 0

    await owner.pass_time(MINUTE)
    batch = await owner.fold()

    assert [each.subject.split(".")[1] for each in (*batch.first, *batch.appends)] == [
        "fact",
        "mark",
    ]

    if stored == "some":
        batch.appends.clear()
    if stored != "nothing":
        await owner.partition.store(batch)
    owner.clock.advance(180_000)  # message ids are forgotten
    for _ in range(2):
        await owner.take_over()
        await owner.work()
    fires = await owner.client.fires("t", 50)

    assert await owner.runs() == 1
    assert {fire.run_id for fire in fires} == {fires[0].run_id}
    assert fires[0].events == 3
    [start] = owner.world.streams[subjects.EVENTS].matching(subjects.STARTS)
    assert msgspec.json.decode(start.payload)["input"]["data"] == [0, 1, 2]


async def test_what_is_held_is_saved_and_read_back():
    """A snapshot has it, and the log what came since."""
    owner = Owner()
    hold = Batch(max_size=1_000, timeout_ms=MINUTE)
    await owner.begin(Trigger(id="t", workflow="w", on=Webhook("x"), hold=hold))
    trigger = await owner.client.trigger("t")
    documents = owner.outside.documents(subjects.SNAPSHOTS)
    for number in range(250):
        await owner.client.tell_external(trigger, str(number), Raw(b"%d" % number))
        await owner.work()
    found = await documents.get("trigger=t")

    assert found is not None
    state = list(restore(found[0]))[-1]
    assert state is not None
    assert state.held is not None
    assert state.held.kept >= 100

    owner.clock.advance(1)
    await owner.partition.park(idle_ms=0)
    view = await owner.client.view_trigger(trigger)

    assert view.held.events == 250

    await owner.pass_time(MINUTE)
    await owner.work()

    assert [fire.events for fire in await owner.client.fires("t", 50)] == [250]
