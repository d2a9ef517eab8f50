"""What the engine needs of the outside, as Protocols: frozen structs, payloads of JSON, times of the log in ms."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from msgspec import Struct


class Append(Struct, frozen=True):
    """A message to store. ``expect_last`` is the last sequence its subject must have (0: none yet)."""

    subject: str
    payload: bytes
    msg_id: str = ""
    expect_last: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Stored(Struct, frozen=True):
    """Where a message was stored; ``duplicate`` when it was known already by its message id."""

    seq: int
    duplicate: bool = False


class Entry(Struct, frozen=True):
    """A stored message as it is read back."""

    seq: int
    at_ms: int
    subject: str
    payload: bytes
    msg_id: str = ""


class Letter(Entry, frozen=True):
    """A dead letter as it is read back: with its own headers, in order, without those of the server."""

    headers: tuple[tuple[str, str], ...] = ()


class Delivery(Struct, frozen=True):
    """A message handed over by a consumer. ``reply`` is the handle for its acknowledgement.

    ``delivered`` counts deliveries from 1, ``pending`` is how many more wait behind it, ``origin_seq``
    the sequence in the stream it was sourced from (0 when it was not).
    """

    seq: int
    at_ms: int
    subject: str
    payload: bytes
    reply: str
    delivered: int = 1
    pending: int = 0
    origin_seq: int = 0


class EventLog(Protocol):
    """The log, and everything else that is stored by a plain publish (timers, dead letters)."""

    @property
    def partitions(self) -> int:
        """How many partitions runs hash to; a property of the deployment."""
        ...

    async def append(
        self, messages: Sequence[Append], fence: Callable[[], bool] | None = None
    ) -> list[Stored]:
        """Store messages, pipelined, in order. ``fence`` is asked right before bytes leave.

        Raises:
            WrongSequence: an ``expect_last`` did not hold.
            LeaseLost: the fence said no.
            PublishFailed: the server refused or did not answer in time.
        """
        ...

    async def history(self, run: str, after_seq: int = 0) -> list[Entry]:
        """All of a run's facts, dispatches and marks after a sequence, in order (no consumer is made)."""
        ...

    async def last(self, subject: str) -> Entry | None:
        """The last message of a literal subject."""
        ...

    async def last_of(self, subjects: Sequence[str]) -> list[Entry]:
        """The last message of each of many literal subjects; those that have none are left out."""
        ...

    def newest(self, subject: str, since_ms: int = 0) -> AsyncGenerator[list[Entry], None]:
        """The messages of a wildcard filter in pages, newest first, none from before a time; end with ``aclose``."""
        ...

    async def following(self, subject: str, after_seq: int) -> list[Entry]:
        """The first messages of a wildcard filter after a sequence, in order."""
        ...

    async def remove(self, run: str, up_to_seq: int, *, marks_kept: int = 0) -> None:
        """Remove a run's messages up to a sequence, its start first; or its facts, and all but so many marks."""
        ...

    async def subjects_of(self, subject: str) -> list[str]:
        """The literal subjects of a wildcard filter that have messages, in no order."""
        ...

    async def count(self, subject: str) -> int:
        """How many literal subjects of a wildcard filter have messages."""
        ...

    async def last_seq(self) -> int:
        """The sequence of the log's last message."""
        ...

    async def disarm(self, run: str) -> None:
        """Remove a run's timer, if one is armed; one that fires all the same is harmless."""
        ...


class Letters(Protocol):
    """The dead letters, each by its sequence. ``EventLog.append`` stores them."""

    async def get(self, seq: int) -> Letter | None:
        """The letter, or None when there is none of that sequence."""
        ...

    def newest(self, subject: str) -> AsyncGenerator[list[Letter], None]:
        """The letters of a wildcard filter in pages, newest first. Take as many as needed, then ``aclose``."""
        ...

    async def tally(self, subject: str) -> dict[str, int]:
        """How many letters each literal subject of a wildcard filter has."""
        ...

    async def remove(self, seq: int) -> bool:
        """Take a letter out of the stream; False when it is not there."""
        ...


class Archive(Protocol):
    """Records and histories of finished runs. ``EventLog.append`` stores them; they expire by age."""

    async def records(self, subject: str) -> list[Entry]:
        """The records that share a literal subject, in order."""
        ...

    def newest(self, since_ms: int = 0) -> AsyncGenerator[list[Entry], None]:
        """The records in pages, newest first. Take as many as needed, then ``aclose``."""
        ...

    async def part(self, seq: int) -> bytes | None:
        """A part of a history by its sequence; None when it has expired."""
        ...

    async def keep(self, age_ms: int) -> None:
        """Keep what is archived for so long from now on (at least a minute)."""
        ...


class FactFeed(Protocol):
    """A partition's facts, in order, for its owner. Acknowledging one acknowledges all before it."""

    async def next(self, limit: int) -> list[Delivery]:
        """The facts that have arrived, at least one unless nothing came for a while; at most ``limit``.

        Raises:
            LeaseLost: facts before these were handed to another reader; what is acknowledged from here
                on would cover them, so begin again with ``rewind``.
        """
        ...

    async def acknowledge(
        self, delivery: Delivery, fence: Callable[[], bool] | None = None
    ) -> None:
        """This fact and all before it need not come again."""
        ...

    async def rewind(self) -> None:
        """Have everything that was not acknowledged delivered again, at once."""
        ...

    async def close(self) -> None:
        """Ask for no more."""
        ...


class Documents(Protocol):
    """A bucket of keys and bytes with revisions."""

    async def get(self, key: str) -> tuple[bytes, int] | None:
        """The value and its revision."""
        ...

    async def put(self, key: str, value: bytes) -> int:
        """Write; return the revision."""
        ...

    async def swap(self, key: str, value: bytes, revision: int) -> int | None:
        """Write if the key is still at ``revision`` (0: not there); the new revision, or None if it is not."""
        ...

    async def delete(self, key: str) -> None:
        """Remove a key; fine when it is not there."""
        ...

    async def count(self) -> int:
        """About how many keys there are: never fewer, perhaps with some that were deleted."""
        ...

    async def all(self, prefix: str = "") -> dict[str, tuple[bytes, int]]:
        """Every key with its value and revision; only those below a prefix that ends with a dot."""
        ...


class Blobs(Protocol):
    """Large payloads by name; names are content hashes, so writing one twice is writing it once."""

    async def put(self, name: str, data: bytes) -> None:
        """Store under a name."""
        ...

    async def get(self, name: str) -> bytes | None:
        """The bytes, or None when there are none of that name."""
        ...

    async def delete(self, name: str) -> None:
        """Remove what is stored under a name; fine when there is nothing."""
        ...


class TicketSource(Protocol):
    """One task's (and group's) part of the work queue."""

    async def request(self, count: int, expires_ms: int) -> None:
        """Ask for up to ``count`` tickets; they arrive through the callback given at opening."""
        ...

    async def close(self) -> None:
        """Ask for no more."""
        ...


class TaskQueue(Protocol):
    """The work queue. Settling a ticket is fire and forget: redelivery is normal and harmless."""

    async def open(
        self, task: str, group: str, lease_ms: int, deliver: Callable[[Delivery], None],
        ended: Callable[[int], None], *, singleton: bool = False,
    ) -> TicketSource:  # fmt: skip
        """Join the consumer of a task and group (made when absent, changed when its lease differs).

        ``deliver`` is called for every ticket; ``ended(n)`` when a request ended with ``n`` tickets not delivered. Of a
        ``singleton`` one is out at a time, and one that was given back holds up the others until it comes again.

        Raises:
            BrokerUnsuitable: others who ask for these tickets now joined them the other way.
        """
        ...

    async def done(self, reply: str) -> None:
        """The ticket was answered: remove it."""
        ...

    def renew(self, reply: str) -> None:
        """The ticket's lease begins anew; what is said of the ticket after this counts after it."""
        ...

    async def give_back(self, reply: str, delay_ms: int = 0) -> None:
        """Let another worker have it."""
        ...

    async def purge_run(self, run: str) -> None:
        """Remove the waiting tickets of a run."""
        ...

    async def waiting(self, run: str) -> frozenset[str] | None:
        """The message ids of a run's tickets, also those that are out; None when the queue lags behind the log."""
        ...

    async def last_taken_ms(self, task: str, group: str) -> int:
        """When somebody was last given a ticket of a task and group; 0 when nobody ever was."""
        ...

    async def last_seq(self) -> int:
        """The sequence of the newest ticket ever queued."""
        ...


class Notices(Protocol):
    """Live messages that nothing stores (cancellations, questions to workers), and what is stored, live."""

    async def tell(self, subject: str, payload: bytes) -> None:
        """Send to whoever listens now."""
        ...

    async def listen(
        self, subject: str, heard: Callable[[str, bytes, str], None]
    ) -> Callable[[], None]:
        """Call ``heard(subject, payload, reply)`` for each message; returns what ends it."""
        ...

    async def ask(
        self, subject: str, payload: bytes, wait_ms: int, *, enough: int = 0
    ) -> list[bytes]:
        """Ask everybody who listens; the answers that came within the time.

        Back before that when nobody listens, or when there are ``enough`` answers (0: never).
        """
        ...

    def follow(self, stream: str, subject: str, after_seq: int = 0) -> AsyncGenerator[Entry, None]:
        """Stored messages of a subject filter from a sequence on, then new ones as they come."""
        ...

    async def last(self, stream: str, subject: str) -> Entry | None:
        """The last stored message of a subject filter: none that was confirmed before is missed."""
        ...


class Inbox(Protocol):
    """External events, by name, in the order they were published; and messages that triggers have captured."""

    async def since(self, name: str, since_ms: int) -> list[Entry]:
        """The stored events of a name from a time on."""
        ...

    async def last_seq(self, stream: str) -> int:
        """The sequence of the newest message of ``INBOX``, or of ``HOOKS``."""
        ...

    async def messages(
        self, stream: str, subject: str, after_seq: int, since_ms: int
    ) -> list[Entry]:
        """The stored messages of a subject filter after a sequence, none from before a time."""
        ...

    async def capture(self, subject: str) -> None:
        """Have the messages of a subject filter stored in ``HOOKS``, beside those that are already.

        Raises:
            BrokerUnsuitable: the server does not agree; the message says why.
        """
        ...

    async def release(self, needed: Sequence[str]) -> None:
        """Capture only these subject filters from now on; what was stored stays for its time."""
        ...


class Outside(Protocol):
    """All ports of one deployment, opened together."""

    @property
    def log(self) -> EventLog:
        """The log."""
        ...

    @property
    def queue(self) -> TaskQueue:
        """The work queue."""
        ...

    @property
    def notices(self) -> Notices:
        """Live messages."""
        ...

    @property
    def blobs(self) -> Blobs:
        """Large payloads."""
        ...

    @property
    def inbox(self) -> Inbox:
        """External events."""
        ...

    @property
    def archive(self) -> Archive:
        """Finished runs that left the log."""
        ...

    @property
    def letters(self) -> Letters:
        """Work that was given up."""
        ...

    def documents(self, bucket: str) -> Documents:
        """The bucket of that name (``wire.subjects`` lists them)."""
        ...

    async def feed(self, partition: int) -> FactFeed:
        """Start receiving a partition's facts; only its owner may."""
        ...

    async def close(self) -> None:
        """Send what is pending and let go of everything; twice is fine."""
        ...
