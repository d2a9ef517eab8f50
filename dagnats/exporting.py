"""Writing a run to a file that tests can replay: its definition, then its history, a JSON object a line.

Nonces are left out: whether an answer counted is written instead.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Raw, Struct

from dagnats import payloads, reading
from dagnats.core.definition import encode_workflow
from dagnats.core.model import ABSENT
from dagnats.errors import PayloadGone, RequestError
from dagnats.ports import Blobs, Entry, Outside
from dagnats.registry import Registry

_object = msgspec.json.Decoder(dict[str, Raw])


class ExportedRun(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first line."""

    run_id: str
    workflow: str
    status: str
    digest: str
    definition: Raw


class ExportedEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message of the history. ``counts``: it is a fact that the engine folds; a forged answer is not."""

    seq: int
    at_ms: int
    subject: str
    msg_id: str = ""
    counts: bool = False
    payload: Raw = ABSENT


async def exported(outside: Outside, registry: Registry, run_id: str) -> Iterator[bytes]:
    """The lines of a run's export, with what large payloads stand for.

    Raises:
        RunNotFound.
        RequestError: its definition is gone.
    """
    read = await reading.read_run(outside, registry, run_id)
    run = read.run
    if run.graph is None:
        raise RequestError(f"run {run_id} cannot be exported: its definition is gone")
    lines = [
        await _line(outside.blobs, entry, counts=entry.seq in read.folded) for entry in read.entries
    ]
    _, definition = encode_workflow(run.graph.workflow)
    first = ExportedRun(
        run_id=run_id, workflow=run.workflow, status=run.status, digest=run.definition,
        definition=Raw(definition),
    )  # fmt: skip
    return map(msgspec.json.encode, [first, *lines])


async def _line(blobs: Blobs, entry: Entry, *, counts: bool) -> ExportedEntry:
    payload = entry.payload
    try:
        members = _object.decode(payload)
        members.pop("nonce", None)
        payload = bytes(await payloads.restore(blobs, Raw(msgspec.json.encode(members))))
    except msgspec.DecodeError:
        payload = b"null"
    except PayloadGone:
        pass  # the reference stays
    return ExportedEntry(
        seq=entry.seq, at_ms=entry.at_ms, subject=entry.subject, msg_id=entry.msg_id, counts=counts,
        payload=Raw(payload),
    )  # fmt: skip
