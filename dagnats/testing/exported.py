"""Runs that were exported (`dagnats run export`), folded again with the engine as it is now."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Raw

from dagnats.core.definition import read_workflow
from dagnats.core.graph import compile_graph
from dagnats.core.machine import advance, new_run
from dagnats.core.validate import problems_of
from dagnats.core.views import RunView, view_run
from dagnats.errors import CodecError, DefinitionError
from dagnats.exporting import ExportedEntry, ExportedRun
from dagnats.ports import Entry
from dagnats.wire.codec import event_of

_first = msgspec.json.Decoder(ExportedRun)
_entry = msgspec.json.Decoder(ExportedEntry)


def replay(path: str | Path) -> RunView:
    """The run as the engine of this version sees its history: the same, or something has changed its meaning.

    Raises:
        CodecError: the file is no exported run.
        DefinitionError: its workflow is no longer valid.
    """
    lines = Path(path).read_bytes().splitlines()
    try:
        about = _first.decode(lines[0])
        entries = [_entry.decode(line) for line in lines[1:]]
    except (msgspec.DecodeError, IndexError) as error:
        raise CodecError(f"{path} is no exported run: {error}") from error
    workflow, problems = read_workflow(msgspec.json.decode(about.definition))
    if workflow is None or problems or (problems := problems_of(workflow)):
        raise DefinitionError("\n".join(map(str, problems)), problems=problems)
    run = new_run(about.run_id, compile_graph(workflow, about.digest))
    for line in entries:
        payload = bytes(line.payload or Raw(b"null"))
        entry = Entry(line.seq, line.at_ms, line.subject, payload, line.msg_id)
        if line.counts:
            run, _ = advance(run, event_of(entry))
    return view_run(run)
