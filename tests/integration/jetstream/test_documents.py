"""Buckets and blobs."""

from __future__ import annotations

import asyncio
import os

import pytest

from dagnats.clock import SystemClock
from dagnats.errors import OutsideError
from dagnats.jetstream.blobs import JetStreamBlobs
from dagnats.jetstream.documents import decoded, encoded
from dagnats.jetstream.outside import JetStream
from dagnats.limits import RETENTION_MS
from dagnats.wire import subjects
from tests.support.broker import Broker


@pytest.fixture
def documents(outside):
    """A bucket on the shared server."""
    return outside.documents(subjects.TRIGGERS)


async def test_round_trip(documents, run):
    """Put, get, put again, delete."""
    assert await documents.get(run) is None
    first = await documents.put(run, b"1")
    assert await documents.get(run) == (b"1", first)
    second = await documents.put(run, b"")
    assert await documents.get(run) == (b"", second)
    assert second > first
    await documents.delete(run)
    assert await documents.get(run) is None
    await documents.delete(run)


async def test_swap(documents, run):
    """A swap holds only at the right revision, also after a deletion."""
    first = await documents.swap(run, b"1", 0)
    assert first
    assert await documents.swap(run, b"2", 0) is None
    second = await documents.swap(run, b"2", first)
    assert second
    assert await documents.swap(run, b"3", first) is None
    await documents.delete(run)
    assert await documents.swap(run, b"3", second) is None
    third = await documents.swap(run, b"3", 0)
    assert third
    assert await documents.get(run) == (b"3", third)


async def test_one_winner(broker: Broker):
    """Of many that swap at once one wins, round after round."""
    opened = [await JetStream.open(broker.url) for _ in range(4)]
    buckets = [one.documents(subjects.LEASES) for one in opened]
    revision = 0
    for number in range(50):
        results = await asyncio.gather(
            *(bucket.swap("0", b"%d" % number, revision) for bucket in buckets)
        )
        winners = [result for result in results if result is not None]
        assert len(winners) == 1
        revision = winners[0]
    for one in opened:
        await one.close()


async def test_all(fragile):
    """Every key, more than one answer holds, without the deleted ones."""
    bucket = fragile.documents(subjects.TRIGGERS)
    for number in range(1_300):
        await bucket.put(f"key {number}", b"%d" % number)
    await bucket.delete("key 7")

    found = await bucket.all()

    assert len(found) == 1_299
    assert found["key 8"][0] == b"8"
    assert "key 7" not in found
    assert await fragile.documents(subjects.SECRETS).all() == {}


@pytest.mark.parametrize(
    "key", ["plain", "a.b", "a/b", "a b", "ä", "a=b", ".x", "x.", "a..b", "*", ">", "%", "=2E", "_"]
)
async def test_keys(documents, key):
    """Any text can be a key, and comes back as it was."""
    revision = await documents.put(key, key.encode())

    assert await documents.get(key) == (key.encode(), revision)
    assert (await documents.all())[key] == (key.encode(), revision)
    assert decoded(encoded(key)) == key
    await documents.delete(key)


def test_keys_are_injective():
    """Different keys never share a name."""
    keys = ["a=b", "a=3Db", "a b", "a=20b", "a.b", "a=2Eb", "a%b"]

    assert len({encoded(key) for key in keys}) == len(keys)


async def test_entries_expire(fragile):
    """The workers' bucket forgets those that stopped beating."""
    config = (await fragile.link.api("STREAM.INFO.KV_dagnats_workers"))["config"]

    assert config["max_age"] == 15_000_000_000


async def test_blob_round_trip(outside, run):
    """Ten megabytes come back as they were; another name has none."""
    data = os.urandom(10 * 1024 * 1024 + 17)

    await outside.blobs.put(run, data)

    assert await outside.blobs.get(run) == data
    assert await outside.blobs.get(f"{run}-none") is None


async def test_blob_twice(fragile):
    """Storing one twice, at once or later, stores it once or replaces it whole."""
    data = os.urandom(300_000)

    await asyncio.gather(fragile.blobs.put("x", data), fragile.blobs.put("x", data))
    before = (await fragile.link.api("STREAM.INFO.OBJ_dagnats_blobs"))["state"]["last_seq"]
    await fragile.blobs.put("x", data)
    after = (await fragile.link.api("STREAM.INFO.OBJ_dagnats_blobs"))["state"]["last_seq"]

    assert await fragile.blobs.get("x") == data
    assert before == after
    await fragile.blobs.put("empty", b"")
    assert await fragile.blobs.get("empty") == b""


async def test_damaged_blob(fragile):
    """Chunks that are gone are told, not returned as a shorter payload."""
    await fragile.blobs.put("x", os.urandom(300_000))
    await fragile.link.api(
        "STREAM.PURGE.OBJ_dagnats_blobs", {"filter": "$O.dagnats_blobs.C.*", "keep": 1}
    )

    with pytest.raises(OutsideError, match="payload x is damaged"):
        await fragile.blobs.get("x")


async def test_a_blob_used_again_late_lives_on(fragile):
    """Storing what is old already stores it anew: its first use's end must not be the second's."""

    class Later(SystemClock):
        """A month from now."""

        def wall_ms(self) -> int:
            """More than the retention later."""
            return super().wall_ms() + RETENTION_MS + 60_000

    async def stored() -> int:
        return int((await fragile.link.api("STREAM.INFO.OBJ_dagnats_blobs"))["state"]["last_seq"])

    await fragile.blobs.put("late", b"again")
    before = await stored()
    await JetStreamBlobs(fragile.link, fragile._publisher, Later()).put("late", b"again")

    assert await stored() > before
    assert await fragile.blobs.get("late") == b"again"


async def test_other_tools_read_blobs(outside, run):
    """nats-py's object store reads what we store, as the command line does."""
    data = os.urandom(400_000)
    await outside.blobs.put(run, data)

    store = await outside.link.client.jetstream().object_store(subjects.BLOBS)

    assert (await store.get(run)).data == data
