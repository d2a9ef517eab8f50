"""Discarding letters, and bringing them back whole."""

import msgspec
import pytest

from dagnats.errors import LetterNotFound
from dagnats.limits import OFFLOAD_SIZE_BYTES
from dagnats.ports import Append
from tests.unit.dead.letters import stored, work


async def test_discarding_and_undoing(outside, dead, runs):
    """Everything comes back but the sequence: headers, body, and when it failed."""
    [seq] = await stored(outside, work())
    before = await outside.letters.get(seq)
    discarded = await dead.discard(seq)

    assert (discarded.sequence, discarded.run_id) == (seq, "r1")
    assert discarded.undo_until == "2023-11-14T23:13:20.000Z"
    assert (await dead.list()).letters == []

    outside._link.world.clock.advance(60_000)
    restored = await dead.undo(seq)
    after = await outside.letters.get(restored.sequence)

    assert restored.was == seq
    assert after.payload == before.payload
    assert after.headers[:-1] == before.headers
    assert (await dead.list()).letters[0].timestamp == "2023-11-14T22:13:20.000Z"
    assert runs.opened == []
    with pytest.raises(LetterNotFound, match="kept for 1 h"):
        await dead.undo(seq)


async def test_discarding_twice_says_how_to_undo(outside, dead):
    """The second time there is nothing to remove."""
    [seq] = await stored(outside, work())
    await dead.discard(seq)
    with pytest.raises(LetterNotFound, match=r"discarded already.*--undo"):
        await dead.discard(seq)


async def test_undoing_what_was_not_discarded(outside, dead):
    """Is refused; the letter is there."""
    [seq] = await stored(outside, work())
    with pytest.raises(LetterNotFound, match="still there"):
        await dead.undo(seq)


async def test_a_letter_discarded_again_keeps_when_it_failed(outside, dead):
    """However often it went and came."""
    [seq] = await stored(outside, work())
    for _ in range(3):
        outside._link.world.clock.advance(1_000)
        await dead.discard(seq)
        seq = (await dead.undo(seq)).sequence

    assert (await dead.list()).letters[0].timestamp == "2023-11-14T22:13:20.000Z"
    assert (await dead.list()).returned == 1


@pytest.mark.parametrize("size", [0, OFFLOAD_SIZE_BYTES + 1, 1_000_000])
async def test_bodies_of_any_size_and_kind_come_back(outside, dead, size):
    """Bytes as they were."""
    body = bytes(range(256)) * (size // 256 + 1)
    letter = work()
    [seq] = await stored(outside, Append(letter.subject, body[:size], headers=letter.headers))
    await dead.discard(seq)
    restored = await dead.undo(seq)

    assert (await outside.letters.get(restored.sequence)).payload == body[:size]


async def test_a_discarding_that_was_cut_off_is_undone(outside, dead):
    """The letter was kept, but not removed yet: undoing makes no second one."""
    [seq] = await stored(outside, work())
    letter = await outside.letters.get(seq)
    await dead._discarded.put(str(seq), msgspec.json.encode(await dead._keep(letter)))

    assert (await dead.undo(seq)).sequence == seq
    assert (await dead.list()).returned == 1


async def test_an_undoing_that_was_cut_off_is_repeated(outside, dead):
    """It was published, but its record not removed: the second publish is known."""
    [seq] = await stored(outside, work())
    await dead.discard(seq)
    value, _ = await dead._discarded.get(str(seq))
    first = await dead.undo(seq)
    await dead._discarded.put(str(seq), value)

    assert await dead.undo(seq) == first
    assert (await dead.list()).returned == 1
