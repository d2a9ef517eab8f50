"""Documents of any size: one that no message can carry is stored elsewhere, and nothing of it is left behind."""

from __future__ import annotations

from msgspec import Raw

from dagnats import payloads
from dagnats.jetstream.outside import JetStream
from dagnats.kept import keep, kept
from dagnats.wire import subjects

KEY, BUCKET = "trigger=t", subjects.SNAPSHOTS


async def test_a_document_grows_and_shrinks(broker):
    """Each is read as it was written; what a newer one replaced is gone, and one that is not whole is none."""
    outside = await JetStream.open(broker.url, name="test")
    large = [b'"%s"' % (letter * 1_200_000) for letter in (b"a", b"b")]
    names: list[str] = []
    try:
        for value in (b'"small"', large[0], large[1], large[1], b'"small"', large[0]):
            await keep(outside, BUCKET, KEY, value)

            assert await kept(outside, BUCKET, KEY) == value

            found = await outside.documents(BUCKET).get(KEY)
            assert found is not None
            elsewhere = payloads.reference(Raw(found[0]))
            names += [elsewhere.name] if elsewhere else []

        assert len(set(names)) == 2

        there = [name for name in set(names) if await outside.blobs.get(name) is not None]

        assert there == [names[-1]]

        await outside.blobs.delete(names[-1])

        assert await kept(outside, BUCKET, KEY) is None
    finally:
        await outside.close()
