"""Timers: scheduled messages that come back as facts of their run."""

from datetime import UTC, datetime

import msgspec
import pytest

from dagnats.errors import PublishFailed
from dagnats.ports import Append
from dagnats.wire import subjects
from tests.conformance.deployments import clean_feed, take


def timer(outside, run, due_ms, payload=b"{}", **headers):
    """The message that arms a run's timer."""
    place = subjects.partition_of(run, outside.log.partitions)
    at = datetime.fromtimestamp(due_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
    given = {
        subjects.SCHEDULE: f"@at {at}",
        subjects.SCHEDULE_TARGET: subjects.due(place, run),
        subjects.SCHEDULE_TTL: "5m",
        **headers,
    }
    return Append(subjects.timer(place, run), payload, headers=tuple(given.items()))


async def test_a_due_timer_is_a_fact_of_its_run(deployment, outside, run):
    """It comes into the run's history, by the timer's author, not before it is due."""
    due_ms = deployment.wall_ms() + 600
    await outside.log.append([timer(outside, run, due_ms, b'{"due":1}')])

    assert await outside.log.history(run) == []

    entry = (await deployment.until(lambda: outside.log.history(run)))[0]
    place = subjects.partition_of(run, outside.log.partitions)

    assert entry.subject == subjects.fact(place, run, "timer")
    assert entry.payload == b'{"due":1}'
    assert entry.at_ms >= due_ms


async def test_a_timer_in_the_past_fires(deployment, outside, run):
    """Arming too late is not too late."""
    await outside.log.append([timer(outside, run, deployment.wall_ms() - 5_000)])

    assert len(await deployment.until(lambda: outside.log.history(run))) == 1


async def test_arming_again_replaces(deployment, outside, run):
    """A run has one timer: only what was armed last fires, be it sooner or later."""
    later, now = run + "later", deployment.wall_ms()
    await outside.log.append([timer(outside, run, now + 300, b"old")])
    await outside.log.append([timer(outside, run, now + 900, b"new")])
    await outside.log.append([timer(outside, later, now + 60_000, b"old")])
    await outside.log.append([timer(outside, later, now + 300, b"new")])
    first = await deployment.until(lambda: outside.log.history(run))
    other = await deployment.until(lambda: outside.log.history(later))

    assert [each.payload for each in first + other] == [b"new", b"new"]


async def test_arming_the_same_again_is_not_lost(deployment, outside, run):
    """A timer that fired can be armed again with the message id it had."""
    message = timer(outside, run, deployment.wall_ms() + 300)
    message = msgspec.structs.replace(message, msg_id=f"{run}:timer")
    await outside.log.append([message])
    await deployment.until(lambda: outside.log.history(run))
    await outside.log.append([message])
    facts = await deployment.until(lambda: history_of(outside, run, 2))

    assert len({each.subject for each in facts}) == 1


async def history_of(outside, run, count):
    """A run's history once it has so many entries."""
    entries = await outside.log.history(run)
    return entries if len(entries) >= count else []


async def test_a_message_without_a_schedule_ends_the_timer(deployment, outside, run):
    """Whatever is published on a timer's subject takes the place of what was armed there."""
    later, now = run + "later", deployment.wall_ms()
    armed = timer(outside, run, now + 1_000)
    await outside.log.append([armed])
    await outside.log.append([Append(armed.subject, b"{}")])
    await outside.log.append([timer(outside, later, now + 1_500)])
    await deployment.until(lambda: outside.log.history(later))

    assert await outside.log.history(run) == []


async def test_a_disarmed_timer_does_not_fire(deployment, outside, run):
    """Another run's timer, due later, fires alone; disarming what is not armed is fine."""
    later, now = run + "later", deployment.wall_ms()
    await outside.log.append([timer(outside, run, now + 1_000)])
    await outside.log.append([timer(outside, later, now + 1_500)])
    await outside.log.disarm(run)
    await outside.log.disarm(run)
    await deployment.until(lambda: outside.log.history(later))

    assert await outside.log.history(run) == []


async def test_a_timer_reaches_the_owner_of_its_run(deployment, outside, run):
    """The fact comes through the partition's feed, and says where it was copied from."""
    feed = await clean_feed(outside, run)
    await outside.log.append([timer(outside, run, deployment.wall_ms() + 100, b"due")])
    await deployment.until(lambda: outside.log.history(run))
    fact = (await take(feed, 1))[0]

    assert fact.payload == b"due"
    assert fact.origin_seq > 0


@pytest.mark.parametrize("schedule", ["@at tomorrow", "sometimes"])
async def test_a_wrong_schedule_is_refused(deployment, outside, run, schedule):
    """A schedule the server does not understand is not stored."""
    headers = {subjects.SCHEDULE: schedule}
    with pytest.raises(PublishFailed):
        await outside.log.append([timer(outside, run, 0, **headers)])
