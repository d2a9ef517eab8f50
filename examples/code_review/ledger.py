"""The ledger: one line for everything that happened to an iteration, written as it happens.

It is the demo's witness. DagNats does not read or write it: each execution of an iteration appends
to this file by itself, so work that was done twice would show here, whatever the engine believes.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

What = Literal["started", "finished", "failed", "killed"]


class Entry(Struct, frozen=True):
    """One line of the ledger. ``killed`` is about a worker, the others about an execution by it."""

    what: What
    worker: int
    at: datetime
    iteration: int = -1
    attempt: int = 0


class Execution(Struct, frozen=True):
    """One run of one iteration, on one worker."""

    iteration: int
    worker: int
    started: datetime
    ended: datetime | None
    outcome: Literal["finished", "failed", "killed", "unknown"]


class Verdict(Struct, frozen=True):
    """What the ledger says about the promise that no finished iteration runs again."""

    kept: bool
    sentence: str


class Ledger:
    """An append-only file of entries, shared by every process that takes part."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def append(self, what: What, worker: int, iteration: int = -1, attempt: int = 0) -> None:
        """Add a line in one write, so that neither a kill nor another process can tear it."""
        entry = Entry(what, worker, datetime.now(UTC), iteration, attempt)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(file, msgspec.json.encode(entry) + b"\n")
        finally:
            os.close(file)

    @contextmanager
    def execution(self, iteration: int, attempt: int) -> Iterator[None]:
        """Note the start and the end of one execution of an iteration by this process."""
        worker = os.getpid()
        self.append("started", worker, iteration, attempt)
        try:
            yield
        except BaseException:
            self.append("failed", worker, iteration, attempt)
            raise
        self.append("finished", worker, iteration, attempt)

    def entries(self) -> tuple[Entry, ...]:
        """Everything noted so far, in order."""
        if not self.path.exists():
            return ()
        lines = self.path.read_bytes().splitlines()
        return tuple(msgspec.json.decode(line, type=Entry) for line in lines)


def executions(entries: Iterable[Entry]) -> tuple[Execution, ...]:
    """Pair starts with ends, in the order of the starts; a kill ends what its worker was doing."""
    done: list[Execution] = []
    for entry in entries:
        if entry.what == "started":
            done.append(Execution(entry.iteration, entry.worker, entry.at, None, "unknown"))
            continue
        for index, each in enumerate(done):
            concerned = entry.what == "killed" or each.iteration == entry.iteration
            if each.ended is None and each.worker == entry.worker and concerned:
                done[index] = msgspec.structs.replace(each, ended=entry.at, outcome=entry.what)
    return tuple(done)


def interrupted(entries: Iterable[Entry]) -> tuple[int, ...]:
    """The iterations that were running when their worker was killed."""
    return tuple(each.iteration for each in executions(entries) if each.outcome == "killed")


def reruns(entries: Iterable[Entry]) -> tuple[int, ...]:
    """The iterations that were started again although they, or a later one, had been finished."""
    finished_up_to = -1
    broken: set[int] = set()
    for entry in entries:
        if entry.what == "started" and entry.iteration <= finished_up_to:
            broken.add(entry.iteration)
        if entry.what == "finished":
            finished_up_to = max(finished_up_to, entry.iteration)
    return tuple(sorted(broken))


def judge(entries: Iterable[Entry]) -> Verdict:
    """Decide from the ledger alone whether a finished iteration ran again."""
    entries = tuple(entries)
    broken = reruns(entries)
    if broken:
        names = ", ".join(str(number + 1) for number in broken)
        return Verdict(kept=False, sentence=f"BROKEN: finished iterations ran again: {names}.")
    finished = len({entry.iteration for entry in entries if entry.what == "finished"})
    if not finished:
        return Verdict(kept=False, sentence="UNKNOWN: the ledger shows no finished iteration.")
    runs, again = executions(entries), interrupted(entries)
    sentence = f"No finished iteration ran again: {finished} finished in {len(runs)} executions"
    if again:
        names = ", ".join(str(number + 1) for number in again)
        sentence += f"; only what the kill had interrupted was repeated (iteration {names})"
    return Verdict(kept=True, sentence=sentence + ".")
