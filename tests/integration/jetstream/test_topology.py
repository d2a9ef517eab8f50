"""Streams are made once, changed in place, and keep what an operator set."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from dagnats.errors import BrokerUnsuitable
from dagnats.jetstream import topology
from dagnats.jetstream.connect import connect
from dagnats.jetstream.outside import JetStream
from dagnats.jetstream.plans import plans
from dagnats.jetstream.topology import ensure, merged
from dagnats.limits import CONSUMERS_MAX
from dagnats.ports import Append
from dagnats.wire import subjects
from tests.support.broker import Broker


@pytest.fixture
async def link(broker: Broker):
    """A connection to a server without streams."""
    opened = await connect(broker.url, name="test")
    yield opened
    await opened.close()


async def config_of(link, stream: str) -> dict:
    """A stream's configuration."""
    return (await link.api(f"STREAM.INFO.{stream}"))["config"]


async def names_of(link) -> set[str]:
    """The streams there are."""
    return set((await link.api("STREAM.NAMES"))["streams"])


async def test_everything_is_made(link):
    """All streams, buckets and the object store, with explicit limits."""
    made = await ensure(link, partitions=8)

    assert made.partitions == 8
    assert await names_of(link) == {
        "DAGNATS_EVENTS", "DAGNATS_TASKS", "DAGNATS_TIMERS", "DAGNATS_STREAMS", "DAGNATS_DEAD",
        "DAGNATS_INBOX", "DAGNATS_HOOKS", "DAGNATS_ARCHIVE", "DAGNATS_ARCHIVED",
        "KV_dagnats_definitions", "KV_dagnats_tasks", "KV_dagnats_snapshots",
        "KV_dagnats_checkpoints", "KV_dagnats_workers", "KV_dagnats_triggers",
        "KV_dagnats_trigger_types", "KV_dagnats_scheduled", "KV_dagnats_leases",
        "KV_dagnats_secrets", "KV_dagnats_waiters", "KV_dagnats_discarded", "KV_dagnats_replays",
        "KV_dagnats_control", "KV_dagnats_beginnings",
        "OBJ_dagnats_blobs",
    }  # fmt: skip
    for name in await names_of(link):
        assert (await config_of(link, name))["max_consumers"] == CONSUMERS_MAX
    events = await config_of(link, subjects.EVENTS)
    assert not events["allow_rollup_hdrs"]
    assert not events.get("allow_msg_schedules")
    assert not events["allow_msg_ttl"]
    assert not events["deny_purge"]


async def test_how_long_things_are_kept(link):
    """As docs/guarantees.md says; what is not named here stays for ever, or as long as its scheduler says."""
    await ensure(link)
    days = {
        "DAGNATS_EVENTS": 0, "DAGNATS_TIMERS": 0, "DAGNATS_TASKS": 0, "DAGNATS_ARCHIVE": 30, "DAGNATS_DEAD": 30,
        "DAGNATS_STREAMS": 1, "OBJ_dagnats_blobs": 60, "KV_dagnats_snapshots": 365, "KV_dagnats_checkpoints": 365,
        "KV_dagnats_beginnings": 0,
    }  # fmt: skip
    ages = {name: (await config_of(link, name))["max_age"] for name in days}

    assert ages == {name: count * 24 * 3_600 * 10**9 for name, count in days.items()}


async def test_again_changes_nothing(link):
    """Running it again leaves every configuration as it is."""
    await ensure(link)
    before = {name: await config_of(link, name) for name in await names_of(link)}

    await ensure(link)

    assert {name: await config_of(link, name) for name in await names_of(link)} == before


async def test_many_at_once(broker: Broker):
    """Processes that start together agree."""
    links = [await connect(broker.url, name="test") for _ in range(6)]

    made = await asyncio.gather(*(ensure(link) for link in links))

    assert {topology.partitions for topology in made} == {16}
    for link in links:
        await link.close()


async def test_different_counts_at_once(broker: Broker):
    """Of two different partition counts one wins, and the other is told."""
    links = [await connect(broker.url, name="test") for _ in range(4)]

    made = await asyncio.gather(
        *(ensure(link, partitions=4 + 4 * (n % 2)) for n, link in enumerate(links)),
        return_exceptions=True,
    )

    counts = {found.partitions for found in made if not isinstance(found, Exception)}
    assert len(counts) == 1
    refused = [str(found) for found in made if isinstance(found, Exception)]
    assert [text for text in refused if "partitions and cannot be changed" not in text] == []
    for link in links:
        await link.close()


async def test_partition_count_stays(link):
    """An existing deployment's count wins; asking for another is refused."""
    await ensure(link, partitions=4)

    assert (await ensure(link)).partitions == 4
    assert (await ensure(link, partitions=4)).partitions == 4
    with pytest.raises(BrokerUnsuitable, match="has 4 partitions and cannot be changed to 8"):
        await ensure(link, partitions=8)
    with pytest.raises(BrokerUnsuitable, match="use 1 to 256"):
        await ensure(link, partitions=0)


async def test_operator_settings_stay(link):
    """Limits an operator raised or lowered, and settings that are not ours, are kept."""
    await ensure(link)
    events = await config_of(link, subjects.EVENTS)
    theirs = {
        "max_age": events["max_age"] * 10, "max_bytes": 10**9, "description": "theirs",
        "compression": "s2",
    }  # fmt: skip
    await link.api(f"STREAM.UPDATE.{subjects.EVENTS}", {**events, **theirs})
    dead = await config_of(link, subjects.DEAD)
    await link.api(f"STREAM.UPDATE.{subjects.DEAD}", {**dead, "max_age": 3_600_000_000_000})

    await ensure(link)

    after = await config_of(link, subjects.EVENTS)
    assert {key: after[key] for key in theirs} == theirs
    assert (await config_of(link, subjects.DEAD))["max_age"] == 3_600_000_000_000


async def test_a_short_age_of_an_operator_shortens_the_memory_for_duplicates(link):
    """The server wants it no longer than messages live; everything starts all the same."""
    await ensure(link)
    dead = await config_of(link, subjects.DEAD)
    short = {"max_age": 60_000_000_000, "duplicate_window": 60_000_000_000}
    await link.api(f"STREAM.UPDATE.{subjects.DEAD}", {**dead, **short})

    await ensure(link)

    after = await config_of(link, subjects.DEAD)
    assert {key: after[key] for key in short} == short


async def test_a_new_version_changes_limits_in_place(link, monkeypatch):
    """A limit of ours that a new version changes is changed in place, and messages stay."""
    await ensure(link)
    outside_plan = plans(16, 1, -1)
    for plan in outside_plan:
        if plan["name"] == subjects.DEAD:
            plan["max_age"] *= 2
    monkeypatch.setattr(topology, "plans", lambda *_, **__: outside_plan)

    await ensure(link)

    dead = next(plan for plan in outside_plan if plan["name"] == subjects.DEAD)
    assert (await config_of(link, subjects.DEAD))["max_age"] == dead["max_age"]


async def test_a_foreign_change_is_mended(link):
    """A setting that DagNats cannot do without is put back."""
    await ensure(link)
    events = await config_of(link, subjects.EVENTS)
    await link.api(
        f"STREAM.UPDATE.{subjects.EVENTS}", {**events, "allow_direct": False, "sources": None}
    )

    await ensure(link)

    after = await config_of(link, subjects.EVENTS)
    assert after["allow_direct"]
    assert after["sources"][0]["name"] == subjects.TIMERS


async def test_small_server_store():
    """A server whose store is too small is refused with the cure."""
    broker = Broker(config="").start()
    broker.kill()
    broker.config = f'jetstream {{ store_dir: "{broker.store}", max_file_store: 10MB }}\n'
    broker.jetstream = False
    broker.start()
    try:
        with pytest.raises(BrokerUnsuitable, match=r"has no room for JetStream.*max_file_store"):
            await JetStream.open(broker.url)
    finally:
        broker.remove()


async def test_small_account():
    """An account that may store too little is refused; others get byte limits within theirs."""
    config = """
        jetstream { store_dir: "%s" }
        accounts {
          small { jetstream: { max_file: 10MB, max_mem: 0 }, users: [ { user: s, password: s } ] }
          fair { jetstream: { max_file: 1GB, max_mem: 0 }, users: [ { user: f, password: f } ] }
          strict {
            jetstream: { max_file: 1GB, max_mem: 0, max_bytes_required: true }
            users: [ { user: r, password: r } ]
          }
        }"""
    broker = Broker(jetstream=False)
    broker.config = config % broker.store
    broker.start()
    try:
        with pytest.raises(BrokerUnsuitable, match="raise max_file_store"):
            await JetStream.open(broker.url.replace("//", "//s:s@"))
        # S417: at a limit of its own, it would forget the oldest timers.
        for user, unbounded in (("f", {subjects.TIMERS}), ("r", set())):
            opened = await JetStream.open(broker.url.replace("//", f"//{user}:{user}@"))
            names = await names_of(opened.link)
            sizes = {name: (await config_of(opened.link, name))["max_bytes"] for name in names}
            assert {name for name, size in sizes.items() if size <= 0} == unbounded
            assert sum(size for size in sizes.values() if size > 0) <= 2**30
            assert await topology.differences(opened.link, 16) == {}
            await opened.close()
    finally:
        broker.remove()


async def test_timers_lose_the_limit_that_earlier_versions_gave_them(link, monkeypatch):
    """A share of the account, for which the oldest timers were dropped; an operator's own limit stays."""
    with monkeypatch.context() as earlier:
        shares = plans(16, 1, 2**30, all_bounded=True)
        earlier.setattr(topology, "plans", lambda *_, **__: shares)
        await ensure(link)
    assert (await config_of(link, subjects.TIMERS))["max_bytes"] > 0

    await ensure(link)

    config = await config_of(link, subjects.TIMERS)
    assert config["max_bytes"] == -1
    await link.api(f"STREAM.UPDATE.{subjects.TIMERS}", {**config, "max_bytes": 10**9})

    await ensure(link)

    assert (await config_of(link, subjects.TIMERS))["max_bytes"] == 10**9


async def test_a_stream_in_the_way(link):
    """A foreign stream on our subjects is named as the reason."""
    await link.api("STREAM.CREATE.OTHER", {"name": "OTHER", "subjects": ["dagnats.fact.>"]})

    with pytest.raises(BrokerUnsuitable, match=r"stream DAGNATS_EVENTS .*overlap"):
        await ensure(link)


async def test_without_ensure(broker: Broker):
    """A process that must not make streams says which one does."""
    with pytest.raises(BrokerUnsuitable, match=r"no DagNats streams .*dagnats serve"):
        await JetStream.open(broker.url, ensure=False)

    made = await JetStream.open(broker.url, partitions=3)
    again = await JetStream.open(broker.url, ensure=False)

    assert again.log.partitions == 3
    await made.close()
    await again.close()


async def test_dispatches_are_sourced(fragile, run):
    """A dispatch in the log appears in the queue, re-addressed."""
    await fragile.log.append([Append(subjects.task(0, run, "a.b", "gpu"), b"x", f"{run}:d")])

    async with asyncio.timeout(5):
        while True:
            info = await fragile.link.api(f"STREAM.INFO.{subjects.TASKS}", {"subjects_filter": ">"})
            if found := info["state"].get("subjects"):
                break

    assert found == {f"dagnats.queue.a%2Eb.gpu.{run}": 1}


async def test_timers_come_back_as_facts(fragile, run):
    """An armed timer is copied into the log as a fact of its run when due; arming replaces it."""
    partition = subjects.partition_of(run, 4)

    def armed(seconds: float, payload: bytes) -> Append:
        due = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
        headers = (
            (subjects.SCHEDULE, f"@at {due}"),
            (subjects.SCHEDULE_TARGET, subjects.due(partition, run)),
            (subjects.SCHEDULE_TTL, "5m"),
        )
        return Append(subjects.timer(partition, run), payload, headers=headers)

    feed = await fragile.feed(partition)
    await fragile.log.append([armed(3_600, b"late"), armed(0.3, b"soon")])

    facts = []
    async with asyncio.timeout(5):
        while not facts:
            facts = await feed.next(10)

    assert [(f.subject, f.payload) for f in facts] == [
        (subjects.fact(partition, run, "timer"), b"soon")
    ]
    assert facts[0].origin_seq > 0
    await feed.close()


def test_merging_keeps_unknown_settings():
    """What the plan does not speak of is kept as it was found."""
    plan = plans(16, 1, -1)[0]
    found = {**merged(plan, None), "placement": {"tags": ["ssd"]}, "num_replicas": 3, "max_age": 5}

    wanted = merged(plan, found)

    assert wanted["placement"] == {"tags": ["ssd"]}
    assert wanted["num_replicas"] == 3
    assert wanted["max_age"] == 5
