"""Asking: start runs, wait for results, read histories, cancel. Needs nothing but NATS.

A client folds a run's history with the same engine as the scheduler, so what it shows is what is.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw

from dagnats import convert, listing, payloads, reading, streaming
from dagnats.clock import Clock, SystemClock
from dagnats.core import views
from dagnats.core.events import CancelRequested, RunStarted
from dagnats.core.model import Workflow
from dagnats.core.run import Run
from dagnats.core.schemas import schema_violation
from dagnats.core.state import CANCELLED, COMPLETED
from dagnats.core.templates import PathMissing, path_of, select
from dagnats.core.validate import problems_of
from dagnats.dead import DeadLetters
from dagnats.errors import (
    BrokerUnavailable,
    DefinitionError,
    InvalidInput,
    ResultTimeout,
    RunAlreadyStarted,
    RunCancelled,
    RunFailed,
    RunNotFound,
    WorkflowNotFound,
    WrongSequence,
)  # fmt: skip
from dagnats.ids import checked_run_id, new_run_id, run_id_for_key
from dagnats.limits import METADATA_ENTRIES_MAX
from dagnats.ports import Append, EventLog, Outside
from dagnats.registry import Registry
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import ClosedMark

_RECHECK_S = 5.0
_PAUSE_S = 0.001
_PAUSE_MAX_S = 0.5
_mark = msgspec.json.Decoder(ClosedMark)

R = TypeVar("R")

Read = Callable[[Raw], Any]


class Client:
    """One connection's door to a deployment; ``Outside`` says where it leads."""

    def __init__(self, outside: Outside, clock: Clock | None = None) -> None:
        self.outside = outside
        self.registry = Registry(outside.documents(subjects.DEFINITIONS))
        self.clock = clock or SystemClock()
        self.dead = DeadLetters(outside, self.clock, lambda run_id: self.retry(run_id))  # type: ignore  # noqa: PLW0108, PGH003

    # -- starting ----------------------------------------------------------------------------------

    async def start(
        self,
        workflow: str | Workflow,
        input: Any = None,
        *,
        id: str | None = None,
        idempotency_key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        tags: Sequence[str] = (),
        read: Read | None = None,
    ) -> Handle[Any]:
        """Start a run of a registered workflow (by name), or of a definition.

        ``id`` names the run: a second start with it is refused. ``idempotency_key`` makes the id: a second
        start with it gives the first run's handle. ``read`` turns the output's JSON into a value.

        Raises:
            WorkflowNotFound, InvalidInput, RunAlreadyStarted, PayloadTooLarge.
        """
        raw = input if isinstance(input, Raw) else convert.encode(input)
        payloads.refuse_forged(raw, "the input")
        definition, digest = await _definition_of(self.registry, workflow)
        violation = schema_violation(definition.input_schema, raw)
        if violation:
            raise InvalidInput(f"input of workflow {definition.name}: {violation}")
        key = _start_key(definition, raw, idempotency_key)
        run_id = (
            checked_run_id(id)
            if id
            else run_id_for_key(definition.name, key)
            if key
            else new_run_id()
        )
        fact = RunStarted(
            workflow=definition.name,
            definition=digest,
            input=await payloads.offload(self.outside.blobs, raw, "the input"),
            metadata=_checked_metadata(metadata),
            tags=tuple(tags),
            key=key,
            start=new_run_id() if id is None and not key else "",
        )
        await append_start(self.outside.log, run_id, fact, idempotent=bool(key and not id))
        return Handle(self, run_id, read, started=True)

    async def register(self, workflow: Workflow) -> str:
        """Store a definition and make it current; return its hash.

        Raises:
            DefinitionError: with every problem of the definition.
        """
        problems = problems_of(workflow)
        if problems:
            raise DefinitionError(
                "\n".join(str(problem) for problem in problems), problems=problems
            )
        return await self.registry.register(workflow)

    # -- asking ------------------------------------------------------------------------------------

    def handle(self, run_id: str, read: Read | None = None) -> Handle[Any]:
        """The handle of a run by its id; whether it exists shows when it is asked."""
        return Handle(self, checked_run_id(run_id), read)

    async def find(self, prefix: str) -> str:
        """The full id of the run that an id, or a unique prefix of at least 8 characters, names.

        Raises:
            RunNotFound: none, or several, do.
        """
        return await listing.find(self.outside, prefix)

    async def runs(self, **filters: Any) -> listing.Listing:
        """The newest runs; see ``listing.runs`` for the filters."""
        return await listing.runs(self.outside, **filters)

    async def count(self, **filters: Any) -> listing.Counts:
        """How many runs there are; see ``listing.count`` for the filters."""
        return await listing.count(self.outside, **filters)

    async def cancel(self, run_id: str, reason: str = "") -> bool:
        """Ask for a run to be cancelled; False when it had ended already.

        Raises:
            RunNotFound.
        """
        if await self.closed_mark(run_id) is not None:
            return False
        if not await self._exists(run_id):
            raise _not_found(run_id)
        subject = subjects.fact(self._partition(run_id), run_id, "client")
        await self.outside.log.append(
            [Append(subject, encode(CancelRequested(reason=reason)), f"{run_id}:cancel")]
        )
        return True

    async def run(self, run_id: str) -> Run:
        """The run, folded from its history.

        Raises:
            RunNotFound.
        """
        return (await reading.read_run(self.outside, self.registry, run_id)).run

    async def closed_mark(self, run_id: str) -> ClosedMark | None:
        """How a run ended; None while it has not."""
        entry = await self.outside.log.last(
            subjects.mark(self._partition(run_id), run_id, "closed")
        )
        return _mark.decode(entry.payload) if entry else None

    async def wait_closed(
        self, run_id: str, timeout: float | None = None, *, started: bool = False
    ) -> ClosedMark:
        """Wait until a run has ended; ``started`` says that it is known to exist.

        Raises:
            ResultTimeout: it had not within ``timeout`` seconds.
            RunNotFound: there is no such run.
            InvalidInput: ``timeout`` is no number, such as "30s".
        """
        if not (timeout is None or isinstance(timeout, int | float)):
            raise InvalidInput(
                f"timeout={timeout!r}: waiting takes a number of seconds, such as 30"
            )
        heard = asyncio.Event()
        subject = subjects.mark(self._partition(run_id), run_id, "closed")
        stop = await self.outside.notices.listen(subject, lambda *_: heard.set())
        try:
            async with asyncio.timeout(timeout):
                return await self._marked(run_id, heard, known=started)
        except TimeoutError:
            raise ResultTimeout(
                f"run {run_id} had not ended after {timeout:g} s; it goes on"
            ) from None
        finally:
            stop()

    async def _marked(self, run_id: str, heard: asyncio.Event, *, known: bool) -> ClosedMark:
        """The closing mark, when it is there. It is heard live; in case it was missed, looked for now and then."""
        pause = _PAUSE_S
        while True:
            with suppress(BrokerUnavailable):  # an outage is waited out, like everything else
                mark = await self.closed_mark(run_id)
                if mark is not None:
                    return mark
                if not known and not await self._exists(run_id):
                    raise _not_found(run_id)
                known = True
            if heard.is_set():  # it travels live before it can be read, and may even be refused
                await asyncio.sleep(pause)
                pause = min(pause * 2, _PAUSE_MAX_S)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(heard.wait(), _RECHECK_S)

    async def _exists(self, run_id: str) -> bool:
        start = subjects.fact(self._partition(run_id), run_id, "client")
        return await self.outside.log.last(start) is not None

    def _partition(self, run_id: str) -> int:
        return subjects.partition_of(run_id, self.outside.log.partitions)

    async def close(self) -> None:
        """Let go of the connection."""
        await self.outside.close()


class Handle(Generic[R]):
    """One run, by its id: wait for it, look at it, cancel it. ``R`` is the type of its output."""

    def __init__(
        self, client: Client, run_id: str, read: Read | None = None, *, started: bool = False
    ) -> None:
        self.run_id = run_id
        self._started = started
        self._client = client
        self._read = read or convert.plain

    def __repr__(self) -> str:
        return f"Handle({self.run_id!r})"

    async def result(self, timeout: float | None = None) -> R:
        """The output, once the run has completed. ``timeout`` is in seconds.

        Raises:
            RunFailed, RunCancelled: it ended otherwise.
            ResultTimeout: it had not ended in time.
            RunNotFound: there is no such run.
        """
        mark = await self._client.wait_closed(self.run_id, timeout, started=self._started)
        return await self._output_of(mark)

    async def output(self) -> R:
        """The output of a run that has completed, without waiting.

        Raises:
            ResultTimeout: it has not ended yet.
            RunFailed, RunCancelled, RunNotFound.
        """
        mark = await self._client.closed_mark(self.run_id)
        if mark is None:
            run = await self._client.run(self.run_id)
            raise ResultTimeout(f"run {self.run_id} is {run.status}; it has no output yet")
        return await self._output_of(mark)

    async def _output_of(self, mark: ClosedMark) -> R:
        if mark.status == COMPLETED:
            return self._read(
                await payloads.restore(self._client.outside.blobs, mark.output or convert.NULL)
            )
        reason = mark.error.message if mark.error else mark.status
        if mark.status == CANCELLED:
            why = "" if reason == CANCELLED else f": {reason}"  # nobody said why
            raise RunCancelled(
                f"run {self.run_id} was cancelled{why}", run_id=self.run_id, reason=reason
            )
        raise RunFailed(
            f"run {self.run_id} failed: {reason}", run_id=self.run_id, reason=reason,
            failure=mark.error.failure if mark.error else "",
        )  # fmt: skip

    async def status(self) -> views.RunView:
        """The run as it is now: its steps, attempts and errors, and who is running what.

        Raises:
            RunNotFound.
        """
        client = self._client
        now_ms = client.clock.wall_ms()
        return await reading.status(client.outside, client.registry, self.run_id, now_ms)

    async def history(self) -> list[views.EventView]:
        """Everything that happened to the run, in order.

        Raises:
            RunNotFound.
        """
        return await reading.history(self._client.outside, self.run_id)

    async def cancel(self, reason: str = "") -> bool:
        """Ask for the run to be cancelled; False when it had ended already."""
        return await self._client.cancel(self.run_id, reason)

    def events(self) -> AsyncGenerator[views.EventView, None]:
        """Everything that has happened and then what happens, until the run has ended."""
        return reading.events(self._client.outside, self.run_id)

    def stream(
        self, step: str = "", *, offset: int = 0
    ) -> AsyncGenerator[streaming.ChunkView | streaming.Superseded, None]:
        """The token streams of the run (or of one step) from an offset on, until the run has ended.

        ``Superseded`` comes where chunks before it no longer count. See ``ChunkView`` for going on later.
        """
        ended = functools.partial(self._client.wait_closed, self.run_id, started=self._started)
        return streaming.chunks(self._client.outside, self.run_id, ended, step, offset)


async def append_start(log: EventLog, run_id: str, fact: RunStarted, *, idempotent: bool) -> None:
    """Store a run's first fact; an ``idempotent`` start that comes second is no error.

    Raises:
        RunAlreadyStarted: another start with this id was stored before.
    """
    partition = subjects.partition_of(run_id, log.partitions)
    subject = subjects.fact(partition, run_id, "client")
    payload = encode(fact)
    try:
        await log.append([Append(subject, payload, f"{run_id}:start", expect_last=0)])
    except WrongSequence:
        if idempotent:
            return
        first = await log.history(run_id)
        if fact.start and first and first[0].payload == payload:
            return  # a retry of this very start
        raise RunAlreadyStarted(
            f"run {run_id} was started before; choose another id, or go on with "
            f'`dagnats run status {run_id}` or client.handle("{run_id}")',
            run_id=run_id,
        ) from None


async def _definition_of(registry: Registry, workflow: str | Workflow) -> tuple[Workflow, str]:
    if isinstance(workflow, Workflow):
        return workflow, await registry.ensure(workflow)
    current = await registry.current(workflow)
    if current is None:
        raise WorkflowNotFound(
            f'no workflow "{workflow}" is registered; start a worker that has it, '
            "or `dagnats workflow register FILE`"
        )
    graph = await registry.graph(current.definition)
    if graph is None:
        raise WorkflowNotFound(
            f'the definition of workflow "{workflow}" is gone; register it again'
        )
    return graph.workflow, current.definition


def _start_key(workflow: Workflow, raw: Raw, given: str | None) -> str:
    """The idempotency key: the one given, or the value at the workflow's path into the input."""
    if given is not None:
        if not given:
            raise InvalidInput("the idempotency key is empty; leave it out, or give it a value")
        return given
    if not workflow.idempotency_key:
        return ""
    try:
        return bytes(select(raw, path_of(workflow.idempotency_key), "input")).decode()
    except PathMissing:
        return ""


def _not_found(run_id: str) -> RunNotFound:
    text = f"no run {run_id}; `dagnats run list` shows the runs there are"
    return RunNotFound(text, run_id=run_id)


def _checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    checked = dict(metadata or {})
    if len(checked) > METADATA_ENTRIES_MAX:
        raise InvalidInput(
            f"{len(checked)} metadata entries; at most {METADATA_ENTRIES_MAX} are kept"
        )
    for key, value in checked.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InvalidInput(f"metadata are strings: {key!r} is {value!r}")
    return checked
