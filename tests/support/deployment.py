"""A whole deployment for tests: schedulers and workers on a broker, each on a connection of its own.

    async with deployment(app) as d:
        handle = await flow.start(1, 2)
        assert await handle.result(10) == 6

``d.kill(d.schedulers[0])`` ends one as SIGKILL would: nothing is said, nothing given up. ``program`` starts
the same as a process of its own, through the command line.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from dagnats import App, Client, DefinitionError
from dagnats.core.definition import read_workflow
from dagnats.core.validate import problems_of
from dagnats.jetstream.lease_link import LeaseKeeperLink
from dagnats.jetstream.outside import JetStream
from dagnats.letters import LetterRow
from dagnats.ports import Append
from dagnats.scheduler.service import Scheduler
from dagnats.wire import subjects
from dagnats.worker.service import Worker
from tests.support.broker import Broker

POLL_S = 0.02


# -- waiting ---------------------------------------------------------------------------------------


async def eventually(condition: Callable[[], Any], within: float = 10.0) -> Any:
    """Poll a condition (plain or async) until it is true; return its value. Fails after ``within`` seconds."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {_source(condition)}")
        await asyncio.sleep(POLL_S)


async def holds_for(seconds: float, condition: Callable[[], Any]) -> None:
    """Check that a condition is true all the time. Prove first that it could become false."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        assert value, f"did not hold for {seconds:g} s: {_source(condition)}"
        await asyncio.sleep(POLL_S)


def _source(condition: Callable[[], Any]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except OSError:
        return repr(condition)


# -- the deployment --------------------------------------------------------------------------------


class Process:
    """A scheduler or a worker that runs in this process, with its own connection."""

    def __init__(self, service: Any, outside: JetStream) -> None:
        self.service = service
        self.outside = outside
        self.ended = False
        self._task = asyncio.ensure_future(service.run())

    async def ready(self) -> None:
        """Wait until it works; raise what it died of."""
        waiting = asyncio.ensure_future(self.service.ready.wait())
        await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        waiting.cancel()
        if self._task.done():
            self.ended = True
            await self.outside.close()
            self._task.result()
        assert self.service.ready.is_set(), "not ready within 10 s"

    async def stop(self) -> None:
        """End in an orderly way; raise what it died of."""
        if self.ended:
            return
        self.ended = True
        try:
            self.service.stop()
            await self._task
        finally:
            await self.outside.close()

    async def kill(self) -> None:
        """End as SIGKILL would (threads of plain handlers cannot be killed: use ``program`` for those)."""
        if self.ended:
            return
        self.ended = True
        self.outside.link._closed = True  # not a byte more leaves
        if isinstance(self.service, Worker):
            for running in self.service.tickets.running.values():
                if running.call._task is not None:
                    running.call._task.cancel()
            for work in self.service._work:
                work.cancel()
        while not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=0.05)
        await self.outside.link.client.close()


class Message(Struct, frozen=True):
    """A stored message of any stream."""

    seq: int
    subject: str
    body: bytes


class Deployment:
    """What ``deployment`` gives: processes to add, stop and kill, and ways to look at the streams."""

    def __init__(self, app: App, broker: Broker, outside: JetStream, partitions: int) -> None:
        self.app = app
        self.broker = broker
        self.outside = outside
        self.client = Client(outside)
        self.schedulers: list[Process] = []
        self.workers: list[Process] = []
        self._partitions = partitions

    async def add_scheduler(self, **options: Any) -> Process:
        """One more scheduler; options are those of ``Scheduler``."""
        outside = await JetStream.open(
            self.broker.url, name="scheduler", partitions=self._partitions
        )
        process = Process(Scheduler(outside, **options), outside)
        self.schedulers.append(process)
        await process.ready()
        return process

    async def add_worker(
        self, app: App | None = None, *, tasks: Any = None, **options: Any
    ) -> Process:
        """One more worker of an app (default: the deployment's); options are those of ``Worker``."""
        outside = await JetStream.open(self.broker.url, name="worker", partitions=self._partitions)
        keeper = LeaseKeeperLink(self.broker.url, name="lease-keeper")
        options = {"concurrency": 20, "drain_ms": 3_000, **options}
        worker = Worker(outside, tasks or (app or self.app).tasks, keeper, **options)
        outside.link.on_disconnect.append(worker.suspect_all)  # as the command line does
        process = Process(worker, outside)
        self.workers.append(process)
        await process.ready()
        return process

    async def register(self, file: dict[str, Any]) -> str:
        """Register a workflow file as every shipped door does: its form and its meaning are checked."""
        workflow, problems = read_workflow(file)
        problems = [*problems, *(problems_of(workflow) if workflow else [])]
        if workflow is None or problems:
            raise DefinitionError("\n".join(map(str, problems)), problems=problems)
        return await self.client.register(workflow)

    # -- looking at storage, and forging it --------------------------------------------------------

    async def state(self, stream: str) -> dict[str, Any]:
        """A stream's state, such as ``messages``, ``bytes`` and ``last_seq``."""
        found = await self.outside.link.api(f"STREAM.INFO.{stream}")
        return found["state"]

    async def consumers(self, stream: str) -> list[dict[str, Any]]:
        """Every consumer of a stream, as the server describes it."""
        found = await self.outside.link.api(f"CONSUMER.LIST.{stream}")
        return found["consumers"] or []

    async def messages(self, stream: str) -> list[Message]:
        """Everything a (small) stream holds."""
        state = await self.state(stream)
        found: list[Message] = []
        for seq in range(state["first_seq"], state["last_seq"] + 1):
            try:
                got = await self.outside.link.api(f"STREAM.MSG.GET.{stream}", {"seq": seq})
            except Exception:
                continue  # removed
            raw = got["message"]
            found.append(Message(seq, raw["subject"], base64.b64decode(raw.get("data", ""))))
        return found

    async def dead(self) -> list[Message]:
        """The dead letters."""
        return await self.messages(subjects.DEAD)

    async def letter(self, run_id: str) -> LetterRow:
        """The one dead letter of a run, once it is there."""

        async def there() -> list[LetterRow]:
            return (await self.client.dead.list(run=run_id)).letters

        [row] = await eventually(there)
        return row

    async def forge(self, run_id: str, author: str, fact: Any, msg_id: str = "") -> None:
        """Write a fact (bytes, or a mapping) about a run, as anybody with a connection could."""
        body = fact if isinstance(fact, bytes) else msgspec.json.encode(fact)
        subject = subjects.fact(self.partition(run_id), run_id, author)
        await self.outside.log.append([Append(subject, body, msg_id)])

    async def dispatch(self, run_id: str, ticket: str) -> dict[str, Any]:
        """The dispatch of a ticket as it was stored, once it is: with its input and its nonce."""

        async def stored() -> dict[str, Any] | None:
            for entry in await self.outside.log.history(run_id):
                body = msgspec.json.decode(entry.payload)
                if entry.subject.startswith("dagnats.task.") and body["ticket"] == ticket:
                    return body
            return None

        return await eventually(stored)

    def partition(self, run_id: str) -> int:
        """The partition a run belongs to."""
        return subjects.partition_of(run_id, self.outside.log.partitions)

    async def close(self) -> None:
        """Stop everything; raise what died of itself."""
        processes = [*self.workers, *self.schedulers]
        ended = await asyncio.gather(
            *(process.stop() for process in processes), return_exceptions=True
        )
        await self.app.close()
        await self.outside.close()
        for error in ended:
            if isinstance(error, BaseException):
                raise error


@asynccontextmanager
async def deployment(
    app: App,
    *,
    schedulers: int = 1,
    workers: int = 1,
    partitions: int = 4,
    broker: Broker | None = None,
    **worker_options: Any,
) -> AsyncIterator[Deployment]:
    """An app at work on a broker of its own, or on the one given.

    ``worker_options`` are those of ``Worker``: ``concurrency``, ``lease_ms``, ``drain_ms``, ``group``.
    """
    own = broker is None
    broker = broker or Broker().start()
    try:
        app.url = broker.url
        outside = await JetStream.open(broker.url, name="test", partitions=partitions)
        made = Deployment(app, broker, outside, partitions)
        try:
            for _ in range(schedulers):
                await made.add_scheduler()
            for _ in range(workers):
                await made.add_worker(**worker_options)
            yield made
        finally:
            await made.close()
    finally:
        if own:
            broker.remove()


# -- processes of their own ------------------------------------------------------------------------


@contextmanager
def program(
    broker: Broker,
    *arguments: str,
    output: Path | None = None,
    directory: Path | None = None,
    **environment: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m dagnats …`` as a process; killed at the end if it still runs. ``output`` takes what it says."""
    command = [sys.executable, "-m", "dagnats", *arguments]
    environ = {**os.environ, "DAGNATS_URL": broker.url, **environment}
    with output.open("wb") if output else nullcontext() as said:
        process = subprocess.Popen(command, env=environ, stdout=said, stderr=said, cwd=directory)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
