"""The slots of a worker, and tickets that wait for one."""

import asyncio

import pytest

from dagnats.ports import Delivery
from dagnats.wire.messages import TaskMessage
from dagnats.worker import room as rooms
from dagnats.worker.room import Room


class Queue:
    """Notes what is given back."""

    def __init__(self):
        self.back = []
        self.delays_ms = []

    async def give_back(self, reply, delay_ms=0):
        self.back.append(reply)
        self.delays_ms.append(delay_ms)


class Keeper:
    """Notes whose leases are kept."""

    def __init__(self):
        self.kept = {}

    def hold(self, key, held):
        self.kept[key] = held.reply

    def release(self, key):
        return self.kept.pop(key, None) is not None


def ticket(name, delivered=1, sticky=""):
    """A delivery of a ticket, and the ticket; a sticky one is bound to us."""
    message = TaskMessage(
        ticket=name, run="r", step="s", task="t", workflow="w", answer_to="", sticky=sticky,
        worker="me" if sticky else "",
    )  # fmt: skip
    return Delivery(1, 0, "subject", b"", f"reply-{name}", delivered), message


@pytest.fixture
def room():
    """One slot, and it is taken."""
    made = Room(1, "me", Queue(), Keeper())
    assert made.take()
    assert not made.take()
    return made


async def test_a_ticket_without_a_slot_goes_on_to_others(room):
    """They may be free."""
    assert not await room.wait(*ticket("a"))
    assert room._queue.back == ["reply-a"]


async def test_a_soft_sticky_ticket_goes_back_for_a_while(room):
    """It would rather run here, but not at any price; at first it may come back at once."""
    assert not await room.wait(*ticket("a", delivered=2, sticky="soft"))
    assert not await room.wait(*ticket("a", delivered=10, sticky="soft"))
    assert room._queue.delays_ms == [0, 500]


async def test_who_has_waited_for_long_goes_on_to_others(room, monkeypatch):
    """A slot that comes later is not lost; a ticket that only we may run goes on waiting."""
    monkeypatch.setattr(rooms, "_WAIT_S", 0.01)
    stays = asyncio.ensure_future(room.wait(*ticket("stays", sticky="hard")))
    assert not await room.wait(*ticket("a", delivered=3))
    assert room._queue.back == ["reply-a"]
    assert not stays.done()
    room.leave()

    assert await stays
    room.leave()
    assert room.free == 1


@pytest.mark.parametrize(
    "given", [{"delivered": 3}, {"sticky": "hard"}, {"sticky": "soft", "delivered": 11}]
)
async def test_a_ticket_that_has_been_around_or_is_ours_waits_here(room, given):
    """With its lease kept, until a slot is given up."""
    waiting = asyncio.ensure_future(room.wait(*ticket("a", **given)))
    await asyncio.sleep(0)
    assert room.waiting == {"r/a"}
    assert room._keeper.kept == {"r/a": "reply-a"}
    room.leave()

    assert await waiting
    assert (room.free, room.waiting, room._keeper.kept) == (0, set(), {})


async def test_who_has_waited_longest_is_next(room):
    """And a slot that nobody waits for is free."""
    order = []

    async def come(name):
        assert await room.wait(*ticket(name, sticky="hard"))
        order.append(name)
        room.leave()

    waiting = [asyncio.ensure_future(come(name)) for name in "abc"]
    await asyncio.sleep(0)
    room.leave()
    await asyncio.wait(waiting)

    assert order == ["a", "b", "c"]
    assert room.free == 1


async def test_a_room_that_closes_gives_back_who_waits(room):
    """And who comes later."""
    waiting = asyncio.ensure_future(room.wait(*ticket("a", sticky="hard")))
    await asyncio.sleep(0)
    room.close()

    assert not await waiting
    assert not await room.wait(*ticket("b", sticky="hard"))
    assert room._queue.back == ["reply-a", "reply-b"]


async def test_who_is_cancelled_while_waiting_takes_no_slot(room):
    """Not even one that was given to it in the same moment."""
    waiting = [asyncio.ensure_future(room.wait(*ticket(n, sticky="hard"))) for n in "ab"]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    room.leave()
    waiting[1].cancel()
    await asyncio.wait(waiting)

    assert room.free == 1
