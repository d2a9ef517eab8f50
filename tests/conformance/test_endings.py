"""Scheduled starts and triggers that are no more leave the log when runs that ended then leave the archive."""

import msgspec
import pytest
from msgspec import Raw

from dagnats.core.entities import StartCancelled, StartScheduled, TriggerSet
from dagnats.core.scheduled import start_of
from dagnats.core.triggers.file import write_trigger
from dagnats.core.triggers.model import Cron, Trigger, entity_of
from dagnats.errors import LeaseLost
from dagnats.ports import Append
from dagnats.scheduler.endings import Endings, ended
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from tests.conformance.deployments import unique
from tests.conformance.test_archive import Ahead, place_of

YEARS = 100 * 365 * 24 * 3_600_000


def tell(outside, entity, fact):
    """A fact of an entity."""
    return Append(subjects.fact(place_of(outside, entity), entity, "trigger"), encode(fact))


def mark(outside, entity, number=0):
    """That it is no more."""
    return ended(place_of(outside, entity), entity, number)


def endings(outside, entity, *, fence=lambda: True, after_ms=60_000):
    """What removes them, an hour later."""
    return Endings(place_of(outside, entity), outside, Ahead(), fence, after_ms)


async def removed(outside, entity, **more):
    """Do all that is due."""
    while await endings(outside, entity, **more).turn():
        pass


async def cancelled(outside, run):
    """A scheduled start that was taken back."""
    entity = start_of(run)
    asked = StartScheduled(workflow="w", definition="d", run_at_ms=1)
    facts = [tell(outside, entity, asked), tell(outside, entity, StartCancelled())]
    await outside.log.append([*facts, mark(outside, entity)])
    await outside.documents(subjects.SCHEDULED).put(run, b"{}")
    return entity


def defined(trigger_id):
    """A trigger's first fact."""
    trigger = Trigger(id=trigger_id, workflow="w", on=Cron("@yearly"))
    return TriggerSet(definition=Raw(msgspec.json.encode(write_trigger(trigger))))


async def test_a_start_that_is_over_leaves(outside, other, run):
    """All of it, and its record; not before its time."""
    entity = await cancelled(outside, run)
    await removed(outside, entity, after_ms=YEARS)
    assert len(await other.log.history(entity)) == 3
    await removed(outside, entity)
    assert await other.log.history(entity) == []
    assert await other.documents(subjects.SCHEDULED).get(run) is None


async def test_one_that_waits_stays(outside, run):
    """However long ago it was asked for."""
    entity = start_of(run)
    asked = StartScheduled(workflow="w", definition="d", run_at_ms=1)
    await outside.log.append([tell(outside, entity, asked)])
    await removed(outside, entity)
    assert len(await outside.log.history(entity)) == 1


async def test_a_trigger_that_was_deleted_leaves(outside, run):
    """With what its log began with, and whatever came after its end."""
    entity = entity_of(run)
    await outside.log.append([
        tell(outside, entity, defined(run)), tell(outside, entity, TriggerSet()), mark(outside, entity),
        Append(subjects.fact(place_of(outside, entity), entity, "scheduler"), b'{"type":"timer.fired","due_ms":1}'),
    ])  # fmt: skip
    await outside.documents(subjects.BEGINNINGS).put(entity, b'{"entity":"%s"}' % entity.encode())
    await removed(outside, entity)
    assert await outside.log.history(entity) == []
    assert await outside.documents(subjects.BEGINNINGS).get(entity) is None


async def test_a_trigger_that_was_defined_again_stays(outside, run):
    """Whether it is there now, or was deleted again a moment ago."""
    again, twice = entity_of(run), entity_of(unique("twice"))
    for entity, name in ((again, run), (twice, twice)):
        await outside.log.append([
            tell(outside, entity, defined(name)), tell(outside, entity, TriggerSet()), mark(outside, entity),
            tell(outside, entity, defined(name)),
        ])  # fmt: skip
    await removed(outside, again)
    assert len(await outside.log.history(again)) == 4
    first = endings(outside, twice)
    await outside.log.append([tell(outside, twice, TriggerSet()), mark(outside, twice, 1)])
    marks = await outside.log.following(subjects.endings(place_of(outside, twice)), 0)
    [early] = [each for each in marks if entity_of("") in each.subject and twice in each.subject][
        :1
    ]
    await first._remove(early)
    assert len(await outside.log.history(twice)) == 6


async def test_a_lease_that_is_lost_removes_nothing(outside, run):
    """The next owner does it."""
    entity = await cancelled(outside, run)
    with pytest.raises(LeaseLost):
        await removed(outside, entity, fence=lambda: False)
    assert len(await outside.log.history(entity)) == 3
    await removed(outside, entity)
    assert await outside.log.history(entity) == []
