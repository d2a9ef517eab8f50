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

from dagnats import archive, convert, listing, payloads, reading, starting, streaming
from dagnats.budgets import Budget, bounds_of
from dagnats.bulk import Bulk
from dagnats.clock import Clock, SystemClock
from dagnats.core import views
from dagnats.core.control import reserved_problems
from dagnats.core.events import BudgetRaised, CancelRequested, RetryRequested, RunStarted
from dagnats.core.explain import Reason
from dagnats.core.model import Workflow
from dagnats.core.run import Run
from dagnats.core.schemas import schema_violation
from dagnats.core.state import BUDGET_EXCEEDED, COMPLETED, CONTINUED, FAILED, RUNNING
from dagnats.core.validate import problems_of
from dagnats.dead import DeadLetters
from dagnats.endings import ended_badly
from dagnats.errors import (
    BrokerUnavailable,
    CodecError,
    DefinitionError,
    InvalidInput,
    ResultTimeout,
)  # fmt: skip
from dagnats.explaining import Explaining
from dagnats.ids import checked_run_id, new_run_id
from dagnats.outcome import UNSET
from dagnats.policies import Policies
from dagnats.ports import Append, Outside
from dagnats.registry import Registry
from dagnats.requests import Decided
from dagnats.scheduled import ScheduledStarts, When, cancel_start, due_ms, schedule
from dagnats.spending import Spending
from dagnats.starting import chosen_run_id, definition_of, not_found, start_key
from dagnats.triggers import TriggerRequests
from dagnats.wire import subjects
from dagnats.wire.codec import encode, event_of
from dagnats.wire.messages import ClosedMark

_RECHECK_S = 5.0
_PAUSE_S = 0.001
_PAUSE_MAX_S = 0.5
_mark = msgspec.json.Decoder(ClosedMark)

R = TypeVar("R")

Read = Callable[[Raw], Any]


class Client(listing.Lists, Spending, ScheduledStarts, TriggerRequests, Explaining):
    """One connection's door to a deployment; ``Outside`` says where it leads."""

    def __init__(self, outside: Outside, clock: Clock | None = None) -> None:
        self.outside = outside
        self.registry = Registry(outside.documents(subjects.DEFINITIONS))
        self.clock = clock or SystemClock()
        self.recheck_s = _RECHECK_S
        self.bulk = Bulk(self)
        self.dead = DeadLetters(outside, self.clock, self.retry)
        self.policy = Policies(outside.documents(subjects.CONTROL))

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
        run_at: When | None = None,
        priority: int = 0,
        budget: Budget | None = None,
        read: Read | None = None,
    ) -> Handle[Any]:
        """Start a run of a registered workflow (by name), or of a definition.

        ``id`` names the run: a second start with it is refused. ``idempotency_key`` makes the id: a second
        start with it gives the first run's handle. ``run_at`` starts it later: at a time with a zone, or so long from
        now ("2h"), up to 365 days. ``priority``: by so many seconds (-600 to 600) it goes before others where runs
        wait. ``budget`` is what it may use, in place of what its workflow says. ``read`` turns the output's JSON into
        a value.

        Raises:
            WorkflowNotFound, InvalidInput, RunAlreadyStarted, PayloadTooLarge.
        """
        raw = input if isinstance(input, Raw) else convert.encode(input)
        payloads.refuse_forged(raw, "the input")
        definition, digest = await definition_of(self.registry, workflow)
        violation = schema_violation(definition.input_schema, raw)
        if violation:
            raise InvalidInput(f"input of workflow {definition.name}: {violation}")
        key = start_key(definition, raw, idempotency_key)
        run_id = chosen_run_id(id, definition.name, key)
        fact = RunStarted(
            workflow=definition.name,
            definition=digest,
            input=await payloads.offload(self.outside.blobs, raw, "the input"),
            metadata=starting.checked_metadata(metadata),
            tags=tuple(tags),
            priority=starting.checked_priority(priority),
            budget=bounds_of("start", budget),
            key=key,
            start=new_run_id() if id is None and not key else "",
        )
        again = bool(key and not id)  # a second start is the first one
        due = due_ms(run_at, self.clock.wall_ms()) if run_at is not None else 0
        if due:
            await schedule(self.outside, run_id, fact, due, idempotent=again)
        else:
            await starting.append_start(
                self.outside, run_id, fact, idempotent=again, named=not fact.start
            )
        return Handle(self, run_id, read, started=True)

    async def register(self, workflow: Workflow) -> str:
        """Store a definition and make it current; return its hash.

        Raises:
            DefinitionError: with every problem of the definition.
        """
        problems = [*reserved_problems(workflow.name), *problems_of(workflow)]
        if problems:
            raise DefinitionError("\n".join(map(str, problems)), problems=problems)
        return await self.registry.register(workflow)

    # -- asking ------------------------------------------------------------------------------------

    def handle(self, run_id: str, read: Read | None = None) -> Handle[Any]:
        """The handle of a run by its id; whether it exists shows when it is asked."""
        return Handle(self, checked_run_id(run_id), read)

    async def cancel(self, run_id: str, reason: str = "") -> bool:
        """Ask for a run to be cancelled, or one that is scheduled not to be started; False when it had ended already.

        Raises:
            RunNotFound.
            RequestError: it was scheduled, and was cancelled before.
        """
        if not await self._exists(run_id):
            if await cancel_start(self.outside, run_id, reason):
                return True
        elif await self.closed_mark(run_id) is not None:
            return False
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
        """How a run ended; None while it has not, or when it was opened again."""
        closed = subjects.mark(self._partition(run_id), run_id, "closed")
        entry = await archive.last(self.outside, closed)
        mark = _mark.decode(entry.payload) if entry else None
        if entry is None or mark is None or mark.status == RUNNING:
            return None
        if mark.status in (FAILED, BUDGET_EXCEEDED) and await self._asked_to_go_on(
            run_id, entry.seq, mark.epoch
        ):
            return None  # its scheduler has only not come to it yet
        return mark

    async def _asked_to_go_on(self, run_id: str, closed_seq: int, epoch: int) -> bool:
        """Whether somebody asked for the run to be opened again since it was closed."""
        last = await self.outside.log.last(subjects.fact(self._partition(run_id), run_id, "client"))
        if last is None or last.seq < closed_seq:
            return False
        with suppress(CodecError):
            fact = event_of(last).fact
            return isinstance(fact, RetryRequested | BudgetRaised) and fact.epoch == epoch + 1
        return False

    async def rerun(self, run_id: str, input: Any = UNSET, *, id: str | None = None) -> Handle[Any]:
        """Start a run's workflow anew, as it is registered now, with the run's input or another.

        Raises:
            RunNotFound, WorkflowNotFound, InvalidInput, RunAlreadyStarted.
        """
        run = await self.run(run_id)
        given = input
        if input is UNSET:
            given = await payloads.restore(self.outside.blobs, run.input)
        metadata = {**run.metadata, "dagnats.rerun_of": run_id}
        return await self.start(run.workflow, given, id=id, metadata=metadata, tags=run.tags)

    async def fork(
        self,
        run_id: str,
        step: str,
        iteration: int = 0,
        input: Any = UNSET,
        *,
        id: str | None = None,
    ) -> Handle[Any]:
        """A new run that shares a run's history up to a step (and its iteration, from 0), and goes on from there.

        ``input`` is what the step receives instead.

        Raises:
            RunNotFound, RequestError: there is no such run, or it never came there.
        """
        _, fact = await self.forked(run_id, step, iteration, input)
        fork_id = checked_run_id(id) if id else new_run_id()
        await starting.append_start(self.outside, fork_id, fact, idempotent=False, named=bool(id))
        return Handle(self, fork_id, started=True)

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
                    raise not_found(run_id)
                known = True
            if heard.is_set():  # it travels live before it can be read, and may even be refused
                await asyncio.sleep(pause)
                pause = min(pause * 2, _PAUSE_MAX_S)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(heard.wait(), self.recheck_s)

    async def _exists(self, run_id: str) -> bool:
        return await archive.exists(self.outside, run_id)

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
            RunFailed, RunCancelled: it ended otherwise; ``BudgetExceeded``, a kind of the first, can be helped.
            ResultTimeout: it had not ended in time.
            RunNotFound: there is no such run.
        """
        mark = await self._client.wait_closed(self.run_id, timeout, started=self._started)
        while mark.status == CONTINUED:
            mark = await self._client.wait_closed(mark.successor, timeout, started=True)
        return self._read(await _output_of(self._client, self.run_id, mark))

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
        return self._read(await _output_of(self._client, self.run_id, mark))

    async def status(self) -> views.RunView:
        """The run as it is now: its steps, attempts and errors, and who is running what.

        Raises:
            RunNotFound.
        """
        client = self._client
        now_ms = client.clock.wall_ms()
        return await reading.status(client.outside, client.registry, self.run_id, now_ms)

    async def explain(self) -> list[Reason]:
        """Why each open step of the run is not done yet: see ``Client.explain``."""
        return await self._client.explain(self.run_id)

    async def history(self) -> list[views.EventView]:
        """Everything that happened to the run, in order.

        Raises:
            RunNotFound.
        """
        return await reading.history(self._client.outside, self.run_id)

    async def cancel(self, reason: str = "") -> bool:
        """Ask for the run to be cancelled; False when it had ended already."""
        return await self._client.cancel(self.run_id, reason)

    async def signal(self, name: str, payload: Any = None) -> None:
        """Send the run data; see ``Client.signal``."""
        await self._client.signal(self.run_id, name, payload)

    async def approve(
        self, step: str, *, comment: str = "", answer: Any = UNSET, by: str = ""
    ) -> Decided:
        """Say yes to a question of the run; see ``Client.approve``."""
        return await self._client.approve(self.run_id, step, comment=comment, answer=answer, by=by)

    async def reject(self, step: str, *, comment: str = "", by: str = "") -> Decided:
        """Say no to a question of the run."""
        return await self._client.reject(self.run_id, step, comment=comment, by=by)

    async def retry(self, reason: str = "") -> None:
        """Open the run again, at the step that failed; see ``Client.retry``."""
        await self._client.retry(self.run_id, reason)

    async def raise_budget(self, **more: Any) -> None:
        """Give the run more to use; see ``Client.raise_budget``."""
        await self._client.raise_budget(self.run_id, **more)

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


async def _output_of(client: Client, run_id: str, mark: ClosedMark) -> Raw:
    if mark.status != COMPLETED:
        raise ended_badly(run_id, mark)
    return await payloads.restore(client.outside.blobs, mark.output or convert.NULL)
