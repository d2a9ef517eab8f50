"""``ports.Archive``, and the move of finished runs into it: whole in one of both places whatever dies where."""

import secrets
from contextlib import aclosing

import msgspec
import pytest

from dagnats import Client, archive
from dagnats.clock import SystemClock
from dagnats.core.events import CancelRequested, RetryRequested, RunStarted
from dagnats.core.state import StepError
from dagnats.errors import BrokerUnavailable, LeaseLost, RunAlreadyStarted
from dagnats.limits import ARCHIVE_PART_BYTES
from dagnats.listing import runs
from dagnats.ports import Append
from dagnats.scheduler.archiver import Archiver, Retention
from dagnats.starting import append_start
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import ClosedMark
from tests.conformance.deployments import unique

STARTED = RunStarted(workflow="flow", definition="d", input=msgspec.Raw(b"1"), tags=("red",))


class Ahead(SystemClock):
    """An hour later than it is."""

    def wall_ms(self):
        """The time."""
        return super().wall_ms() + 3_600_000


def place_of(outside, run):
    """The partition of a run."""
    return subjects.partition_of(run, outside.log.partitions)


def fact(outside, run, what, msg_id="", author="client"):
    """A fact about a run."""
    return Append(subjects.fact(place_of(outside, run), run, author), encode(what), msg_id)


def closing(outside, run, status="completed", epoch=0, **more):
    """The mark of how a run ended."""
    mark = ClosedMark(
        status=status, workflow="flow", epoch=epoch, started_ms=1, closed_ms=5, **more
    )
    return Append(
        subjects.mark(place_of(outside, run), run, "closed"),
        encode(mark),
        f"{run}:{epoch}:{status}",
    )


async def ended(outside, run, **more):
    """A run with a short history that has ended; what it left."""
    await outside.log.append([
        fact(outside, run, STARTED, f"{run}:start"), fact(outside, run, CancelRequested()),
        closing(outside, run, **more),
    ])  # fmt: skip
    return await outside.log.history(run)


def archiver(outside, run, *, fence=lambda: True, after_ms=60_000, ended=None):
    """The mover of a run's partition."""
    retention = Retention(after_ms=after_ms, pause_ms=0)
    return Archiver(
        place_of(outside, run), outside, Ahead(), fence, retention, {} if ended is None else ended
    )


async def moved(outside, run, **more):
    """Have the owner of a run's partition move what is due there."""
    while await archiver(outside, run, **more).turn():
        pass


async def records_of(outside, run):
    """Every record of a run."""
    found = await outside.archive.records(subjects.archived(run))
    return [
        each for each in map(archive._record.decode, (e.payload for e in found)) if each.run == run
    ]


async def test_a_finished_run_moves_as_it_is(outside, other, run):
    """Its history is read back as it was; of the log nothing is left."""
    before = await ended(outside, run)
    await moved(outside, run)

    assert await outside.log.history(run) == []
    assert await archive.history(other, run) == before
    mark = subjects.mark(place_of(outside, run), run, "closed")
    assert (await archive.last(other, mark)) == before[-1]
    assert await archive.exists(other, run)
    assert not await archive.exists(other, unique("run"))


async def test_only_what_has_been_over_for_long_moves(outside, run):
    """A run that has just ended stays; when it is old, it goes."""
    before = await ended(outside, run)
    await moved(outside, run, after_ms=100 * 365 * 24 * 3_600_000)
    assert await outside.log.history(run) == before
    await moved(outside, run)
    assert await outside.log.history(run) == []


async def test_runs_that_go_on_stay(outside, run):
    """Whatever their age: one that never ended, and one that ended and was opened again."""
    opened = unique("opened")
    await outside.log.append([fact(outside, run, STARTED)])
    await ended(outside, opened, status="failed")
    await outside.log.append([closing(outside, opened, status="running", epoch=1)])
    for each, messages in ((run, 1), (opened, 4)):
        await moved(outside, each)
        assert len(await outside.log.history(each)) == messages
        assert await archive.find(outside, each) is None


async def test_a_run_that_was_asked_to_go_on_stays(outside, run):
    """The request may not have been seen to yet."""
    await ended(outside, run, status="failed", error=StepError("broke", "error"))
    await outside.log.append([fact(outside, run, RetryRequested(epoch=1))])
    await moved(outside, run)

    assert len(await outside.log.history(run)) == 4
    assert await archive.find(outside, run) is None


async def test_an_end_before_the_last_moves_nothing(outside, run):
    """A run that ended, went on and ended again is as old as its last end."""
    before = await ended(outside, run, status="failed")
    await outside.log.append([
        fact(outside, run, RetryRequested(epoch=1)), closing(outside, run, status="running", epoch=1),
        closing(outside, run, epoch=1),
    ])  # fmt: skip
    owner = archiver(outside, run)

    assert await owner._keep([before[-1]]) == []
    [last] = await owner._keep([(await outside.log.history(run))[-1]])
    assert last.run == run


async def test_what_the_archive_has_is_not_written_again(outside, run):
    """A power cut may leave holes in what was being removed: they must not get into the archive."""
    before = await ended(outside, run)
    await archiver(outside, run)._keep([before[-1]])
    torn = [before[0], before[-1]]
    [kept] = await archiver(Torn(outside, torn), run)._keep([before[-1]])

    assert kept.last_seq == before[-1].seq
    [record] = await records_of(outside, run)
    assert await archive.unpacked(outside, record) == before


class Torn:
    """A log that lost messages in the middle of a run's."""

    def __init__(self, outside, entries):
        self._outside, self._entries = outside, entries
        self.log = self

    def __getattr__(self, name):
        return getattr(self._outside, name, None) or getattr(self._outside.log, name)

    async def history(self, run, after_seq=0):
        """What is left."""
        return self._entries

    async def append(self, messages, fence=None):
        """As if the ids were forgotten since."""
        bare = [msgspec.structs.replace(each, msg_id="") for each in messages]
        return await self._outside.log.append(bare, fence)


class Dying:
    """A process that dies before its n-th effect; of the effects of a move each counts."""

    def __init__(self, outside, effects):
        self._outside = outside
        self.left = effects
        self.log = self
        self.archive = outside.archive
        self.partitions = outside.log.partitions

    def __getattr__(self, name):
        return getattr(self._outside.log, name)

    def _die(self):
        self.left -= 1
        if self.left < 0:
            raise BrokerUnavailable("killed")

    async def append(self, messages, fence=None):
        self._die()
        return await self._outside.log.append(messages, fence)

    async def remove(self, run, up_to_seq):
        self._die()
        start = subjects.fact(place_of(self._outside, run), run, "client")
        first = await self._outside.log.history(run)
        if self.left < 1 and first and first[0].subject == start:  # half of it: only the start goes
            await self._outside.log.remove(run, first[0].seq)
        self._die()
        await self._outside.log.remove(run, up_to_seq)

    def documents(self, bucket):
        self.bucket = self._outside.documents(bucket)
        return self

    async def get(self, key):
        return await self.bucket.get(key)

    async def put(self, key, value):
        self._die()
        return await self.bucket.put(key, value)


@pytest.mark.parametrize("effects", range(5))
async def test_whoever_dies_between_effects_leaves_the_run_whole(outside, run, effects):
    """The run reads the same after each effect; the next owner finishes the move; nothing is kept twice."""
    before = await ended(outside, run)
    with pytest.raises(BrokerUnavailable):
        await moved(Dying(outside, effects), run)
    assert await archive.history(outside, run) == before
    await moved(outside, run)

    assert await archive.history(outside, run) == before
    assert await outside.log.history(run) == []
    assert len(await records_of(outside, run)) == 1


async def test_dying_covers_every_effect(outside, run):
    """Five effects: histories, records, the start's end, the end of the rest, the note of how far it came."""
    await ended(outside, run)
    process = Dying(outside, 100)
    await archiver(process, run).turn()
    assert 100 - process.left == 5


async def test_two_owners_at_once_lose_nothing(outside, other, run):
    """One that was paused between writing and removing goes on after another has moved more of the run."""
    await ended(outside, run, status="failed")
    slow = archiver(outside, run)
    [mark] = [e for e in await outside.log.history(run) if e.subject.endswith(".closed")]
    held = await slow._keep([mark])
    await moved(other, run)
    await outside.log.append([  # it is opened again, and ends again
        fact(outside, run, RetryRequested(epoch=1)), closing(outside, run, status="running", epoch=1),
        closing(outside, run, epoch=1),
    ])  # fmt: skip
    whole = await archive.history(outside, run)
    await moved(other, run)
    for each in held:
        await slow._remove(each)
    stale = (await records_of(outside, run))[0]
    await outside.log.append(
        [Append(subjects.archived(run), encode(stale))]
    )  # a write that came late

    assert len(whole) == 6
    assert await archive.history(outside, run) == whole


async def test_an_owner_that_lost_its_lease_removes_nothing(outside, run):
    """What is in the log stays there."""
    before = await ended(outside, run)
    held = await archiver(outside, run)._keep([before[-1]])
    with pytest.raises(LeaseLost):
        await archiver(outside, run, fence=lambda: False)._remove(held[0])
    assert await outside.log.history(run) == before


async def test_an_owner_that_lost_its_lease_writes_nothing(outside, run):
    """No history, no record."""
    before = await ended(outside, run)
    with pytest.raises(LeaseLost):
        await archiver(outside, run, fence=lambda: False)._keep([before[-1]])
    assert await archive.find(outside, run) is None


async def test_what_comes_late_follows_the_run(outside, run):
    """A fact that comes while the run is moved gets a mark, is read with the run, and moves in its turn."""
    before = await ended(outside, run)
    known = {run: None}
    owner = archiver(outside, run, ended=known)
    held = await owner._keep([before[-1]])
    await outside.log.append([fact(outside, run, CancelRequested(reason="late"))])
    for each in held:
        await owner._remove(each)

    assert known == {}, "facts of the run have to be looked at from now on"
    left = await outside.log.history(run)
    assert [each.subject.rsplit(".", 1)[-1] for each in left] == ["client", "closed"]
    assert await archive.history(outside, run) == [*before, *left]
    await moved(outside, run)
    assert await outside.log.history(run) == []
    assert await archive.history(outside, run) == [*before, *left]


async def test_the_id_of_an_archived_run_is_taken(outside, other, run):
    """Whoever names the run anew is refused; a second start with its key is the first one."""
    await ended(outside, run)
    await moved(outside, run)

    with pytest.raises(RunAlreadyStarted, match=run):
        await append_start(other, run, STARTED, idempotent=False, named=True)
    await append_start(other, run, STARTED, idempotent=True, named=True)
    assert await outside.log.history(run) == []


async def test_lists_go_on_with_archived_runs(outside, other, run):
    """Each run once, with what it had; also one that is in both places."""
    workflow = unique("flow")
    names = [unique("run") for _ in range(3)]
    for name in names:
        started = msgspec.structs.replace(STARTED, workflow=workflow)
        mark = ClosedMark(status="completed", workflow=workflow, started_ms=1, closed_ms=5)
        subject = subjects.mark(place_of(outside, name), name, "closed")
        await outside.log.append([fact(outside, name, started), Append(subject, encode(mark))])
    [both] = [e for e in await outside.log.history(names[1]) if e.subject.endswith(".closed")]
    await archiver(outside, names[1])._keep([both])
    await moved(outside, names[0])
    found = await runs(other, workflow=workflow)

    assert sorted(row.run_id for row in found.runs) == sorted(names)
    assert found.total == 3
    [row] = [each for each in found.runs if each.run_id == names[0]]
    assert (row.archived, row.status, row.tags, row.duration_ms) == (True, "completed", ("red",), 4)
    assert (await Client(other).count(workflow=workflow)).completed == 3
    assert await Client(other).find(names[0]) == names[0]
    assert (await runs(other, workflow=workflow, status="failed")).runs == []


async def test_lists_know_archived_runs_that_go_on(outside, other, run):
    """An archived run that was opened again is listed as what it is now; a late fact alone changes nothing."""
    workflow = unique("flow")
    start = msgspec.structs.replace(STARTED, workflow=workflow)
    place = subjects.mark(place_of(outside, run), run, "closed")

    async def state() -> list[tuple[str, str]]:
        return [(row.run_id, row.status) for row in (await runs(other, workflow=workflow)).runs]

    async def mark(status: str, epoch: int = 0) -> None:
        ended = ClosedMark(status=status, workflow=workflow, epoch=epoch, started_ms=1, closed_ms=5)
        await outside.log.append([Append(place, encode(ended))])

    await outside.log.append([fact(outside, run, start)])
    await mark("failed")
    await moved(outside, run)
    await outside.log.append([fact(outside, run, CancelRequested())])
    assert await state() == [(run, "failed")]
    await outside.log.append([fact(outside, run, RetryRequested(epoch=1))])
    await mark("running", 1)
    assert await state() == [(run, "running")]
    assert (await Client(other).count(workflow=workflow)).running == 1
    assert (await runs(other, workflow=workflow, status="failed")).runs == []
    await mark("completed", 1)
    assert await state() == [(run, "completed")]


async def test_a_long_history_is_kept_in_parts(outside, run):
    """What no message can hold is in several."""
    before = await ended(outside, run)
    noise = [
        msgspec.structs.replace(before[1], payload=secrets.token_bytes(400_000)) for _ in "abc"
    ]
    big = [before[0], *noise]
    parts = archive.packed(big)
    assert len(parts) > 1
    assert all(len(part) <= ARCHIVE_PART_BYTES for part in parts)
    stored = await outside.log.append(
        [Append(subjects.archive(place_of(outside, run)), part) for part in parts]
    )
    mark = ClosedMark(status="completed", workflow="flow")
    await outside.log.append([archive.described(big, mark, tuple(each.seq for each in stored))])

    record = await archive.find(outside, run)
    assert await archive.unpacked(outside, record) == big


async def test_records_are_listed_newest_first(outside, other, run):
    """In pages; a part that is not there is None."""
    second = unique("run")
    for each in (run, second):
        await ended(outside, each)
        await moved(outside, each)
    async with aclosing(archive.newest(other)) as pages:
        found = [record.run async for page in pages for record in page]

    assert [each for each in found if each in (run, second)] == [second, run]
    assert await other.archive.part(10**9) is None
