"""The slots of a worker, and tickets that wait for one."""

import asyncio

import pytest

from dagnats.ports import Delivery
from dagnats.wire.messages import TaskMessage
from dagnats.worker.room import Room


class Queue:
    """Notes what is given back."""

    def __init__(self):
        self.back = []

    async def give_back(self, reply, delay_ms=0):
        self.back.append(reply)


class Keeper:
    """Notes whose leases are kept."""

    def __init__(self):
        self.kept = {}

    def hold(self, key, held):
        self.kept[key] = held.reply

    def release(self, key):
        return self.kept.pop(key, None) is not None


def ticket(name, delivered=1, worker=""):
    """A delivery of a ticket, and the ticket."""
    message = TaskMessage(
        ticket=name, run="r", step="s", task="t", workflow="w", answer_to="", worker=worker
    )
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


@pytest.mark.parametrize("given", [{"delivered": 3}, {"worker": "me"}])
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
        assert await room.wait(*ticket(name, worker="me"))
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
    waiting = asyncio.ensure_future(room.wait(*ticket("a", worker="me")))
    await asyncio.sleep(0)
    room.close()

    assert not await waiting
    assert not await room.wait(*ticket("b", worker="me"))
    assert room._queue.back == ["reply-a", "reply-b"]


async def test_who_is_cancelled_while_waiting_takes_no_slot(room):
    """Not even one that was given to it in the same moment."""
    waiting = [asyncio.ensure_future(room.wait(*ticket(n, worker="me"))) for n in "ab"]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    room.leave()
    waiting[1].cancel()
    await asyncio.wait(waiting)

    assert room.free == 1
