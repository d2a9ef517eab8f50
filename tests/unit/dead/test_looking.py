"""Lists, counts and reports of dead letters."""

import msgspec
import pytest

from dagnats.errors import InvalidInput, LetterNotFound, RequestError
from dagnats.ports import Append
from dagnats.scheduler.letters import poison_letter
from dagnats.wire import subjects
from tests.unit.dead.letters import stored, work


async def test_a_row_says_what_the_headers_say(outside, dead):
    """Who, where, why, how often; and that it can be replayed."""
    [seq] = await stored(outside, work(Consumer="worker+charge+_"))
    [row] = (await dead.list()).letters

    assert (row.sequence, row.run_id, row.step_id, row.task) == (seq, "r1", "pay", "charge")
    assert (row.workflow, row.error, row.failure) == ("order", "no money", "retriable")
    assert (row.attempts, row.delivery_count, row.consumer) == (4, 4, "worker+charge+_")
    assert (row.body_preserved, row.replayable) == (True, True)
    assert row.headers["Dagnats-Dlq-Ticket"] == "pay/4/0"
    assert row.timestamp == "2023-11-14T22:13:20.000Z"


async def test_lists_are_newest_first_and_filtered(outside, dead):
    """By run, task, workflow, failure; with the number of all that match."""
    await stored(
        outside,
        work("r1", "a", "t1"),
        work("r2", "b", "t2", Workflow="other"),
        work("r3", "c", "t2", Failure="timeout"),
    )

    async def steps(**filters):
        listing = await dead.list(**filters)
        assert listing.returned == len(listing.letters)
        return "".join(row.step_id for row in listing.letters), listing.total, listing.truncated

    assert await steps() == ("cba", 3, False)
    assert await steps(limit=2) == ("cb", 3, True)
    assert await steps(run="r2") == ("b", 1, False)
    assert await steps(task="t2") == ("cb", 2, False)
    assert await steps(task="t2", limit=1) == ("c", 2, True)
    assert await steps(workflow="order") == ("ca", 2, False)
    assert await steps(workflow="order", limit=1) == ("c", 2, True)
    assert await steps(failure="timeout", task="t2") == ("c", 1, False)
    assert await steps(run="nobody") == ("", 0, False)


async def test_counts(outside, dead):
    """In all and by task; with the same filters."""
    assert (await dead.count()).total == 0

    await stored(outside, work(task="t1"), work(task="git.fetch"), work(task="git.fetch", run="r2"))
    counts = await dead.count()

    assert (counts.total, counts.tasks) == (3, {"git.fetch": 2, "t1": 1})
    assert (await dead.count(run="r2")).tasks == {"git.fetch": 1}
    assert (await dead.count(workflow="order", task="t1")).tasks == {"t1": 1}
    assert (await dead.count(failure="timeout")).total == 0


@pytest.mark.parametrize("filters", [{"limit": 0}, {"limit": 10_001}, {"run": "a.b"}, {"run": "*"}])
async def test_bad_filters_are_refused(dead, filters):
    """Before anything is asked."""
    with pytest.raises(InvalidInput):
        await dead.list(**filters)


async def test_showing_one(outside, dead):
    """Its body without the nonce, and what to do."""
    [seq] = await stored(outside, work())
    view = await dead.show(seq)

    assert msgspec.json.decode(view.body) == {"ticket": "pay/4/0", "input": {"n": 1}}
    assert view.body_base64 == b""
    assert f"dagnats dlq replay {seq}" in view.advice


async def test_a_body_that_is_no_json_is_shown_as_bytes(outside, dead):
    """And when a poison letter is an object, it is one."""
    letters = (
        poison_letter("dagnats.fact.0.r1.worker", "r1", b"\xff\x00", 7, "not JSON"),
        poison_letter(
            "dagnats.fact.0.r1.worker", "r1", b'{"type":"x","nonce":"n"}', 8, "no such type"
        ),
    )
    [bytes_, object_] = await stored(outside, *letters)

    assert (await dead.show(bytes_)).body_base64 == b"\xff\x00"
    assert bytes((await dead.show(object_)).body) == b'{"type":"x"}'
    assert (await dead.show(bytes_)).letter.body_preserved


@pytest.mark.parametrize(
    ("subject", "task", "run"),
    [
        (subjects.dead("a.b", "r1", "s"), "a.b", "r1"),
        ("dagnats.dead.odd", "odd", ""),
        ("dagnats.dead.%FF.r1.s.more", "%FF", "r1"),
    ],
)
async def test_what_others_publish_there_is_shown_too(outside, dead, subject, task, run):
    """A message without headers is a letter about which little is known."""
    [seq] = await stored(outside, Append(subject, b""))
    view = await dead.show(seq)

    assert (view.letter.task, view.letter.run_id, view.letter.step_id) == (task, run, "")
    assert not view.letter.replayable
    assert "discard" in view.advice
    assert [row.sequence for row in (await dead.list()).letters] == [seq]
    assert (await dead.count()).tasks == {task: 1}


@pytest.mark.parametrize("number", ["many", "-1", "9" * 5_000, "٣"])
async def test_numbers_in_headers_that_are_none(outside, dead, number):
    """Count as not said."""
    await stored(outside, work(**{"Attempts": number, "Failed-At": number}))
    [row] = (await dead.list()).letters

    assert (row.attempts, row.timestamp) == (0, "2023-11-14T22:13:20.000Z")


@pytest.mark.parametrize("said", [{"Run-Id": "a b"}, {"Run-Id": "*"}, {"Step-Id": ""}])
async def test_work_of_no_possible_run_is_not_replayable(outside, dead, runs, said):
    """Whatever its body: it is refused, and no run is asked for."""
    body = work()
    [seq] = await stored(outside, Append(body.subject, body.payload, headers=work(**said).headers))
    with pytest.raises(RequestError, match="which step of which run"):
        await dead.replay(seq)

    assert runs.opened == []


@pytest.mark.parametrize("what", ["show", "replay", "discard", "undo"])
async def test_a_letter_that_is_not_there(dead, what):
    """Each says so, and what to do."""
    with pytest.raises(LetterNotFound, match="dead letter 5"):
        await getattr(dead, what)(5)
