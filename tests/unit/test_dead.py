"""Dead letters in memory: lists, replays, discarding, watching; what is refused, and how it is said."""

import asyncio

import msgspec
import pytest

from dagnats.dead import DeadLetters
from dagnats.errors import BrokerUnavailable, InvalidInput, LetterNotFound, RequestError
from dagnats.limits import OFFLOAD_SIZE_BYTES
from dagnats.memory.clock import VirtualClock
from dagnats.memory.outside import Memory
from dagnats.memory.world import World
from dagnats.ports import Append
from dagnats.scheduler.letters import BODY_SIZE_MAX_BYTES, poison_letter, unsendable_letter
from dagnats.wire import subjects


class Runs:
    """What opening a run again does: it is noted, or refused."""

    def __init__(self):
        self.opened = []
        self.refuse = ""

    async def retry(self, run):
        """As ``client.retry``."""
        if self.refuse:
            raise RequestError(f"run {run} cannot be retried: {self.refuse}")
        self.opened.append(run)


@pytest.fixture
def runs():
    """Runs that can all be opened again."""
    return Runs()


@pytest.fixture
def outside():
    """A process of a deployment in memory."""
    return Memory(World(VirtualClock()))


@pytest.fixture
def dead(outside, runs):
    """Its dead letters."""
    return DeadLetters(outside, VirtualClock(), runs.retry)


def work(run="r1", step="pay", task="charge", **more):
    """The letter of a step that was given up."""
    said = {
        "Run-Id": run,
        "Step-Id": step,
        "Task": task,
        "Workflow": "order",
        "Ticket": f"{step}/4/0",
        "Attempts": "4",
        "Error": "no money",
        "Failure": "retriable",
        **more,
    }
    body = msgspec.json.encode({"ticket": f"{step}/4/0", "nonce": "secret", "input": {"n": 1}})
    headers = tuple((subjects.DLQ_PREFIX + name, value) for name, value in said.items())
    return Append(subjects.dead(task, run, step), body, headers=headers)


async def stored(outside, *letters):
    """Store letters; their sequences."""
    return [each.seq for each in await outside.log.append(letters)]


# -- looking ---------------------------------------------------------------------------------------


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


async def test_what_others_publish_there_is_shown_too(outside, dead):
    """A message without headers is a letter about which little is known."""
    [seq] = await stored(outside, Append(subjects.dead("t", "r1", "s"), b""))
    view = await dead.show(seq)

    assert (view.letter.task, view.letter.run_id, view.letter.step_id) == ("t", "r1", "")
    assert not view.letter.replayable
    assert "discard" in view.advice
    assert (await dead.list()).returned == 1


async def test_numbers_in_headers_that_are_none(outside, dead):
    """Count as not said."""
    await stored(outside, work(Attempts="many", **{"Failed-At": "-1"}))

    assert (await dead.list()).letters[0].attempts == 0


@pytest.mark.parametrize("what", ["show", "replay", "discard", "undo"])
async def test_a_letter_that_is_not_there(dead, what):
    """Each says so, and what to do."""
    with pytest.raises(LetterNotFound, match="dead letter 5"):
        await getattr(dead, what)(5)


# -- replaying -------------------------------------------------------------------------------------


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


# -- discarding ------------------------------------------------------------------------------------


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


# -- watching --------------------------------------------------------------------------------------


async def test_a_sweep_replays_each_run_once(outside, dead, runs):
    """By its newest letter; what is no work is left alone."""
    poison = poison_letter("dagnats.fact.0.r1.worker", "r3", b"{", 7, "not JSON")
    await stored(outside, work("r1", "a"), work("r2"), work("r1", "b"), poison)
    outcomes = await dead.sweep()

    assert [(o.run_id, o.step_id, o.outcome, o.replays) for o in outcomes] == [
        ("r1", "b", "replayed", 1),
        ("r2", "pay", "replayed", 1),
    ]
    assert sorted(runs.opened) == ["r1", "r2"]
    assert [row.failure for row in (await dead.list()).letters] == ["poison"]


async def test_a_letter_that_comes_back_counts(outside, dead, runs):
    """After so many replays of its step it is left for a person; another step has its own count."""
    for _ in range(4):
        await stored(outside, work("r1", "a#1"))
        last = await dead.sweep(max_replays=2)

    assert (last[0].outcome, last[0].replays) == ("given_up", 2)
    assert len(runs.opened) == 2
    assert (await dead.list()).returned == 2
    assert [o.outcome for o in await dead.sweep(max_replays=3)] == ["replayed"]

    await stored(outside, work("r1", "b"))

    assert [o.replays for o in await dead.sweep(max_replays=2)] == [1]


async def test_the_count_is_the_deployments(outside, dead, runs):
    """Another process that watches goes on with it."""
    other = DeadLetters(Memory(outside._link.world), VirtualClock(), runs.retry)
    await stored(outside, work())
    await dead.sweep(max_replays=1)
    await stored(outside, work())

    assert [o.outcome for o in await other.sweep(max_replays=1)] == ["given_up"]


async def test_what_is_refused_is_not_counted(outside, dead, runs):
    """A run that is not closed yet is tried again at the next look, in full."""
    await stored(outside, work())
    runs.refuse = "it is running"
    for _ in range(3):
        [refused] = await dead.sweep(max_replays=1)

        assert (refused.outcome, refused.replays) == ("refused", 0)
        assert "it is running" in refused.reason

    runs.refuse = ""

    assert [o.outcome for o in await dead.sweep(max_replays=1)] == ["replayed"]


async def test_a_sweep_of_one_run(outside, dead, runs):
    """Leaves the others alone."""
    await stored(outside, work("r1"), work("r2"))
    await dead.sweep(run="r2")

    assert runs.opened == ["r2"]


async def test_a_watch_tells_what_is_new(outside, dead, runs):
    """Each replay; what is refused or given up only once."""
    watching = dead.watch(interval=0.1, max_replays=1)
    await stored(outside, work())

    assert (await anext(watching)).outcome == "replayed"

    await stored(outside, work())

    assert (await anext(watching)).outcome == "given_up"

    nothing = asyncio.ensure_future(anext(watching))
    await asyncio.wait({nothing}, timeout=0.35)

    assert not nothing.done()

    await stored(outside, work("r2"))

    assert (await nothing).run_id == "r2"
    await watching.aclose()


async def test_a_watch_survives_an_outage(outside, dead, runs, monkeypatch):
    """It looks again later."""
    sweep, failures = dead.sweep, [BrokerUnavailable()]

    async def flaky(**given):
        if failures:
            raise failures.pop()
        return await sweep(**given)

    monkeypatch.setattr(dead, "sweep", flaky)
    await stored(outside, work())
    watching = dead.watch(interval=0.1)

    assert (await anext(watching)).outcome == "replayed"
    await watching.aclose()


@pytest.mark.parametrize(
    "options",
    [
        {"interval": 0},
        {"interval": -1},
        {"interval": float("nan")},
        {"max_replays": 0},
        {"run": "a b"},
    ],
)
async def test_a_watch_within_bounds(dead, options):
    """Others are refused at once."""
    with pytest.raises(InvalidInput):
        await anext(dead.watch(**options))
