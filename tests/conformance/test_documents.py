"""``ports.Documents`` and ``ports.Blobs``."""

import hashlib

from dagnats.wire import subjects
from tests.conformance.deployments import unique


async def test_an_absent_key_is_none(outside):
    """No value, no error."""
    assert await outside.documents(subjects.TRIGGERS).get(unique("key")) is None


async def test_what_was_put_is_got(outside, other):
    """By every process, with the revision that writing returned; revisions rise."""
    key, values = unique("key"), [b"one", b"", bytes(range(256)), b"x" * 300_000]
    revisions = []
    for value in values:
        revisions.append(await outside.documents(subjects.TRIGGERS).put(key, value))

        assert await other.documents(subjects.TRIGGERS).get(key) == (value, revisions[-1])

    assert revisions == sorted(set(revisions))
    assert revisions[0] > 0


async def test_swapping_makes_a_key_once(outside, other):
    """Revision 0 means: only if it is not there."""
    key = unique("key")
    mine = await outside.documents(subjects.TRIGGERS).swap(key, b"mine", 0)

    assert mine
    assert await other.documents(subjects.TRIGGERS).swap(key, b"theirs", 0) is None
    assert await other.documents(subjects.TRIGGERS).get(key) == (b"mine", mine)


async def test_swapping_needs_the_current_revision(outside):
    """An older revision changes nothing; the current one does."""
    documents, key = outside.documents(subjects.TRIGGERS), unique("key")
    first = await documents.put(key, b"1")
    second = await documents.swap(key, b"2", first)

    assert second > first
    assert await documents.swap(key, b"3", first) is None
    assert await documents.get(key) == (b"2", second)


async def test_a_deleted_key_is_absent(outside):
    """It can be made again; its old revisions are worth nothing."""
    documents, key = outside.documents(subjects.TRIGGERS), unique("key")
    old = await documents.put(key, b"old")
    await documents.delete(key)

    assert await documents.get(key) is None
    assert key not in await documents.all()
    assert await documents.swap(key, b"late", old) is None

    new = await documents.swap(key, b"new", 0)

    assert new > old
    assert await documents.get(key) == (b"new", new)


async def test_deleting_what_is_not_there_is_fine(outside):
    """Before and after."""
    documents, key = outside.documents(subjects.TRIGGERS), unique("key")
    await documents.delete(key)
    await documents.delete(key)

    assert await documents.get(key) is None


async def test_all_keys_of_a_bucket(outside):
    """Every key with its value and revision, and none of another bucket."""
    documents, word = outside.documents(subjects.TRIGGERS), unique("all")
    wanted = {}
    for number in range(30):
        key, value = f"{word}.{number}", b"%d" % number
        wanted[key] = (value, await documents.put(key, value))
    await outside.documents(subjects.WORKERS).put(f"{word}.other", b"other")
    found = await documents.all()

    assert {key: found[key] for key in found if key.startswith(word)} == wanted


async def test_keys_below_a_prefix(outside):
    """Only those are read."""
    documents = outside.documents("dagnats_waiters")
    for key in ("1.a.70", "1.b.71", "12.a.70"):
        await documents.put(key, b"x")

    assert sorted(await documents.all("1.")) == ["1.a.70", "1.b.71"]


async def test_an_empty_bucket_has_no_keys(outside):
    """All of nothing is nothing."""
    assert await outside.documents(subjects.SECRETS).all() == {}


async def test_blobs_are_kept_by_name(outside, other):
    """Writing one twice is writing it once; every process reads it; an unknown name is None."""
    data = unique("blob").encode() * 100_000
    name = hashlib.sha256(data).hexdigest()

    assert await outside.blobs.get(name) is None

    await outside.blobs.put(name, data)
    await other.blobs.put(name, data)

    assert await other.blobs.get(name) == data
    await other.blobs.put("another", data)
    await other.blobs.delete("another")
    await other.blobs.delete("another")
    assert await outside.blobs.get("another") is None
    assert await outside.blobs.get(name) == data


async def test_an_empty_blob_is_not_none(outside):
    """Nothing written is something."""
    name = unique("empty")
    await outside.blobs.put(name, b"")

    assert await outside.blobs.get(name) == b""
