"""``ports.EventLog``."""

import asyncio

import pytest

from dagnats.errors import LeaseLost, PublishFailed, WrongSequence
from dagnats.ports import Append
from dagnats.wire import subjects
from tests.conformance.deployments import dispatch, fact, unique


def place_of(outside, run):
    """The partition of a run."""
    return subjects.partition_of(run, outside.log.partitions)


async def test_stored_messages_are_read_back_in_order(deployment, outside, run):
    """A history holds what was appended, as it was appended, in order."""
    messages = [fact(outside, run, b"%d" % n, msg_id=f"{run}:{n}") for n in range(20)]
    before = deployment.wall_ms()
    stored = await outside.log.append(messages)
    entries = await outside.log.history(run)

    assert [each.seq for each in stored] == sorted({each.seq for each in stored})
    assert [each.seq for each in entries] == [each.seq for each in stored]
    assert [each.payload for each in entries] == [each.payload for each in messages]
    assert [each.msg_id for each in entries] == [each.msg_id for each in messages]
    assert {each.subject for each in entries} == {messages[0].subject}
    assert all(abs(each.at_ms - before) < 60_000 for each in entries)
    assert not any(each.duplicate for each in stored)


async def test_appending_nothing_is_fine(outside):
    """No messages, nothing stored."""
    assert await outside.log.append([]) == []


async def test_every_process_sees_the_same_log(outside, other, run):
    """What one process stored, another reads; both count the same partitions."""
    stored = await outside.log.append([fact(outside, run)])

    assert [each.seq for each in await other.log.history(run)] == [stored[0].seq]
    assert other.log.partitions == outside.log.partitions > 0


async def test_a_known_message_id_is_a_duplicate(outside, other, run):
    """The same id again is stored once, and answers with the first sequence."""
    message = fact(outside, run, msg_id=f"{run}:start")
    first = await outside.log.append([message])
    again = await other.log.append([message])

    assert again[0].duplicate
    assert again[0].seq == first[0].seq
    assert len(await outside.log.history(run)) == 1


async def test_messages_without_an_id_are_never_duplicates(outside, run):
    """Equal messages without ids are two messages."""
    await outside.log.append([fact(outside, run), fact(outside, run)])

    assert len(await outside.log.history(run)) == 2


async def test_a_subject_begins_once(outside, other, run):
    """Expecting no message yet is refused once there is one, whatever its id."""
    await outside.log.append([fact(outside, run, b"1", msg_id=f"{run}:a", expect_last=0)])
    with pytest.raises(WrongSequence):
        await other.log.append([fact(other, run, b"2", msg_id=f"{run}:b", expect_last=0)])

    assert [each.payload for each in await outside.log.history(run)] == [b"1"]


async def test_repeating_ones_own_beginning_is_refused_too(outside, run):
    """The expected sequence is looked at before the message id."""
    message = fact(outside, run, msg_id=f"{run}:start", expect_last=0)
    await outside.log.append([message])
    with pytest.raises(WrongSequence):
        await outside.log.append([message])

    assert len(await outside.log.history(run)) == 1


async def test_the_expected_sequence_is_that_of_the_subject(outside, run):
    """A write that names its subject's last sequence is stored; other subjects do not matter."""
    first = await outside.log.append([fact(outside, run, expect_last=0)])
    await outside.log.append([fact(outside, run, author="worker")])
    await outside.log.append([fact(outside, run, expect_last=first[0].seq)])
    with pytest.raises(WrongSequence):
        await outside.log.append([fact(outside, run, expect_last=first[0].seq)])

    assert len(await outside.log.history(run)) == 3


async def test_a_fence_that_says_no_stops_every_byte(outside, run):
    """Without the lease nothing is written."""
    with pytest.raises(LeaseLost):
        await outside.log.append([fact(outside, run) for _ in range(3)], lambda: False)

    assert await outside.log.history(run) == []


async def test_a_fence_is_asked_at_every_append(outside, run):
    """A lease that is lost between two appends stops the second."""
    await outside.log.append([fact(outside, run)], lambda: True)
    with pytest.raises(LeaseLost):
        await outside.log.append([fact(outside, run)], lambda: False)

    assert len(await outside.log.history(run)) == 1


async def test_a_subject_without_a_stream_is_refused(outside):
    """What nothing stores is not stored silently."""
    with pytest.raises(PublishFailed):
        await outside.log.append([Append("dagnats.nowhere.at.all", b"{}")])


async def test_appends_at_once_keep_each_callers_order(outside, run):
    """Many callers at once: all is stored, in order within each call."""
    batches = [[fact(outside, run, b"%d/%d" % (n, k)) for k in range(5)] for n in range(100)]
    stored = await asyncio.gather(*(outside.log.append(batch) for batch in batches))
    payloads = {each.seq: each.payload for each in await outside.log.history(run)}

    assert len(payloads) == 500
    for batch, places in zip(batches, stored, strict=True):
        seqs = [each.seq for each in places]
        assert seqs == sorted(seqs)
        assert [payloads[seq] for seq in seqs] == [each.payload for each in batch]


async def test_a_history_is_of_one_run_and_of_the_log(outside, run):
    """Facts, dispatches and marks of the run; no other run, no timers, no dead letters."""
    place = place_of(outside, run)
    mine = [
        fact(outside, run, b"fact"),
        dispatch(outside, run, "fetch", payload=b"task"),
        Append(subjects.mark(place, run, "closed"), b"mark"),
    ]
    await outside.log.append([fact(outside, run + "x"), *mine])
    await outside.log.append([Append(subjects.dead("fetch", run, "step"), b"dead")])

    assert [each.payload for each in await outside.log.history(run)] == [b"fact", b"task", b"mark"]


async def test_a_history_starts_after_a_sequence(outside, run):
    """Only what is younger than the given sequence."""
    stored = await outside.log.append([fact(outside, run) for _ in range(5)])
    tail = await outside.log.history(run, stored[2].seq)

    assert [each.seq for each in tail] == [stored[3].seq, stored[4].seq]
    assert await outside.log.history(run, stored[4].seq) == []


async def test_an_unknown_run_has_no_history(outside, run):
    """Nothing, rather than an error."""
    assert await outside.log.history(run) == []


async def test_a_long_history_is_whole(outside, run):
    """More than one batch of the server comes back complete and in order."""
    stored = await outside.log.append([fact(outside, run, b"%d" % n) for n in range(1_300)])
    entries = await outside.log.history(run)

    assert [each.seq for each in entries] == [each.seq for each in stored]
    assert entries[-1].payload == b"1299"


async def test_the_last_message_of_a_subject(outside, run):
    """The youngest of exactly that subject; None when there is none."""
    message = fact(outside, run, b"1")

    assert await outside.log.last(message.subject) is None

    await outside.log.append([message])
    stored = await outside.log.append([fact(outside, run, b"2", msg_id=f"{run}:2")])
    await outside.log.append([fact(outside, run, b"3", author="worker")])
    last = await outside.log.last(message.subject)

    assert (last.seq, last.payload, last.msg_id) == (stored[0].seq, b"2", f"{run}:2")
    assert last.subject == message.subject


async def test_the_last_messages_of_many_subjects(outside, run):
    """More subjects than a server answers for at once; those without a message are left out."""
    place = place_of(outside, run)
    marks = [subjects.mark(place, run, f"m{n}") for n in range(1_200)]
    await outside.log.append([Append(each, b"old") for each in marks[:10]])
    await outside.log.append([Append(each, each.encode()) for each in marks])
    found = await outside.log.last_of([subjects.mark(place, run, "none"), *marks])

    assert {each.subject: each.payload for each in found} == {m: m.encode() for m in marks}
    assert len(found) == len(marks)
    assert await outside.log.last_of([]) == []
    assert await outside.log.last_of([subjects.mark(place, run, "none")]) == []


async def test_a_log_is_cut(outside, run):
    """Facts go up to a sequence, marks but for the newest; what is of others stays."""
    place, near = place_of(outside, run), f"{run}x"
    fired = subjects.mark(place, run, "fired")
    await outside.log.append([fact(outside, near, b"theirs")])
    stored = await outside.log.append([
        fact(outside, run, b"1"), fact(outside, run, b"2", author="timer"), Append(fired, b"a"), Append(fired, b"b"),
        fact(outside, run, b"3"), Append(fired, b"c"),
    ])  # fmt: skip
    await outside.log.remove(run, stored[1].seq, marks_kept=2)

    assert [each.payload for each in await outside.log.history(run)] == [b"b", b"3", b"c"]
    assert [each.payload for each in await outside.log.history(near)] == [b"theirs"]


async def newest_of(outside, subject, since_ms=0):
    """All pages of the newest messages as one list."""
    return [entry async for page in outside.log.newest(subject, since_ms) for entry in page]


async def test_the_newest_messages_of_a_filter(deployment, outside, run):
    """Every message of the filter, the youngest first, none from before a time."""
    authors = ["client", "worker", "scheduler", "client"]
    messages = [fact(outside, run, b"%d" % n, author=who) for n, who in enumerate(authors)]
    stored = await outside.log.append([messages[0], fact(outside, run + "x"), *messages[1:]])
    pattern = subjects.fact(place_of(outside, run), run, "*")
    found = await newest_of(outside, pattern)

    assert [each.payload for each in found] == [b"3", b"2", b"1", b"0"]
    assert [each.seq for each in found] == [stored[n].seq for n in (4, 3, 2, 0)]
    assert await newest_of(outside, pattern, found[-1].at_ms - 1) == found
    assert await newest_of(outside, pattern, deployment.wall_ms() + 60_000) == []
    assert await newest_of(outside, subjects.fact(0, run + "y", "*")) == []


async def test_the_newest_messages_among_very_many(outside, run):
    """However densely the filter's messages lie, each comes once, in order, in pages."""
    place = place_of(outside, run)
    sparse = [fact(outside, run, b"%d" % n, author="worker") for n in range(40)]
    noise = [Append(subjects.mark(place, run, f"n{n}"), b"") for n in range(6_000)]
    dense = [fact(outside, run, b"%d" % n, author="worker") for n in range(40, 2_500)]
    for n, each in enumerate(sparse):
        await outside.log.append([each, *noise[n * 150 : n * 150 + 150]])
    await outside.log.append(dense)
    pages = [page async for page in outside.log.newest(subjects.fact(place, run, "worker"))]
    found = [entry.payload for page in pages for entry in page]

    assert found == [b"%d" % n for n in reversed(range(2_500))]


async def test_the_subjects_of_a_filter_are_named_and_counted(outside, run):
    """Each literal subject once, however many messages it has."""
    place = place_of(outside, run)
    marks = [subjects.mark(place, run, f"m{n}") for n in range(30)]
    pattern = subjects.marks_of_run(place, run)

    assert (await outside.log.subjects_of(pattern), await outside.log.count(pattern)) == ([], 0)

    await outside.log.append([Append(each, b"") for each in [*marks, *marks[:5]]])
    await outside.log.append([fact(outside, run)])

    assert sorted(await outside.log.subjects_of(pattern)) == sorted(marks)
    assert await outside.log.count(pattern) == 30


async def test_the_last_sequence_is_the_logs(outside, run):
    """It is that of the last message stored in the log, not of one stored beside it."""
    stored = await outside.log.append([fact(outside, run)])
    await outside.log.append([Append(subjects.dead("fetch", run, "step"), b"{}")])

    assert await outside.log.last_seq() == stored[0].seq


async def test_payloads_are_bytes(outside, run):
    """Empty and large payloads come back as they were."""
    payloads = [b"", b"x" * 500_000, bytes(range(256))]
    await outside.log.append([fact(outside, run, payload) for payload in payloads])

    assert [each.payload for each in await outside.log.history(run)] == payloads


async def test_what_is_stored_beside_the_log_can_be_followed(outside):
    """Dead letters and events have streams of their own."""
    name = unique("task")
    message = Append(subjects.dead(name, "run", "step"), b"dead", msg_id=unique("id"))
    first = await outside.log.append([message])
    again = await outside.log.append([message])
    async for entry in outside.notices.follow(subjects.DEAD, message.subject):
        assert (entry.seq, entry.payload) == (first[0].seq, b"dead")
        break

    assert again[0].duplicate
