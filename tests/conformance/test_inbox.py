"""``ports.Inbox``: events by name, and messages of subjects that are captured."""

from __future__ import annotations

from dagnats.ports import Append
from dagnats.wire import subjects
from tests.conformance.deployments import unique


async def test_events_are_found_after_a_sequence_and_since_a_time(deployment, outside, other):
    """In order, of one subject only; nothing from before."""
    name = unique("event")
    subject = subjects.inbox(name)
    first, second, third = [
        (await outside.log.append([Append(subject, b"%d" % n)]))[0].seq for n in range(3)
    ]
    await outside.log.append([Append(subjects.inbox(unique("event")), b"other")])
    found = await other.inbox.messages(subjects.INBOX, subject, first, 0)

    assert [(each.seq, each.payload) for each in found] == [(second, b"1"), (third, b"2")]
    assert [each.seq for each in await other.inbox.since(name, 0)] == [first, second, third]
    later = deployment.wall_ms() + 3_600_000
    assert await other.inbox.messages(subjects.INBOX, subject, 0, later) == []
    assert await other.inbox.last_seq(subjects.INBOX) >= third


async def test_what_is_captured_is_stored(deployment, outside, other):
    """From then on, also of a wider filter; what is covered already changes nothing; released, nothing more is."""
    root = unique("files")
    await outside.notices.tell(f"{root}.a", b"lost")
    for wanted in (f"{root}.a", f"{root}.*", f"{root}.b"):
        await outside.inbox.capture(wanted)
    for name in ("a", "b", "c.d"):
        await other.notices.tell(f"{root}.{name}", name.encode())

    async def found() -> list[bytes]:
        entries = await outside.inbox.messages(subjects.HOOKS, f"{root}.*", 0, 0)
        return [each.payload for each in entries]

    async def both() -> bool:
        return await found() == [b"a", b"b"]

    await deployment.until(both)
    await outside.inbox.release([])
    await other.notices.tell(f"{root}.a", b"late")
    await outside.inbox.capture(f"{root}.*")
    await other.notices.tell(f"{root}.a", b"again")

    async def three() -> bool:
        return await found() == [b"a", b"b", b"again"]

    await deployment.until(three)


async def test_documents_are_counted(outside):
    """Never fewer than there are."""
    documents, key = outside.documents(subjects.SCHEDULED), unique("key")
    before = len(await documents.all())
    await documents.put(key, b"1")

    assert await documents.count() >= before + 1
