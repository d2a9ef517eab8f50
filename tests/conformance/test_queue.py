"""``ports.TaskQueue`` and ``ports.TicketSource``."""

import pytest

from dagnats.errors import BrokerUnsuitable
from dagnats.limits import WORKER_LEASE_MIN_MS
from tests.conformance.deployments import dispatch, unique

LONG_MS = 30_000
SOON_MS = 400


class Hands:
    """A worker's end of a ticket source."""

    def __init__(self, process):
        self.process = process
        self.got = []
        self.ended = []
        self.source = None

    async def open(self, task, group="", lease_ms=LONG_MS, ask=10, singleton=False):
        """Join, and ask at once."""
        self.source = await self.process.queue.open(
            task, group, lease_ms, self.got.append, self.ended.append, singleton=singleton
        )
        if ask:
            await self.source.request(ask, LONG_MS)
        return self

    @property
    def payloads(self):
        """What was delivered, in order."""
        return [each.payload for each in self.got]


@pytest.fixture
def task():
    """A task of the test's own."""
    return unique("task")


async def send(process, run, task, *payloads, group=""):
    """Dispatch one ticket for each payload."""
    messages = [dispatch(process, run, task, group, payload=each) for each in payloads]
    return await process.log.append(messages)


async def test_a_dispatch_becomes_a_ticket(deployment, outside, run, task):
    """A dispatch in the log is delivered to who asked, with its place in the log."""
    hands = await Hands(outside).open(task)
    stored = await send(outside, run, task, b"work")
    await deployment.until(lambda: hands.got)
    ticket = hands.got[0]

    assert ticket.payload == b"work"
    assert ticket.origin_seq == stored[0].seq
    assert ticket.delivered == 1
    assert ticket.subject.endswith(f".{run}")
    await outside.queue.done(ticket.reply)


async def test_tickets_wait_for_their_first_worker(deployment, outside, run, task):
    """What was dispatched before anybody asked is delivered, oldest first."""
    await send(outside, run, task, b"1", b"2", b"3")
    hands = await Hands(outside).open(task)
    await deployment.until(lambda: len(hands.got) == 3)

    assert hands.payloads == [b"1", b"2", b"3"]
    assert hands.got[-1].pending == 0


async def test_no_more_tickets_than_asked_for(deployment, outside, other, run, task):
    """The rest goes to the next who asks."""
    hands = await Hands(outside).open(task, ask=2)
    await send(outside, run, task, b"1", b"2", b"3")
    await deployment.until(lambda: len(hands.got) == 2)
    next_hands = await Hands(other).open(task)
    await deployment.until(lambda: next_hands.got)

    assert hands.payloads == [b"1", b"2"]
    assert next_hands.payloads == [b"3"]


async def test_a_request_says_how_many_did_not_come(deployment, outside, run, task):
    """When it expires, the tickets that were asked for and not delivered are told."""
    hands = await Hands(outside).open(task, ask=0)
    await send(outside, run, task, b"1")
    await hands.source.request(5, SOON_MS)
    await deployment.until(lambda: hands.ended)

    assert hands.payloads == [b"1"]
    assert sum(hands.ended) == 4


async def test_an_expired_request_gets_nothing(deployment, outside, run, task):
    """A ticket that comes later waits for the next request."""
    hands = await Hands(outside).open(task, ask=0)
    await hands.source.request(1, SOON_MS)
    await deployment.until(lambda: hands.ended)
    await send(outside, run, task, b"late")
    await hands.source.request(1, LONG_MS)
    await deployment.until(lambda: hands.got)

    assert hands.payloads == [b"late"]
    assert hands.got[0].delivered == 1


async def test_groups_and_names_do_not_mix(deployment, outside, run, task):
    """A worker gets the tickets of exactly its task and group, whatever is in their names."""
    names = [
        (task, ""),
        (task, "gpu"),
        (task, "_"),
        (task + ".x", ""),
        (task + "*", "a b"),
        (task + "ä", ""),
    ]
    hands = [await Hands(outside).open(name, group) for name, group in names]
    for name, group in names:
        await send(outside, run, name, f"{name}/{group}".encode(), group=group)
    await deployment.until(lambda: all(each.got for each in hands))

    assert [each.payloads for each in hands] == [[f"{n}/{g}".encode()] for n, g in names]


async def test_each_ticket_has_one_holder(deployment, outside, other, run, task):
    """Two workers share the tickets; none is delivered to both."""
    both = [await Hands(outside).open(task, ask=5), await Hands(other).open(task, ask=5)]
    await send(outside, run, task, *(b"%d" % n for n in range(10)))
    await deployment.until(lambda: sum(len(each.got) for each in both) == 10)

    assert sorted(both[0].payloads + both[1].payloads) == [b"%d" % n for n in range(10)]


async def test_a_ticket_that_was_answered_is_gone(deployment, outside, other, run, task):
    """After the lease only the unanswered ticket comes again, and says that it does."""
    hands = await Hands(outside).open(task, lease_ms=WORKER_LEASE_MIN_MS, ask=2)
    await send(outside, run, task, b"answered", b"dropped")
    await deployment.until(lambda: len(hands.got) == 2)
    await outside.queue.done(hands.got[0].reply)
    heirs = await Hands(other).open(task, lease_ms=WORKER_LEASE_MIN_MS, ask=2)
    await deployment.until(lambda: heirs.got)

    assert heirs.payloads == [b"dropped"]
    assert heirs.got[0].delivered == 2


async def test_a_late_answer_still_counts(deployment, outside, other, run, task):
    """The first holder's answer removes a ticket that somebody else holds by now."""
    hands = await Hands(outside).open(task, lease_ms=WORKER_LEASE_MIN_MS, ask=2)
    await send(outside, run, task, b"slow", b"marker")
    await deployment.until(lambda: len(hands.got) == 2)
    await hands.source.request(2, LONG_MS)
    await deployment.until(lambda: len(hands.got) == 4)
    await outside.queue.done(hands.got[0].reply)
    heirs = await Hands(other).open(task, lease_ms=WORKER_LEASE_MIN_MS, ask=2)
    await deployment.until(lambda: heirs.got)

    assert heirs.payloads == [b"marker"]
    assert heirs.got[0].delivered == 3


async def test_a_ticket_given_back_comes_at_once(deployment, outside, other, run, task):
    """Another worker has it long before the lease is over."""
    hands = await Hands(outside).open(task, ask=1)
    await send(outside, run, task, b"work")
    await deployment.until(lambda: hands.got)
    heirs = await Hands(other).open(task)
    await outside.queue.give_back(hands.got[0].reply)
    await deployment.until(lambda: heirs.got)

    assert heirs.payloads == [b"work"]
    assert heirs.got[0].delivered == 2


async def test_a_ticket_given_back_for_later_comes_later(deployment, outside, run, task):
    """Younger tickets overtake it; then it comes."""
    hands = await Hands(outside).open(task)
    await send(outside, run, task, b"later")
    await deployment.until(lambda: hands.got)
    await outside.queue.give_back(hands.got[0].reply, 1_000)
    await send(outside, run, task, b"young")
    await deployment.until(lambda: len(hands.got) == 3)

    assert hands.payloads == [b"later", b"young", b"later"]


async def test_a_renewed_ticket_can_be_given_back(deployment, outside, run, task):
    """What was said last counts: it comes again after its pause, and not after its lease."""
    hands = await Hands(outside).open(task, lease_ms=60_000)
    await send(outside, run, task, b"work")
    for times in range(1, 6):
        await deployment.until(lambda times=times: len(hands.got) == times)
        outside.queue.renew(hands.got[-1].reply)
        await outside.queue.give_back(hands.got[-1].reply, 100 * (times % 2))
    await deployment.until(lambda: len(hands.got) == 6)

    assert hands.payloads == [b"work"] * 6


async def test_a_dead_workers_ticket_goes_to_another(deployment, outside, other, run, task):
    """After its lease, with one more delivery on its count."""
    hands = await Hands(outside).open(task, lease_ms=WORKER_LEASE_MIN_MS, ask=1)
    await send(outside, run, task, b"work")
    await deployment.until(lambda: hands.got)
    await outside.close()
    heirs = await Hands(other).open(task, lease_ms=WORKER_LEASE_MIN_MS)
    await deployment.until(lambda: heirs.got)

    assert heirs.got[0].delivered == 2


async def test_the_lease_can_be_changed(deployment, outside, other, run, task):
    """Joining with another lease changes it for all."""
    hands = await Hands(outside).open(task, lease_ms=3_600_000, ask=1)
    heirs = await Hands(other).open(task, lease_ms=WORKER_LEASE_MIN_MS, ask=0)
    await send(outside, run, task, b"work")
    await deployment.until(lambda: hands.got)
    await heirs.source.request(1, LONG_MS)
    await deployment.until(lambda: heirs.got)

    assert heirs.payloads == [b"work"]


async def test_purging_a_run_removes_its_waiting_tickets(deployment, outside, run, task):
    """Of all tasks; other runs keep theirs."""
    second = task + "-second"
    await send(outside, run, task, b"gone")
    await send(outside, run, second, b"gone")
    await send(outside, run + "x", task, b"kept")
    await send(outside, run + "x", second, b"kept")
    last = unique("last")
    await send(outside, run + "x", last, b"here")
    probe = await Hands(outside).open(last)
    await deployment.until(lambda: probe.got)  # the queue holds all that was dispatched before
    await outside.queue.purge_run(run)
    hands = [await Hands(outside).open(task), await Hands(outside).open(second)]
    await deployment.until(lambda: all(each.got for each in hands))

    assert [each.payloads for each in hands] == [[b"kept"], [b"kept"]]


async def test_a_closed_source_asks_for_no_more(deployment, outside, other, run, task):
    """Its open request is forgotten: the next ticket goes to another."""
    hands = await Hands(outside).open(task)
    await hands.source.close()
    heirs = await Hands(other).open(task)
    await send(outside, run, task, b"work")
    await deployment.until(lambda: heirs.got)

    assert heirs.payloads == [b"work"]
    assert heirs.got[0].delivered == 1
    assert hands.got == []


async def test_a_duplicate_dispatch_is_one_ticket(deployment, outside, other, run, task):
    """Two owners that dispatch the same make one ticket."""
    message = dispatch(outside, run, task, payload=b"once", msg_id=f"{run}:dispatch")
    await outside.log.append([message])
    await other.log.append([message])
    await send(outside, run, task, b"next")
    hands = await Hands(outside).open(task)
    await deployment.until(lambda: len(hands.got) == 2)

    assert hands.payloads == [b"once", b"next"]


# -- singletons ------------------------------------------------------------------------------------


async def test_of_a_singleton_one_ticket_is_out_at_a_time(deployment, outside, other, run, task):
    """Whoever asks for however many: the next comes when the one before was removed."""
    both = [await Hands(process).open(task, singleton=True) for process in (outside, other)]
    await send(outside, run, task, *(b"%d" % n for n in range(6)))
    for count in range(1, 7):
        await deployment.until(lambda count=count: len(both[0].got + both[1].got) >= count)
        for _ in range(20):
            await deployment.tick()
        got = sorted(both[0].got + both[1].got, key=lambda each: each.seq)
        assert len(got) == count
        await other.queue.done(got[-1].reply)

    assert [each.payload for each in got] == [b"%d" % n for n in range(6)]


async def test_a_dead_holders_singleton_holds_up_the_rest_until_its_lease_is_over(
    deployment, outside, other, run, task
):
    """Then it comes first, and the others after it."""
    lease_ms = WORKER_LEASE_MIN_MS
    hands = await Hands(outside).open(task, lease_ms=lease_ms, singleton=True, ask=1)
    await send(outside, run, task, b"1", b"2")
    await deployment.until(lambda: hands.got)
    await outside.close()
    heirs = await Hands(other).open(task, lease_ms=lease_ms, singleton=True)
    await deployment.until(lambda: heirs.got)

    assert [(each.payload, each.delivered) for each in heirs.got] == [(b"1", 2)]
    await other.queue.done(heirs.got[0].reply)
    await deployment.until(lambda: len(heirs.got) == 2)
    assert heirs.got[1].payload == b"2"


async def test_a_singletons_ticket_that_was_given_back_comes_before_the_others(
    deployment, outside, other, run, task
):
    """Also when it was given back for later."""
    hands = await Hands(outside).open(task, singleton=True)
    await send(outside, run, task, b"1", b"2")
    await deployment.until(lambda: hands.got)
    await outside.queue.give_back(hands.got[0].reply, 600)
    await deployment.until(lambda: len(hands.got) == 2)

    assert hands.payloads == [b"1", b"1"]


@pytest.mark.parametrize("first", [True, False])
async def test_workers_must_agree_on_a_singleton(deployment, outside, other, task, first):
    """Who comes second and takes it the other way is refused, while the first is there."""
    hands = await Hands(outside).open(task, singleton=first)
    with pytest.raises(BrokerUnsuitable, match=f"{task}.*singleton"):
        await Hands(other).open(task, singleton=not first)
    await hands.source.close()

    async def joined():
        try:
            return await Hands(other).open(task, singleton=not first)
        except BrokerUnsuitable:
            return None

    assert await deployment.until(joined)


async def test_a_ticket_that_is_out_keeps_a_singleton_one(deployment, outside, other, run, task):
    """Its holder relies on being alone, also when it asks for no more."""
    hands = await Hands(outside).open(task, singleton=True, ask=1)
    await send(outside, run, task, b"work")
    await deployment.until(lambda: hands.got)
    with pytest.raises(BrokerUnsuitable, match=task):
        await Hands(other).open(task, singleton=False)
    await outside.queue.done(hands.got[0].reply)
    heirs = await Hands(other).open(task, singleton=False, ask=2)
    await send(outside, run, task, b"1", b"2")
    await deployment.until(lambda: len(heirs.got) == 2)


async def test_tickets_that_are_out_do_not_hinder_a_singleton(
    deployment, outside, other, run, task
):
    """What many held before is done; from then on it is one at a time."""
    hands = await Hands(outside).open(task, ask=3)
    await send(outside, run, task, *(b"%d" % n for n in range(5)))
    await deployment.until(lambda: len(hands.got) == 3)
    heirs = await Hands(other).open(task, singleton=True)
    for each in hands.got:
        assert heirs.got == []
        await outside.queue.done(each.reply)
    await deployment.until(lambda: heirs.got)
    for _ in range(20):
        await deployment.tick()

    assert heirs.payloads == [b"3"]


async def test_a_purged_ticket_of_a_singleton_counts_until_its_holder_answers(
    deployment, outside, run, task
):
    """A handler whose run was cancelled is still ending; the next begins after it."""
    hands = await Hands(outside).open(task, singleton=True)
    await send(outside, run, task, b"gone")
    await send(outside, run + "x", task, b"next")
    await deployment.until(lambda: hands.got)
    await outside.queue.purge_run(run)
    for _ in range(20):
        await deployment.tick()
    assert hands.payloads == [b"gone"]
    await outside.queue.done(hands.got[0].reply)
    await deployment.until(lambda: len(hands.got) == 2)

    assert hands.payloads == [b"gone", b"next"]


async def test_a_purged_ticket_of_a_dead_holder_counts_until_its_lease_is_over(
    deployment, outside, other, run, task
):
    """It does not come again, and no longer holds up the others."""
    lease_ms = WORKER_LEASE_MIN_MS
    hands = await Hands(outside).open(task, lease_ms=lease_ms, singleton=True)
    await send(outside, run, task, b"gone")
    await send(outside, run + "x", task, b"next")
    await deployment.until(lambda: hands.got)
    await outside.close()
    await other.queue.purge_run(run)
    heirs = await Hands(other).open(task, lease_ms=lease_ms, singleton=True)
    await deployment.until(lambda: heirs.got)

    assert heirs.payloads == [b"next"]
