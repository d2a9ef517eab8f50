"""``ports.Letters``."""

from contextlib import aclosing

import pytest

from dagnats.limits import LETTERS_BATCH_MAX, LETTERS_BATCH_MAX_BYTES
from dagnats.ports import Append
from dagnats.wire import subjects
from tests.conformance.deployments import unique

HEADERS = (("Dagnats-Dlq-Run-Id", "r"), ("Dagnats-Dlq-Error", "it broke: badly"))


@pytest.fixture
def task():
    """A task of the test's own."""
    return unique("task")


def letter(task, run="run", step="step", payload=b"{}", **rest):
    """The message that makes a dead letter."""
    return Append(subjects.dead(task, run, step), payload, **rest)


async def newest_of(outside, subject):
    """All pages of the newest letters as one list."""
    return [each async for page in outside.letters.newest(subject) for each in page]


async def test_a_letter_is_read_back_with_its_headers(deployment, outside, other, task):
    """As it was stored, by every process; the headers that the server makes are not among them."""
    message = letter(task, msg_id=unique("id"), headers=HEADERS, payload=b"\x00\xff")
    [stored] = await outside.log.append([message])
    found = await other.letters.get(stored.seq)

    assert (found.seq, found.subject, found.payload) == (stored.seq, message.subject, b"\x00\xff")
    assert (found.msg_id, found.headers) == (message.msg_id, HEADERS)
    assert abs(found.at_ms - deployment.wall_ms()) < 60_000


async def test_a_letter_without_headers(outside, task):
    """Has none."""
    [stored] = await outside.log.append([letter(task)])

    assert (await outside.letters.get(stored.seq)).headers == ()


@pytest.mark.parametrize("seq", [-1, 0, 10**9, 10**30])
async def test_no_letter_of_a_sequence(outside, task, seq):
    """None to read, none to remove; that is no error."""
    await outside.log.append([letter(task)])

    assert await outside.letters.get(seq) is None
    assert not await outside.letters.remove(seq)


async def test_a_removed_letter_is_gone(outside, other, task):
    """For everybody, once; the others stay."""
    first, second = await outside.log.append([letter(task), letter(task)])

    assert await outside.letters.remove(first.seq)
    assert await other.letters.get(first.seq) is None
    assert not await other.letters.remove(first.seq)
    assert [each.seq for each in await newest_of(other, subjects.dead_letters(task))] == [
        second.seq
    ]


async def test_the_newest_letters_first(outside, task):
    """Of all, of a task, of a run, of both; with their headers."""
    runs = [unique("run"), unique("run")]
    messages = [letter(name, run) for run in runs for name in (task, f"{task}.x")]
    stored = await outside.log.append([Append(m.subject, b"{}", headers=HEADERS) for m in messages])
    seqs = [each.seq for each in stored]

    async def listed(name="", run=""):
        found = await newest_of(outside, subjects.dead_letters(name, run))
        assert all(each.headers == HEADERS for each in found if each.seq in seqs)
        return [seqs.index(each.seq) for each in found if each.seq in seqs]

    assert await listed() == [3, 2, 1, 0]
    assert await listed(task) == [2, 0]
    assert await listed(f"{task}.x") == [3, 1]
    assert await listed(run=runs[1]) == [3, 2]
    assert await listed(task, runs[0]) == [0]
    assert await listed(unique("none")) == []


async def test_very_many_letters_with_gaps(outside, task):
    """Each comes once, in order, however many answers that takes, and whatever was removed between."""
    count = LETTERS_BATCH_MAX * 6
    messages = [letter(f"{task}-{n % 2}", payload=b"%d" % n) for n in range(count)]
    stored = await outside.log.append(messages)
    for place in stored[20:220]:
        await outside.letters.remove(place.seq)
    left = [n for n in range(count) if not 20 <= n < 220]
    even = await newest_of(outside, subjects.dead_letters(f"{task}-0"))
    odd = await newest_of(outside, subjects.dead_letters(f"{task}-1"))

    assert [int(each.payload) for each in even] == [n for n in reversed(left) if not n % 2]
    assert [int(each.payload) for each in odd] == [n for n in reversed(left) if n % 2]


async def test_large_letters_come_in_several_answers(outside, task):
    """More bytes than one answer may hold come back whole."""
    size = 500_000
    count = LETTERS_BATCH_MAX_BYTES * 2 // size
    await outside.log.append([letter(task, payload=b"%d" % n * size) for n in range(1, 10)])
    await outside.log.append([letter(task, payload=b"x" * size) for _ in range(count)])
    found = await newest_of(outside, subjects.dead_letters(task))

    assert [len(each.payload) for each in found] == [size] * (count + 9)


async def test_a_list_can_be_left_early(outside, task):
    """The first page is enough for who wants no more."""
    await outside.log.append([letter(task) for _ in range(LETTERS_BATCH_MAX * 3)])
    async with aclosing(outside.letters.newest(subjects.dead_letters(task))) as pages:
        async for page in pages:
            assert page
            break


async def test_letters_are_counted_by_subject(outside, task):
    """Each literal subject with its number of letters."""
    pattern = subjects.dead_letters(task)

    assert await outside.letters.tally(pattern) == {}

    stored = await outside.log.append([letter(task, step=step) for step in ("a", "a", "b", "a.b")])
    await outside.letters.remove(stored[0].seq)

    assert await outside.letters.tally(pattern) == {
        subjects.dead(task, "run", "a"): 1,
        subjects.dead(task, "run", "b"): 1,
        subjects.dead(task, "run", "a.b"): 1,
    }


async def test_a_letter_told_twice_is_one(outside, other, task):
    """The same id again is stored once, and is not stored again after its removal."""
    message = letter(task, msg_id=unique("id"))
    [first] = await outside.log.append([message])
    [again] = await other.log.append([message])
    await outside.letters.remove(first.seq)
    [late] = await other.log.append([message])

    assert (again.seq, again.duplicate, late.duplicate) == (first.seq, True, True)
    assert await newest_of(outside, subjects.dead_letters(task)) == []
