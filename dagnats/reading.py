"""Reading a run back: its fold, its history, what happens to it.

The one place where stored messages become what people see.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import cast

import msgspec
from msgspec import Raw, Struct

from dagnats import archive, payloads
from dagnats.core import views
from dagnats.core.events import ANSWERS, Answer, Event, RunStarted
from dagnats.core.inputs import step_input
from dagnats.core.machine import advance, new_run
from dagnats.core.run import Run
from dagnats.core.state import QUEUED, UNSTARTED, step_of_ticket
from dagnats.core.templates import PathMissing
from dagnats.errors import CodecError, RunNotFound
from dagnats.ports import Entry, Outside
from dagnats.registry import Registry
from dagnats.wire import subjects
from dagnats.wire.codec import event_of, is_fact, kind_of

_ASK_MS = 150
_NUMBER = re.compile(r"[0-9]{1,9}\Z")


class RunRead(Struct, frozen=True):
    """A run and what it was folded from; ``folded`` are the sequences of the facts that counted."""

    run: Run
    entries: list[Entry]
    folded: frozenset[int] = frozenset()


class _Given(Struct, frozen=True):
    """The part of a dispatch that proves an answer."""

    ticket: str
    nonce: str = ""


_dispatch = msgspec.json.Decoder(_Given)
_at_work = msgspec.json.Decoder(dict[str, views.AtWork])
_loose = msgspec.json.Decoder(dict[str, Raw])


async def read_run(
    outside: Outside,
    registry: Registry,
    run_id: str,
    until: Callable[[Run, Run, Event], bool] | None = None,
) -> RunRead:
    """A run folded from its history. Answers count only with the nonce of their dispatch.

    ``until(before, after, event)`` says after which event to stop.

    Raises:
        RunNotFound: the log knows no start of it.
    """
    entries = await archive.history(outside, run_id)
    run: Run | None = None
    nonces: dict[str, str] = {}
    folded: set[int] = set()
    for entry in entries:
        if kind_of(entry.subject) == "task":
            with suppress(msgspec.DecodeError):
                given = _dispatch.decode(entry.payload)
                nonces[given.ticket] = given.nonce
        if not is_fact(entry):
            continue
        try:
            event = event_of(entry)
        except CodecError:
            continue
        if run is None:
            if not isinstance(event.fact, RunStarted):
                continue
            run = new_run(run_id, await registry.graph(event.fact.definition))
        if _authentic(event, nonces):
            inspected = run.graph.inspected if run.graph else frozenset[str]()
            before = run
            folded.add(entry.seq)
            event = await payloads.prepared(outside.blobs, inspected, event)
            run, _ = advance(before, event)
            if until is not None and until(before, run, event):
                break
    if run is None or run.status == UNSTARTED:
        raise RunNotFound(
            f"no run {run_id}; `dagnats run list` shows the runs there are", run_id=run_id
        )
    return RunRead(run, entries, frozenset(folded))


def input_of(run: Run, position: int) -> Raw:
    """What a step receives; null when that cannot be worked out."""
    if run.graph is None:
        return Raw(b"null")
    try:
        return step_input(run.graph, run.graph.nodes[position], run.steps, run.input)
    except PathMissing:
        return Raw(b"null")


def _authentic(event: Event, nonces: dict[str, str]) -> bool:
    fact = event.fact
    if not isinstance(fact, ANSWERS):
        return True
    fact = cast("Answer", fact)
    return fact.ticket in nonces and fact.nonce == nonces[fact.ticket]


async def status(
    outside: Outside, registry: Registry, run_id: str, now_ms: int = 0
) -> views.RunView:
    """A run as it is now, with the workers that are at its tickets.

    ``now_ms`` is the caller's time, up to which open steps have lasted; it may lag behind the log's.
    """
    read = await read_run(outside, registry, run_id)
    run, running = read.run, {}
    now = max(now_ms, read.entries[-1].at_ms if read.entries else 0)
    if run.graph is not None and not run.closed:
        queued = [n for n in run.graph.nodes if run.steps[n.position].status == QUEUED]
        if queued:
            running = await ask_workers(outside, run_id)
    return views.view_run(run, running, now)


async def ask_workers(outside: Outside, run_id: str) -> dict[str, views.AtWork]:
    """Which worker is at which ticket of a run right now."""
    running: dict[str, views.AtWork] = {}
    for answer in await outside.notices.ask(subjects.ask(run_id), b"", _ASK_MS):
        with suppress(msgspec.DecodeError):
            running.update(_at_work.decode(answer))
    return running


async def history(outside: Outside, run_id: str) -> list[views.EventView]:
    """Everything that happened to a run, in order.

    Raises:
        RunNotFound.
    """
    entries = await archive.history(outside, run_id)
    if not entries:
        raise RunNotFound(
            f"no run {run_id}; `dagnats run list` shows the runs there are", run_id=run_id
        )
    return [view_entry(entry) for entry in entries]


def view_entry(entry: Entry) -> views.EventView:
    """One stored message for people; whatever it is, it can be shown. Nonces are left out."""
    kind = kind_of(entry.subject)
    last = entry.subject.rsplit(".", 1)[-1]
    try:
        fields = _loose.decode(entry.payload)
    except (msgspec.DecodeError, RecursionError):
        fields = {}
    ticket = _text(fields, "ticket")
    _, _, place = ticket.partition("/")
    attempt, _, turn = place.partition("/")
    iteration = turn.partition("/")[0]  # behind it: how often a parked handler was entered again
    fields.pop("nonce", None)
    return views.EventView(
        seq=entry.seq,
        at=views.text_of_time(entry.at_ms),
        author=last if kind == "fact" else "scheduler",
        type=_text(fields, "type")
        or {"task": "step.dispatched", "mark": f"run.{last}"}.get(kind, "unreadable"),
        step=step_of_ticket(ticket),
        attempt=_number(attempt),
        iteration=_number(iteration),
        worker=_text(fields, "worker"),
        data=Raw(msgspec.json.encode(fields)),
    )


def _number(text: str) -> int:
    return int(text) if _NUMBER.match(text) else 0


def _text(fields: dict[str, Raw], name: str) -> str:
    try:
        return msgspec.json.decode(fields[name], type=str) if name in fields else ""
    except msgspec.DecodeError:
        return ""


async def events(outside: Outside, run_id: str) -> AsyncGenerator[views.EventView, None]:
    """History, then what happens, until the run has ended.

    Raises:
        RunNotFound.
    """
    past = await archive.read(outside, run_id)
    if not past.entries:
        raise RunNotFound(
            f"no run {run_id}; `dagnats run list` shows the runs there are", run_id=run_id
        )
    partition = subjects.partition_of(run_id, outside.log.partitions)
    closed = subjects.mark(partition, run_id, "closed")
    for entry in past.entries if past.archived_seq else ():
        yield view_entry(entry)
    if past.archived_seq and past.entries[-1].subject == closed:
        return
    after_seq = past.entries[-1].seq if past.archived_seq else 0
    story = outside.notices.follow(subjects.EVENTS, subjects.history(partition, run_id), after_seq)
    async with aclosing(story):
        async for entry in story:
            yield view_entry(entry)
            if entry.subject == closed:
                return
