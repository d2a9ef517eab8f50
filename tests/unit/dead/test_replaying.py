"""Replays: what they open, what they remove, what they refuse and how they say it."""

import pytest

from dagnats.errors import LetterNotFound, RequestError
from dagnats.ports import Append
from dagnats.scheduler.letters import BODY_SIZE_MAX_BYTES, poison_letter, unsendable_letter
from dagnats.wire import subjects
from tests.unit.dead.letters import stored, work


async def test_a_replay_opens_the_run_and_removes_the_letter(outside, dead, runs):
    """Only that run's, and only once."""
    [first, second] = await stored(outside, work("r1"), work("r2"))
    replayed = await dead.replay(first)

    assert (replayed.run_id, replayed.step_id, replayed.sequences) == ("r1", "pay", [first])
    assert runs.opened == ["r1"]
    assert [row.sequence for row in (await dead.list()).letters] == [second]
    with pytest.raises(LetterNotFound):
        await dead.replay(first)


async def test_a_run_that_cannot_be_opened_keeps_its_letter(outside, dead, runs):
    """The reason is told, with what to do; nothing is removed."""
    [seq] = await stored(outside, work())
    runs.refuse = "it is completed"
    with pytest.raises(RequestError, match=rf"it is completed.*dlq discard {seq}"):
        await dead.replay(seq)

    assert (await dead.list()).returned == 1


async def test_older_letters_of_the_run_go_with_the_newest(outside, dead, runs):
    """The older one alone is out of date, and names the newer."""
    [old, new, other] = await stored(outside, work(step="a"), work(step="b"), work("r2"))
    with pytest.raises(RequestError, match=rf"failed again, at step b; replay dead letter {new}"):
        await dead.replay(old)

    assert runs.opened == []
    assert (await dead.replay(new)).sequences == [new, old]
    assert [row.sequence for row in (await dead.list()).letters] == [other]


async def test_a_letter_that_was_brought_back_is_as_old_as_it_was(outside, dead, runs):
    """Its sequence is younger than that of the run's later failure; it does not take its place."""
    [old] = await stored(outside, work(step="a"))
    outside._link.world.clock.advance(1_000)
    await dead.discard(old)
    [new] = await stored(outside, work(step="b"))
    back = (await dead.undo(old)).sequence
    with pytest.raises(RequestError, match=f"replay dead letter {new} instead"):
        await dead.replay(back)
    [outcome] = await dead.sweep()

    assert outcome.outcome == "replayed"
    assert runs.opened == ["r1"]
    assert (await dead.list()).letters == []


async def test_replaying_a_run(outside, dead, runs):
    """By its newest letter; what is no work stays, and is named."""
    poison = poison_letter("dagnats.fact.0.r1.worker", "r1", b"{", 7, "not JSON")
    [old, bad, new] = await stored(outside, work(step="a"), poison, work(step="b"))
    replayed = await dead.replay_run("r1")

    assert (replayed.step_id, replayed.sequences, replayed.left) == ("b", [new, old], [bad])
    assert runs.opened == ["r1"]
    with pytest.raises(RequestError, match=f"from dead letter {bad}"):
        await dead.replay_run("r1")
    with pytest.raises(LetterNotFound, match="run r9 has no dead letters"):
        await dead.replay_run("r9")


def large(size):
    """A dispatch of a size."""
    place = subjects.partition_of("r1", 16)
    return Append(subjects.task(place, "r1", "charge", ""), b"x" * size, "r1/pay/1/0:dispatch")


CUT = work()
CUT = Append(CUT.subject, b"x" * (BODY_SIZE_MAX_BYTES + 1), "id", headers=CUT.headers)


@pytest.mark.parametrize(
    ("letter", "words"),
    [
        (
            poison_letter("dagnats.fact.0.r1.worker", "r1", b"{", 7, "bad"),
            "dagnats.fact.0.r1.worker",
        ),
        (unsendable_letter(large(BODY_SIZE_MAX_BYTES * 2), "r1", "too large"), "max_payload"),
        (unsendable_letter(CUT, "r1", "too large"), "dagnats run retry r1"),
        (Append(subjects.dead("t", "r1", "s"), b"{}"), "which step"),
    ],
)
async def test_what_is_no_work_cannot_be_replayed(outside, dead, runs, letter, words):
    """It is refused with what to do instead; it stays, and no run is touched."""
    [seq] = await stored(outside, letter)
    with pytest.raises(RequestError, match=f"dead letter {seq} cannot be replayed") as refused:
        await dead.replay(seq)

    assert words in str(refused.value)
    assert words in (await dead.show(seq)).advice
    assert runs.opened == []
    assert (await dead.list()).returned == 1
    assert not (await dead.list()).letters[0].replayable
