"""A trigger's log is cut where its state was saved: what it knows and does stays the same."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from dagnats import beginnings
from dagnats.core.definition import read_workflow
from dagnats.core.limiting import gate_id
from dagnats.core.triggers import stored
from dagnats.core.triggers.fold import TriggerState
from dagnats.limits import TRIGGER_SAVED_FACTS
from dagnats.ports import Entry
from dagnats.scheduler import gates
from dagnats.triggers import read_trigger_state
from dagnats.wire import subjects
from tests.unit.scheduler.test_triggers import CRON, MINUTE, WORKFLOW, Owner

ENTITY = "trigger=t"
KEPT = 20


async def fired(owner: Owner, times: int) -> None:
    """Let a schedule of every minute fire so often."""
    for _ in range(times):
        await owner.pass_time(MINUTE)
        await owner.work()


async def cut_often(monkeypatch, times: int = 5 * TRIGGER_SAVED_FACTS) -> Owner:
    """The owner of a trigger whose log was cut several times."""
    monkeypatch.setattr(beginnings, "FIRES_KEPT", KEPT)
    owner = Owner()
    await owner.begin(CRON)
    await fired(owner, times)
    return owner


async def test_a_log_does_not_grow(monkeypatch):
    """However often it fires: some facts, and what became of the newest fires."""
    owner = await cut_often(monkeypatch)
    entries = await owner.outside.log.history(ENTITY)
    facts = [each for each in entries if each.subject.startswith("dagnats.fact.")]

    assert len(facts) <= TRIGGER_SAVED_FACTS + 1
    assert KEPT <= len(entries) - len(facts) <= TRIGGER_SAVED_FACTS + KEPT
    assert await owner.runs() == 5 * TRIGGER_SAVED_FACTS
    assert len(await owner.client.fires("t", KEPT)) == KEPT


async def test_a_snapshot_may_be_lost(monkeypatch):
    """The next owner reads what the log begins with, and each instant still starts one run."""
    owner = await cut_often(monkeypatch, 250)
    await owner.outside.documents(subjects.SNAPSHOTS).delete(ENTITY)
    before = await owner.client.view_trigger(CRON)
    await owner.take_over()
    await owner.work()

    assert await owner.runs() == 250
    assert before.next_at == (await owner.client.view_trigger(CRON)).next_at

    await fired(owner, 3)

    assert await owner.runs() == 253


async def test_a_beginning_is_never_set_back(monkeypatch):
    """A former owner that was paused may write late: it changes nothing."""
    owner = await cut_often(monkeypatch, 250)
    documents = owner.outside.documents(subjects.BEGINNINGS)
    before, entries = await documents.get(ENTITY), await owner.outside.log.history(ENTITY)
    await beginnings.cut(owner.outside, ENTITY, stored.save(TriggerState(entity=ENTITY, seq=7)), 7)

    assert await documents.get(ENTITY) == before
    assert await owner.outside.log.history(ENTITY) == entries


async def test_a_log_that_is_cut_while_it_is_read(monkeypatch):
    """Nothing is missing: it is read again."""
    owner = await cut_often(monkeypatch, 250)
    expected = await read_trigger_state(owner.outside, ENTITY)
    read, pending = owner.outside.log.history, [True]

    async def history(run: str, after_seq: int = 0) -> list[Entry]:
        if pending:
            pending.clear()
            await beginnings.cut(owner.outside, ENTITY, stored.save(expected), expected.seq)
        return await read(run, after_seq)

    monkeypatch.setattr(owner.outside.log, "history", history)

    assert await read_trigger_state(owner.outside, ENTITY) == expected


async def test_what_a_newer_version_saved_is_left_alone(monkeypatch, caplog):
    """That trigger rests and says so; the partition goes on, and the newer version finds everything."""
    owner = await cut_often(monkeypatch, 250)
    expected = await read_trigger_state(owner.outside, ENTITY)
    newer = msgspec.json.encode(replace(expected, version=99))
    for bucket in (subjects.BEGINNINGS, subjects.SNAPSHOTS):
        await owner.outside.documents(bucket).put(ENTITY, newer)
    await owner.client.set_trigger(replace(CRON, id="other"))
    await owner.take_over()
    await fired(owner, 150)

    assert "saved by a newer dagnats" in caplog.text
    assert await owner.runs() == 250 + 150
    [kept] = [(await owner.outside.documents(subjects.BEGINNINGS).get(ENTITY) or (b"",))[0]]
    assert kept == newer


async def test_a_gates_log_is_cut_and_it_still_holds(monkeypatch):
    """It is listed, knows who is inside without its snapshot, and lets the next one in."""
    monkeypatch.setattr(gates, "GATE_SAVED_FACTS", 50)
    owner = Owner()
    await owner.begin(CRON)
    limited, _ = read_workflow({**WORKFLOW, "name": "limited", "concurrency": {"max_runs": 1}})
    assert limited is not None
    await owner.client.register(limited)
    for number in range(200):
        handle = await owner.client.start("limited", id=f"r{number}")
        await owner.work()
        await handle.cancel()
        await owner.work()
    first, second = [await owner.client.start("limited", id=each) for each in ("in", "out")]
    await owner.work()
    gate = gate_id("workflow", "limited")
    await owner.outside.documents(subjects.SNAPSHOTS).delete(gate)
    await owner.take_over()
    await owner.work()
    [view] = await owner.client.gates()

    assert len(await owner.outside.log.history(gate)) <= 2 * 50
    assert [each.run_id for each in view.holders] == [first.run_id]
    assert [each.run_id for each in view.line] == [second.run_id]

    await first.cancel()
    await owner.work()
    [view] = await owner.client.gates()

    assert [each.run_id for each in view.holders] == [second.run_id]
