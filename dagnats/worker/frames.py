"""What a worker and the processes of its isolated handlers say to each other: frames of msgpack on a socket.

Payloads are the JSON that they are on the wire, as bytes; nothing is pickled. A process has one ticket at a time.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
from msgspec import Struct

from dagnats import errors
from dagnats.errors import CodecError, DagNatsError
from dagnats.limits import FRAME_SIZE_MAX_BYTES
from dagnats.outcome import Parked

HEADER: Final = struct.Struct(">I")


class Problem(Struct, frozen=True):
    """An exception of ours: the name of its class and what it says; ``n`` of one that parks."""

    kind: str
    text: str
    n: int = 0

    @classmethod
    def of(cls, error: BaseException) -> Problem:
        """As it travels."""
        if isinstance(error, Parked):
            return cls("Parked", "", error.n)
        return cls(type(error).__name__, str(error))

    def error(self) -> BaseException:
        """As it is raised on the other side."""
        if self.kind == "Parked":
            return Parked(self.n)
        known = getattr(errors, self.kind, None)
        if isinstance(known, type) and issubclass(known, DagNatsError):
            return known(self.text)
        return DagNatsError(f"{self.kind}: {self.text}")


# -- what a handler asks for -----------------------------------------------------------------------


class Save(Struct, frozen=True, tag=True):
    """``ctx.save_checkpoint``."""

    iteration: int
    state: bytes


class Load(Struct, frozen=True, tag=True):
    """``ctx.load_checkpoint``."""


class Beat(Struct, frozen=True, tag=True):
    """``ctx.heartbeat``."""

    detail: bytes


class Signal(Struct, frozen=True, tag=True):
    """``ctx.send_signal``."""

    run: str
    name: str
    payload: bytes


class Durable(Struct, frozen=True, tag=True):
    """A durable call: its step and its input as JSON."""

    n: int
    step: bytes
    input: bytes
    park: bool


class Usage(Struct, frozen=True, tag=True):
    """``ctx.report_usage``: a ``UsageReported`` as JSON."""

    fact: bytes


class Room(Struct, frozen=True, tag=True):
    """Waits until more may be streamed."""


class Finish(Struct, frozen=True, tag=True):
    """Waits until all that was streamed is stored."""


Asked = Save | Load | Beat | Signal | Durable | Usage | Room | Finish

# -- to the process --------------------------------------------------------------------------------


class Begin(Struct, frozen=True, tag=True):
    """Run a ticket: a ``TaskMessage`` as JSON, with its payloads in place; ``now_ms`` is the log's time."""

    message: bytes
    worker: str
    now_ms: float


class Stop(Struct, frozen=True, tag=True):
    """End it."""

    reason: str


class Reply(Struct, frozen=True, tag=True):
    """What became of what was asked: a value as JSON, or a problem."""

    id: int
    value: bytes = b""
    problem: Problem | None = None


class Refused(Struct, frozen=True, tag=True):
    """A chunk could not be taken, and none can from now on."""

    problem: Problem


ToProcess = Begin | Stop | Reply | Refused

# -- to the worker ---------------------------------------------------------------------------------


class Ready(Struct, frozen=True, tag=True):
    """The module is loaded, or cannot be: then ``problem`` says why."""

    problem: str = ""


class Ask(Struct, frozen=True, tag=True):
    """Something that is answered by a ``Reply``."""

    id: int
    what: Asked


class Emit(Struct, frozen=True, tag=True):
    """A chunk of the token stream."""

    chunk: bytes


class Ended(Struct, frozen=True, tag=True):
    """The handler ended: its outcome as JSON (empty: none), and payloads to be stored before it.

    ``threads`` are those that it left behind.
    """

    outcome: bytes
    blobs: dict[str, bytes]
    threads: int = 0


ToWorker = Ready | Ask | Emit | Ended

_encoder = msgspec.msgpack.Encoder()
to_process = msgspec.msgpack.Decoder(ToProcess)
to_worker = msgspec.msgpack.Decoder(ToWorker)


def framed(frame: ToProcess | ToWorker) -> bytes:
    """A frame with its length before it."""
    body = _encoder.encode(frame)
    return HEADER.pack(len(body)) + body


def length_of(header: bytes) -> int:
    """How long the frame behind a header is.

    Raises:
        CodecError: longer than any can be.
    """
    (length,) = HEADER.unpack(header)
    if length > FRAME_SIZE_MAX_BYTES:
        raise CodecError(f"a frame of {length} bytes; at most {FRAME_SIZE_MAX_BYTES} are sent")
    return length
