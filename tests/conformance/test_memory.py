"""What only the memory world does: it never suspends, and misbehaves when told to."""

import asyncio

import pytest

from dagnats.clock import SystemClock
from dagnats.errors import BrokerUnavailable, PublishFailed
from dagnats.limits import DUPLICATE_WINDOW_MS
from dagnats.memory.clock import VirtualClock
from dagnats.memory.mischief import Harmless
from dagnats.memory.outside import Memory
from dagnats.memory.waiting import OnLoop, keep_time
from dagnats.memory.world import World
from dagnats.ports import Append
from dagnats.wire import subjects
from tests.conformance.deployments import dispatch, fact
from tests.conformance.test_timers import timer

RUN = "run"


def drive(coroutine):
    """A coroutine's result, if it never suspends; anything else is a failure."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    coroutine.close()
    pytest.fail("it suspended")


class Gremlin(Harmless):
    """Does what a test tells it to, once each."""

    def __init__(self, fault="", drops=0, repeats=0, picks=()):
        self.fault, self.drops, self.repeats, self.picks = fault, drops, repeats, list(picks)

    def fail_append(self, message):
        """The given fault, once."""
        fault, self.fault = self.fault, ""
        return fault

    def drop_ack(self, reply):
        """The first acknowledgements."""
        self.drops -= 1
        return self.drops >= 0

    def redeliver(self, subject, delivered):
        """The first deliveries of the first messages."""
        if delivered > 1:
            return False
        self.repeats -= 1
        return self.repeats >= 0

    def pick(self, waiting):
        """The given places, then the oldest."""
        return self.picks.pop(0) if self.picks else 0


def world_of(**mischief):
    """A world with mischief."""
    return World(VirtualClock(), mischief=Gremlin(**mischief))


def place_of(process):
    """The partition of the run."""
    return subjects.partition_of(RUN, process.log.partitions)


def test_nothing_suspends_without_a_waiter():
    """Every port can be driven by hand, with data and without."""
    world = World(VirtualClock())
    process = Memory(world)
    feed = drive(process.feed(place_of(process)))
    got, heard = [], []
    source = drive(process.queue.open("fetch", "", 1_000, got.append, heard.append))
    drive(process.notices.listen(">", lambda *message: heard.append(message)))

    assert drive(feed.next(10)) == []

    drive(source.request(2, 1_000))
    drive(process.log.append([fact(process, RUN), dispatch(process, RUN, "fetch")]))
    following = process.notices.follow(subjects.EVENTS, subjects.EVENTS_SUBJECTS[0])
    fetched = drive(feed.next(10))

    assert drive(anext(following)).seq == fetched[0].seq
    with pytest.raises(StopAsyncIteration):
        drive(anext(following))
    assert drive(process.notices.ask("nobody.there", b"", 1_000)) == []

    drive(feed.acknowledge(fetched[0]))
    drive(process.queue.done(got[0].reply))
    drive(process.documents("any").put("key", b"value"))
    drive(process.blobs.put("name", b"data"))
    drive(process.close())


def test_time_stands_still_until_it_is_moved():
    """Both clocks move by the same, and never back."""
    clock = VirtualClock()
    wall_ms, monotonic_ms = clock.wall_ms(), clock.monotonic_ms()
    clock.advance(1_500)

    assert (clock.wall_ms(), clock.monotonic_ms()) == (wall_ms + 1_500, monotonic_ms + 1_500)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_ids_are_forgotten_after_the_window():
    """A duplicate is one only while the server remembers."""
    clock = VirtualClock()
    process = Memory(World(clock))
    message = fact(process, RUN, msg_id="id")
    drive(process.log.append([message]))
    clock.advance(DUPLICATE_WINDOW_MS - 1)

    assert drive(process.log.append([message]))[0].duplicate

    clock.advance(1)

    assert not drive(process.log.append([message]))[0].duplicate


def test_a_simulator_can_jump_to_what_is_due():
    """The world says how long nothing happens, and then it does."""
    clock = VirtualClock()
    world = World(clock)
    process = Memory(world)

    assert world.until_due_ms() is None

    drive(process.log.append([timer(process, RUN, clock.wall_ms() + 5_000)]))

    assert world.until_due_ms() == 5_000

    clock.advance(5_000)

    assert drive(process.log.history(RUN)) == []

    world.fire_due()

    assert len(drive(process.log.history(RUN))) == 1


def test_a_crashed_process_reaches_nothing():
    """All its ports refuse; its ticket comes back by the lease, its listeners hear no more."""
    clock = VirtualClock()
    world = World(clock)
    victim, heir = Memory(world, "victim"), Memory(world, "heir")
    heard, got, inherited = [], [], []
    drive(victim.notices.listen(">", lambda *message: heard.append(message)))
    source = drive(victim.queue.open("fetch", "", 1_000, got.append, lambda _n: None))
    drive(source.request(2, 60_000))
    message = dispatch(heir, RUN, "fetch")
    drive(heir.log.append([message]))
    heard.clear()
    victim.crash()
    with pytest.raises(BrokerUnavailable, match="victim"):
        drive(victim.log.append([message]))
    source = drive(heir.queue.open("fetch", "", 1_000, inherited.append, lambda _n: None))
    drive(source.request(2, 60_000))
    drive(heir.log.append([message]))
    clock.advance(1_000)
    world.fire_due()

    assert [each.delivered for each in inherited] == [1, 2]
    assert len(got) == 1
    assert heard == []


@pytest.mark.parametrize(("fault", "stored"), [("before", 0), ("after", 1)])
def test_a_failed_append_may_have_been_stored(fault, stored):
    """The writer hears the same either way, and does right by writing again."""
    process = Memory(world_of(fault=fault))
    message = fact(process, RUN, msg_id="id")
    with pytest.raises(PublishFailed, match="not known"):
        drive(process.log.append([message]))

    assert len(drive(process.log.history(RUN))) == stored
    assert drive(process.log.append([message]))[0].duplicate == bool(stored)
    assert len(drive(process.log.history(RUN))) == 1


def test_a_refused_message_does_not_stop_the_next():
    """Appends are pipelined: what follows a failure may be stored."""
    process = Memory(world_of(fault="before"))
    with pytest.raises(PublishFailed):
        drive(process.log.append([fact(process, RUN, b"1"), fact(process, RUN, b"2")]))

    assert [each.payload for each in drive(process.log.history(RUN))] == [b"2"]


def test_a_fence_may_fall_in_the_middle():
    """What was written before stays; nothing more is."""
    process = Memory(World(VirtualClock()))
    answers = iter([True, False])
    with pytest.raises(Exception, match="1 of 3"):
        drive(process.log.append([fact(process, RUN) for _ in range(3)], lambda: next(answers)))

    assert len(drive(process.log.history(RUN))) == 1


def test_a_lost_acknowledgement_brings_the_fact_again():
    """After a rewind, or by itself after the server's patience, with its count raised."""
    world = world_of(drops=1)
    process = Memory(world)
    feed = drive(process.feed(place_of(process)))
    drive(process.log.append([fact(process, RUN)]))
    drive(feed.acknowledge(drive(feed.next(1))[0]))

    assert drive(feed.next(1)) == []

    world.clock.advance(world.until_due_ms())
    world.fire_due()
    again = drive(feed.next(1))

    assert [each.delivered for each in again] == [2]

    drive(feed.acknowledge(again[0]))
    drive(feed.rewind())

    assert drive(feed.next(1)) == []
    assert world.until_due_ms() is None


def test_a_lost_answer_brings_the_ticket_again():
    """Its lease runs out although it was answered."""
    world = world_of(drops=1)
    process, got = Memory(world), []
    source = drive(process.queue.open("fetch", "", 1_000, got.append, lambda _n: None))
    drive(source.request(9, 60_000))
    drive(process.log.append([dispatch(process, RUN, "fetch")]))
    drive(process.queue.done(got[0].reply))
    world.clock.advance(1_000)
    world.fire_due()

    assert [each.delivered for each in got] == [1, 2]


def test_deliveries_may_double():
    """A fact and a ticket come twice at once."""
    process, got = Memory(world_of(repeats=2)), []
    feed = drive(process.feed(place_of(process)))
    source = drive(process.queue.open("fetch", "", 1_000, got.append, lambda _n: None))
    drive(source.request(9, 60_000))
    drive(process.log.append([dispatch(process, RUN, "fetch"), fact(process, RUN)]))

    assert [each.delivered for each in got] == [1, 2]
    assert [each.delivered for each in drive(feed.next(9))] == [1, 2]

    drive(process.queue.done(got[0].reply))
    drive(process.queue.done(got[1].reply))


def test_tickets_may_overtake():
    """Mischief picks which ticket goes first."""
    process, got = Memory(world_of(picks=[2, 1])), []
    drive(
        process.log.append([dispatch(process, RUN, "fetch", payload=b"%d" % n) for n in range(3)])
    )
    source = drive(process.queue.open("fetch", "", 1_000, got.append, lambda _n: None))
    drive(source.request(3, 1_000))

    assert [each.payload for each in got] == [b"2", b"1", b"0"]


def test_a_lease_can_be_extended():
    """Who is still at it keeps its ticket; who stops loses it."""
    world = World(VirtualClock())
    process, got = Memory(world), []
    source = drive(process.queue.open("fetch", "", 1_000, got.append, lambda _n: None))
    drive(source.request(2, 60_000))
    drive(process.log.append([dispatch(process, RUN, "fetch")]))
    for _ in range(3):
        world.clock.advance(900)
        world.fire_due()
        process.queue.extend([got[0].reply])

    assert len(got) == 1

    world.clock.advance(1_000)
    world.fire_due()

    assert len(got) == 2


def test_callbacks_run_in_order_and_never_nested():
    """What a listener does in its callback is heard after what it heard itself."""
    process, heard, depth = Memory(World(VirtualClock())), [], []

    def echo(subject, payload, reply):
        depth.append(len(depth))
        assert len(depth) == 1
        heard.append(payload)
        if payload == b"first":
            drive(process.notices.tell("live", b"second"))
        depth.clear()

    drive(process.notices.listen("live", echo))
    drive(process.notices.listen("live", lambda _s, payload, _r: heard.append(payload.upper())))
    drive(process.notices.tell("live", b"first"))

    assert heard == [b"first", b"FIRST", b"second", b"SECOND"]


async def test_a_real_clock_keeps_itself():
    """With ``keep_time`` a world on the machine's clock fires its timers."""
    clock = SystemClock()
    world = World(clock)
    process = Memory(world, waiter=OnLoop())
    fact_of_timer = subjects.fact(place_of(process), RUN, "timer")
    await process.log.append([timer(process, RUN, clock.wall_ms() + 20)])
    keeper = asyncio.ensure_future(keep_time(world))
    try:
        entry = await anext(process.notices.follow(subjects.EVENTS, fact_of_timer))
    finally:
        keeper.cancel()

    assert entry.subject == fact_of_timer


async def test_closing_ends_what_waits_for_ever():
    """A following that waits for new entries ends with its process."""
    process = Memory(World(VirtualClock()), waiter=OnLoop())
    waiting = asyncio.ensure_future(anext(process.notices.follow(subjects.EVENTS, "a.>"), None))
    await asyncio.sleep(0)
    await process.close()

    assert await waiting is None


def test_an_unknown_schedule_is_refused_with_its_cure():
    """The message says what to write."""
    process = Memory(World(VirtualClock()))
    headers = ((subjects.SCHEDULE, "@every 1s"), (subjects.SCHEDULE_TARGET, subjects.due(0, RUN)))
    with pytest.raises(PublishFailed, match="@at"):
        drive(process.log.append([Append(subjects.timer(0, RUN), b"", headers=headers)]))
