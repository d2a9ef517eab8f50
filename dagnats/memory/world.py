"""The shared server, in memory: what several processes see of one deployment.

Everything happens inside the calls below, in the caller's turn; nothing runs by itself. Time moves
when its clock does, and has its effects when ``fire_due`` is called.
"""

from __future__ import annotations

from collections import defaultdict

from dagnats.clock import Clock
from dagnats.errors import PublishFailed
from dagnats.limits import (
    DEAD_DUPLICATE_WINDOW_MS,
    MESSAGE_SIZE_MAX_BYTES,
    PARTITIONS_DEFAULT,
    RETENTION_MS,
)
from dagnats.memory.buckets import Bucket
from dagnats.memory.courier import Courier
from dagnats.memory.facts import FactCursor
from dagnats.memory.live import Listeners
from dagnats.memory.matching import matches, transformed
from dagnats.memory.mischief import Harmless, Mischief
from dagnats.memory.stream import Stream
from dagnats.memory.timers import Timers, schedule_of
from dagnats.memory.workqueue import WorkQueue
from dagnats.ports import Append, Delivery, Entry, Stored
from dagnats.wire import subjects

REARM_WINDOW_MS = 100  # as the timers' stream on a server: arming again must not be a duplicate
TAKEN_BY = {
    subjects.EVENTS: subjects.EVENTS_SUBJECTS,
    subjects.TIMERS: subjects.TIMERS_SUBJECTS,
    subjects.STREAMS: subjects.STREAMS_SUBJECTS,
    subjects.DEAD: subjects.DEAD_SUBJECTS,
    subjects.INBOX: subjects.INBOX_SUBJECTS,
    subjects.HOOKS: subjects.HOOKS_SUBJECTS,
    subjects.ARCHIVE: subjects.ARCHIVE_SUBJECTS,
    subjects.ARCHIVED: subjects.ARCHIVED_SUBJECTS,
    subjects.TASKS: (),  # only sourced
}


class World:
    """Streams, consumers, timers, live listeners, buckets and blobs."""

    def __init__(
        self,
        clock: Clock,
        partitions: int = PARTITIONS_DEFAULT,
        mischief: Mischief | None = None,
    ) -> None:
        self.clock = clock
        self.partitions = partitions
        self.mischief: Mischief = mischief or Harmless()
        self.courier = Courier()
        self.streams = {name: Stream(name) for name in TAKEN_BY}
        self.streams[subjects.DEAD] = Stream(subjects.DEAD, DEAD_DUPLICATE_WINDOW_MS)
        timers = self.streams[subjects.TIMERS] = Stream(subjects.TIMERS, REARM_WINDOW_MS)
        self.cursors = {str(number): FactCursor() for number in range(partitions)}
        self.queue = WorkQueue(clock, self.mischief, self.courier)
        self.listeners = Listeners(self.courier)
        self.buckets: defaultdict[str, Bucket] = defaultdict(Bucket)
        self.blobs: dict[str, bytes] = {}
        self.timers = Timers(timers)
        self.captured: list[str] = []
        self.archived_for_ms = RETENTION_MS
        self._histories: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)

    # -- storing -----------------------------------------------------------------------------------

    def store(self, message: Append) -> Stored:
        """Store one message, and do what follows from it.

        Raises:
            WrongSequence: its ``expect_last`` does not hold.
            PublishFailed: no stream takes it, it is not valid there, or mischief.
        """
        fault = self.mischief.fail_append(message)
        stored = None if fault == "before" else self._store(message)
        if stored is None or fault == "after":
            raise PublishFailed(
                f"no answer to the publish on {message.subject} (id {message.msg_id!r}): whether "
                "it was stored is not known; publish it again with the same id",
                subject=message.subject,
            )
        return stored

    def _store(self, message: Append) -> Stored:
        stream = self._checked(message)
        schedule = schedule_of(message)
        now_ms = self.clock.monotonic_ms()
        known = stream.known(message, now_ms)
        if known:
            return known
        entry = stream.add(
            message.subject,
            bytes(message.payload),
            self.clock.wall_ms(),
            msg_id=message.msg_id,
            now_ms=now_ms,
            headers=message.headers,
        )
        self.timers.arm(entry, schedule)
        self.listeners.tell(entry.subject, entry.payload, "")
        self._stored(stream, entry, 0)
        self.courier.run()
        return Stored(entry.seq)

    def _checked(self, message: Append) -> Stream:
        stream = self._stream_of(message.subject)
        if stream is None:
            raise PublishFailed(
                f"no stream takes {message.subject}: publish on a subject of wire.subjects",
                subject=message.subject,
            )
        if len(message.payload) > MESSAGE_SIZE_MAX_BYTES:
            raise PublishFailed(
                f"the message on {message.subject} has {len(message.payload)} bytes, more than "
                f"{MESSAGE_SIZE_MAX_BYTES}: keep the payload as a blob and refer to it",
                subject=message.subject,
            )
        return stream

    def _stream_of(self, subject: str) -> Stream | None:
        for name, patterns in TAKEN_BY.items():
            if any(matches(pattern, subject) for pattern in patterns):
                return self.streams[name]
        captured = any(matches(pattern, subject) for pattern in self.captured)
        return self.streams[subjects.HOOKS] if captured else None

    def _stored(self, stream: Stream, entry: Entry, origin_seq: int) -> None:
        """What an entry brings about in the consumers and streams behind its own."""
        if stream.name == subjects.TIMERS:
            if target := transformed(subjects.DUE_SOURCE, entry.subject):
                self._source(subjects.EVENTS, target, entry)
        elif stream.name == subjects.TASKS:
            self.queue.add(entry, origin_seq)
        elif stream.name == subjects.EVENTS:
            self._logged(entry, origin_seq)

    def _logged(self, entry: Entry, origin_seq: int) -> None:
        _, _, partition, *rest = entry.subject.split(".")
        if len(rest) > 1:  # a run and what it is about; a history's filter takes no less
            self._histories[partition, rest[0]].append(entry)
        cursor = self.cursors.get(partition)
        if cursor and matches(subjects.facts_of_partition(int(partition)), entry.subject):
            cursor.add(entry, origin_seq)
        if target := transformed(subjects.QUEUE_SOURCE, entry.subject):
            self._source(subjects.TASKS, target, entry)

    def _source(self, into: str, subject: str, entry: Entry) -> None:
        """Copy an entry into another stream, as the server does: no listener hears of it."""
        stream = self.streams[into]
        copy = stream.add(subject, entry.payload, self.clock.wall_ms(), msg_id=entry.msg_id)
        self._stored(stream, copy, entry.seq)

    # -- reading -----------------------------------------------------------------------------------

    def history(self, run: str, after_seq: int) -> list[Entry]:
        """Everything about a run after a sequence."""
        place = str(subjects.partition_of(run, self.partitions))
        return [each for each in self._histories.get((place, run), ()) if each.seq > after_seq]

    def remove(self, run: str, up_to_seq: int, marks_kept: int = 0) -> None:
        """Remove a run's messages up to a sequence; or its facts, and all but so many marks."""
        place = subjects.partition_of(run, self.partitions)
        stored = self.history(run, 0)
        gone = [each for each in stored if each.seq <= up_to_seq]
        if marks_kept:
            facts, marks = subjects.facts_of_run(place, run), subjects.marks_of_run(place, run)
            old = [each for each in stored if matches(marks, each.subject)][:-marks_kept]
            gone = [*(each for each in gone if matches(facts, each.subject)), *old]
        for entry in gone:
            self.streams[subjects.EVENTS].drop(entry)
        removed = {each.seq for each in gone}
        self._histories[str(place), run] = [each for each in stored if each.seq not in removed]

    # -- consumers of facts ------------------------------------------------------------------------

    def take_facts(self, partition: int, limit: int) -> list[Delivery]:
        """What the owner of a partition gets next."""
        now_ms = self.clock.monotonic_ms()
        return self.cursors[str(partition)].take(limit, now_ms, self.mischief)

    def acknowledge_facts(self, partition: int, delivery: Delivery) -> None:
        """Raise a partition's floor, unless the acknowledgement gets lost."""
        if not self.mischief.drop_ack(delivery.reply):
            self.cursors[str(partition)].acknowledge(delivery.seq, self.clock.monotonic_ms())

    # -- live --------------------------------------------------------------------------------------

    def tell(self, subject: str, payload: bytes, reply: str = "") -> int:
        """A plain publish: heard by whoever listens, stored too where a stream takes the subject.

        Returns:
            How many hear it, of a message that nothing stores.
        """
        if self._stream_of(subject) is None:
            count = self.listeners.tell(subject, bytes(payload), reply)
            self.courier.run()
            return count
        try:
            self._store(Append(subject, payload))
        except PublishFailed:
            return 0  # nobody waits for the answer, so nobody learns
        return 0

    # -- time --------------------------------------------------------------------------------------

    def fire_due(self) -> None:
        """Do all that time has made due: timers, leases, delays, requests, forgotten facts."""
        now_ms = self.clock.monotonic_ms()
        for timer in self.timers.take_due(self.clock.wall_ms()):
            self._source(subjects.TIMERS, timer.target, timer.entry)
        self.queue.fire_due(now_ms)
        for cursor in self.cursors.values():
            cursor.fire_due(now_ms)
        self.courier.run()

    def until_due_ms(self) -> float | None:
        """How long until ``fire_due`` has something to do; None: for ever, as things are."""
        now_ms = self.clock.monotonic_ms()
        waits = [self.timers.until_due_ms(self.clock.wall_ms()), self.queue.until_due_ms(now_ms)]
        waits += [cursor.until_due_ms(now_ms) for cursor in self.cursors.values()]
        return min((wait for wait in waits if wait is not None), default=None)
