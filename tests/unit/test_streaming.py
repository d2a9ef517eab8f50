"""What a reader makes of stored messages: offsets, what is void, and when a stream is over."""

import asyncio
from collections import defaultdict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from dagnats.errors import RunNotFound
from dagnats.memory.clock import VirtualClock
from dagnats.memory.outside import Memory
from dagnats.memory.waiting import OnLoop
from dagnats.memory.world import World
from dagnats.ports import Append, Entry
from dagnats.streaming import ChunkView, Fold, Superseded, chunks
from dagnats.wire import subjects
from dagnats.wire.messages import Chunks


def message(dispatch: int, *values, **facts) -> Chunks:
    """A stored message of an execution."""
    facts = {"step": "say", **facts}
    told = tuple(Raw(msgspec.json.encode(value)) for value in values)
    return Chunks(dispatch=dispatch, chunks=told, **facts)


def entry(seq: int, told: Chunks | bytes) -> Entry:
    """It, as it is read back."""
    return Entry(seq, 0, "s", told if isinstance(told, bytes) else msgspec.json.encode(told))


def read(*messages, offset=0) -> list[object]:
    """What a reader gets: a chunk's data, or the attempt that supersedes."""
    fold = Fold(offset)
    items = [item for seq, told in enumerate(messages, 1) for item in fold.take(entry(seq, told))]
    return [item.data if isinstance(item, ChunkView) else ("void", item.attempt) for item in items]


def test_chunks_have_offsets_and_numbers():
    """Each has an offset of its own, whatever was gathered into one message."""
    fold = Fold()
    found = [
        *fold.take(entry(5, message(1, "a", "b"))),
        *fold.take(entry(9, message(1, "c", n=2, attempt=3, iteration=4))),
    ]

    assert [(c.offset, c.n, c.data) for c in found] == [
        (5_000, 0, "a"), (5_001, 1, "b"), (9_000, 2, "c"),
    ]  # fmt: skip
    assert (found[2].attempt, found[2].iteration, found[2].execution) == (3, 4, "1-1")


def test_a_later_execution_supersedes():
    """With or without having said so; another iteration, or another step, does not."""
    said = message(2, anew=True, attempt=2)

    assert read(message(1, "a"), said, message(2, "b", attempt=2)) == ["a", ("void", 2), "b"]
    assert read(message(1, "a"), message(2, "b", attempt=2)) == ["a", ("void", 2), "b"]
    assert read(message(1, "a"), message(2, "b", iteration=1)) == ["a", "b"]
    assert read(message(1, "a"), message(2, "b", step="other")) == ["a", "b"]
    assert read(message(1, "a"), message(1, "b", delivery=2)) == ["a", ("void", 1), "b"]


def test_an_execution_that_is_behind_is_not_seen():
    """A worker that lost its ticket without knowing streams on, to nobody."""
    late = message(1, "late", n=1)

    assert read(message(1, "a"), message(2, anew=True), late, message(2, "b"), late) == [
        "a", ("void", 1), "b",
    ]  # fmt: skip


def test_a_reader_that_comes_back_is_told_what_it_missed():
    """And only that: what it was told before its offset is not told again."""
    story = [message(1, "a"), message(2, anew=True), message(2, "b", "c"), message(2, "d", n=2)]

    assert read(*story, offset=1_001) == [("void", 1), "b", "c", "d"]
    assert read(*story, offset=3_001) == ["c", "d"]
    assert read(*story, offset=4_001) == []


def test_unreadable_messages_are_passed_over():
    """Bytes, chunks that are no JSON, and nesting without end."""
    deep = b'{"step":"s","chunks":[%b%b]}' % (b"[" * 100_000, b"]" * 100_000)

    assert read(b"[", b"{}", b'{"step":"s","chunks":[}', deep, message(1, "a")) == ["a"]


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 1), st.integers(0, 3)), max_size=12),
    st.integers(0, 12),
)
def test_however_a_reader_reads_it_knows_the_same(told, cut):
    """Reading at once, and in two parts with the offset in between, leave the same chunks."""
    numbers: defaultdict[tuple[int, int], int] = defaultdict(int)
    stored = []
    highest: dict[int, int] = {}
    for seq, (dispatch, iteration, count) in enumerate(told, 1):
        if dispatch < highest.get(iteration, 0):
            continue  # what is behind is another test's
        anew = dispatch > highest.get(iteration, dispatch)
        highest[iteration] = dispatch
        n = numbers[dispatch, iteration]
        numbers[dispatch, iteration] += count
        values = [f"{dispatch}.{n + index}" for index in range(count)]
        stored.append(entry(seq, message(dispatch, *values, iteration=iteration, n=n, anew=anew)))
    whole = Fold()
    items = [item for each in stored for item in whole.take(each)]
    part = items[:cut]
    again = Fold(part[-1].offset + isinstance(part[-1], ChunkView) if part else 0)
    part += [item for each in stored for item in again.take(each)]

    assert known(part) == known(items)


def known(items) -> dict[int, list[str]]:
    """What counts, to a reader that forgets what it is told to."""
    texts: defaultdict[int, list[str]] = defaultdict(list)
    for item in items:
        if isinstance(item, Superseded):
            texts[item.iteration] = []
        else:
            texts[item.iteration].append(item.data)
    return {iteration: text for iteration, text in texts.items() if text}


class Reading:
    """A run in memory that is read while it is written."""

    def __init__(self) -> None:
        self.outside = Memory(World(VirtualClock()), "client", OnLoop())
        self.over = asyncio.Event()

    async def write(self, *values) -> None:
        """Store a message."""
        subject = subjects.stream("r", "say", "1-1")
        await self.outside.log.append([Append(subject, msgspec.json.encode(message(1, *values)))])

    def read(self, **place):
        """What a client reads."""
        return chunks(self.outside, "r", self.over.wait, **place)


async def test_a_stream_ends_with_its_run():
    """Once all that was stored is read, however late; a reader that waits is let go."""
    reading = Reading()
    found = []

    async def reader() -> None:
        async for item in reading.read():
            found.append(item.data)  # noqa: PERF401  (they are looked at while they come)

    running = asyncio.ensure_future(reader())
    await reading.write("a")
    await asyncio.sleep(0.01)

    assert found == ["a"]

    await reading.write("b", "c")
    reading.over.set()
    async with asyncio.timeout(2):
        await running

    assert found == ["a", "b", "c"]


async def test_a_run_without_a_stream_is_over_when_it_has_ended():
    """At once; and so is one that is read from behind its end."""
    reading = Reading()
    reading.over.set()
    async with asyncio.timeout(2):
        assert [item async for item in reading.read()] == []
        await reading.write("a")
        assert [item async for item in reading.read(offset=2_000)] == []
        assert [item async for item in reading.read(step="other")] == []


async def test_a_run_that_is_not_there_is_told():
    """What waiting for the end raises ends the reading."""
    reading = Reading()

    async def ended() -> None:
        raise RunNotFound

    with pytest.raises(RunNotFound):
        await anext(chunks(reading.outside, "r", ended))


async def test_a_reader_may_leave():
    """Nothing of it stays behind."""
    reading = Reading()
    await reading.write("a", "b")
    stream = reading.read()
    assert (await anext(stream)).data == "a"
    await stream.aclose()

    assert len(asyncio.all_tasks()) == 1
