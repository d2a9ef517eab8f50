"""``ports.Notices``."""

import asyncio

import pytest

from dagnats.errors import WrongSequence
from dagnats.ports import Append
from dagnats.wire import subjects
from tests.conformance.deployments import fact, unique

WAIT_MS = 400


class Answering:
    """Listens, and answers what it is asked."""

    def __init__(self, process, answer):
        self.process = process
        self.answer = answer
        self.heard = []
        self._telling = []

    def __call__(self, subject, payload, reply):
        """Hear, and answer when an answer is wanted."""
        self.heard.append((subject, payload))
        if reply:
            self._telling.append(
                asyncio.ensure_future(self.process.notices.tell(reply, self.answer + payload))
            )


async def test_a_notice_is_heard_by_all_who_listen(deployment, outside, other, run):
    """In every process, with its subject and payload."""
    ears = [Answering(outside, b""), Answering(other, b"")]
    for each in ears:
        await each.process.notices.listen(subjects.live(run), each)
    await outside.notices.tell(subjects.live(run), b"started")
    await deployment.until(lambda: all(each.heard for each in ears))

    assert [each.heard for each in ears] == [[(subjects.live(run), b"started")]] * 2


async def test_notices_keep_their_order(deployment, outside, other, run):
    """What one process tells is heard in the order it was told."""
    ear = Answering(other, b"")
    await other.notices.listen(subjects.live(run), ear)
    for number in range(200):
        await outside.notices.tell(subjects.live(run), b"%d" % number)
    await deployment.until(lambda: len(ear.heard) == 200)

    assert [payload for _, payload in ear.heard] == [b"%d" % number for number in range(200)]


async def test_listening_to_a_filter(deployment, outside, other, run):
    """Wildcards take what fits, and nothing else."""
    ear = Answering(other, b"")
    await other.notices.listen(subjects.ASK, ear)
    await outside.notices.tell(subjects.live(run), b"not this")
    await outside.notices.tell(subjects.ask(run), b"this")
    await deployment.until(lambda: any(payload == b"this" for _, payload in ear.heard))

    assert (subjects.live(run), b"not this") not in ear.heard


async def test_an_ended_listener_hears_no_more(deployment, outside, run):
    """The returned function ends it, and may be called twice; other listeners go on."""
    first, second = Answering(outside, b""), Answering(outside, b"")
    end = await outside.notices.listen(subjects.live(run), first)
    await outside.notices.listen(subjects.live(run), second)
    end()
    end()
    await outside.notices.tell(subjects.live(run), b"late")
    await deployment.until(lambda: second.heard)

    assert first.heard == []


async def test_nobody_needs_to_listen(outside, run):
    """A notice that nobody hears is gone, without an error."""
    await outside.notices.tell(subjects.live(run), b"alone")


async def test_asking_collects_every_answer(outside, other, run):
    """Everybody who listens may answer; all answers in time are returned."""
    for process, answer in ((outside, b"one:"), (other, b"two:")):
        await process.notices.listen(subjects.ask(run), Answering(process, answer))

    assert sorted(await outside.notices.ask(subjects.ask(run), b"?", WAIT_MS)) == [
        b"one:?",
        b"two:?",
    ]


async def test_asking_nobody_is_answered_by_nobody(outside, run):
    """No listener, no answers, no error."""
    assert await outside.notices.ask(subjects.ask(run), b"?", WAIT_MS) == []


async def test_silence_is_not_waited_for_for_ever(outside, other, run):
    """A listener that does not answer is missing from the answers."""
    await other.notices.listen(subjects.ask(run), lambda *_: None)
    await outside.notices.listen(subjects.ask(run), Answering(outside, b"me"))

    assert await outside.notices.ask(subjects.ask(run), b"", WAIT_MS) == [b"me"]


async def test_a_stored_message_is_a_notice_too(deployment, outside, other, run):
    """Waiters hear marks as they are stored; no consumer is made for them."""
    place = subjects.partition_of(run, outside.log.partitions)
    ear = Answering(other, b"")
    await other.notices.listen(subjects.marks_of_run(place, run), lambda s, p, r: ear(s, p, ""))
    await outside.log.append([Append(subjects.mark(place, run, "closed"), b"done")])
    await deployment.until(lambda: ear.heard)

    assert ear.heard == [(subjects.mark(place, run, "closed"), b"done")]


async def follow(outside, count, *place):
    """The first entries of a following."""
    found = []
    following = outside.notices.follow(*place)
    while len(found) < count:
        found.append(await anext(following))
    return found


async def test_following_begins_with_what_is_stored(outside, run):
    """All of a filter's messages, in order, from the first."""
    place = subjects.stream_of_run(run)
    for number in range(5):
        message = Append(subjects.stream(run, "write", unique("ticket")), b"%d" % number)
        await outside.log.append([message])
    found = await follow(outside, 5, subjects.STREAMS, place)

    assert [each.payload for each in found] == [b"0", b"1", b"2", b"3", b"4"]
    assert [each.seq for each in found] == sorted(each.seq for each in found)


async def test_following_goes_on_with_what_comes(outside, other, run):
    """New messages are yielded as they are stored, and nothing twice."""
    await outside.log.append([fact(outside, run, b"0")])
    subject = subjects.history(subjects.partition_of(run, outside.log.partitions), run)
    following = other.notices.follow(subjects.EVENTS, subject)

    assert (await anext(following)).payload == b"0"

    for number in range(1, 4):
        waiting = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0)
        stored = await outside.log.append([fact(outside, run, b"%d" % number)])
        entry = await waiting

        assert (entry.seq, entry.payload) == (stored[0].seq, b"%d" % number)


async def test_following_after_a_sequence(outside, run):
    """What the reader had is not repeated."""
    stored = await outside.log.append([fact(outside, run, b"%d" % n) for n in range(4)])
    subject = subjects.history(subjects.partition_of(run, outside.log.partitions), run)
    found = await follow(outside, 2, subjects.EVENTS, subject, stored[1].seq)

    assert [each.payload for each in found] == [b"2", b"3"]


async def test_following_takes_only_its_filter(outside, run):
    """Another run's messages do not come between."""
    await outside.log.append(
        [fact(outside, run, b"0"), fact(outside, run + "x", b"no"), fact(outside, run, b"1")]
    )
    subject = subjects.history(subjects.partition_of(run, outside.log.partitions), run)
    found = await follow(outside, 2, subjects.EVENTS, subject)

    assert [each.payload for each in found] == [b"0", b"1"]


async def test_a_followed_message_bears_its_id(outside, run):
    """An entry is the same, however it is read back."""
    message = fact(outside, run, msg_id=f"{run}:start")
    await outside.log.append([message])
    found = await follow(outside, 1, subjects.EVENTS, message.subject)

    assert found == await outside.log.history(run)


@pytest.mark.parametrize("count", [1, 50])
async def test_a_token_that_is_told_is_kept(deployment, outside, other, run, count):
    """A plain notice on a stored subject is heard live, and can be read later, in order."""
    subject = subjects.stream(run, "write", "ticket")
    ear = Answering(other, b"")
    await other.notices.listen(subject, lambda s, p, r: ear(s, p, ""))
    for number in range(count):
        await outside.notices.tell(subject, b"%d" % number)
    await deployment.until(lambda: len(ear.heard) == count)
    found = await follow(outside, count, subjects.STREAMS, subject)

    assert [each.payload for each in found] == [b"%d" % number for number in range(count)]


async def test_the_last_message_of_a_filter(outside, other, run):
    """Over all its subjects, as soon as it is confirmed; nothing where nothing is."""
    filter_ = subjects.stream_of_run(run)

    assert await other.notices.last(subjects.STREAMS, filter_) is None

    for number, step in enumerate(("write", "read", "write")):
        message = Append(subjects.stream(run, step, unique("7")), b"%d" % number, f"{run}:{number}")
        [stored] = await outside.log.append([message])
        found = await other.notices.last(subjects.STREAMS, filter_)

        assert found == (await follow(other, number + 1, subjects.STREAMS, filter_))[-1]
        assert (found.seq, found.payload) == (stored.seq, b"%d" % number)

    of_step = await other.notices.last(subjects.STREAMS, subjects.stream_of_run(run, "read"))

    assert of_step.payload == b"1"


async def test_a_stream_grows_only_as_its_writer_expects(outside, run):
    """What a writer repeats, because it had no answer, is refused and told apart by what is there."""
    subject = subjects.stream(run, "write", "7-1")
    [first] = await outside.log.append([Append(subject, b"1", expect_last=0)])
    [second] = await outside.log.append([Append(subject, b"2", expect_last=first.seq)])
    with pytest.raises(WrongSequence):
        await outside.log.append([Append(subject, b"2", expect_last=first.seq)])
    found = await outside.notices.last(subjects.STREAMS, subject)

    assert (found.seq, found.payload) == (second.seq, b"2")


async def test_enough_answers_end_the_asking(deployment, outside, other, run):
    """Who needs one answer does not wait for the others, nor for the time to be over."""
    for process in (outside, other):
        await process.notices.listen(subjects.ask(run), Answering(process, b"a"))
    answers = await asyncio.wait_for(
        outside.notices.ask(subjects.ask(run), b"?", 60_000, enough=1), 5
    )

    assert answers[0] == b"a?"
