"""``ports.Outside``: opening and closing a process's view."""

import pytest

from dagnats.errors import OutsideError
from dagnats.ports import Append
from dagnats.wire import subjects
from tests.conformance.deployments import fact, unique


async def test_closing_twice_is_fine(outside):
    """And what is closed stays closed."""
    await outside.close()
    await outside.close()


async def test_a_closed_process_reaches_nothing(outside, run):
    """It is told so, rather than left waiting."""
    message = fact(outside, run)
    await outside.close()
    with pytest.raises(OutsideError):
        await outside.log.append([message])


async def test_closing_one_process_leaves_the_others(outside, other, run):
    """What it wrote stays, and another goes on."""
    await outside.log.append([fact(outside, run, b"kept")])
    await outside.close()
    await other.log.append([fact(other, run, b"more")])

    assert [each.payload for each in await other.log.history(run)] == [b"kept", b"more"]


async def test_what_was_told_before_closing_is_sent(deployment, outside, other, run):
    """Closing sends what is pending first."""
    heard = []
    await other.notices.listen(subjects.live(run), lambda _s, payload, _r: heard.append(payload))
    for number in range(50):
        await outside.notices.tell(subjects.live(run), b"%d" % number)
    await outside.close()
    await deployment.until(lambda: len(heard) == 50)

    assert heard[-1] == b"49"


async def test_a_ticket_answered_before_closing_is_answered(deployment, outside, other, run):
    """Settling is fire and forget, but not lost by an orderly end."""
    task, got = unique("task"), []
    source = await outside.queue.open(task, "", 1_000, got.append, lambda _n: None)
    place = subjects.partition_of(run, outside.log.partitions)
    await outside.log.append(
        [Append(subjects.task(place, run, task, ""), b"%d" % n) for n in range(2)]
    )
    await source.request(2, 30_000)
    await deployment.until(lambda: len(got) == 2)
    await outside.queue.done(got[0].reply)
    await outside.close()
    heirs = []
    source = await other.queue.open(task, "", 1_000, heirs.append, lambda _n: None)
    await source.request(2, 30_000)
    await deployment.until(lambda: heirs)

    assert [each.payload for each in heirs] == [b"1"]
