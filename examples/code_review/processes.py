"""The demo's cast: a server and workers as child processes, over a directory that disappears."""

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[2]
READY_LIMIT_S = 20.0
STOP_LIMIT_S = 8.0
LOG_LOOK_S = 0.02
#: How long a frozen process is given to have really stopped.
FREEZE_S = 0.1
#: A dead worker's work is handed on after this; short, because people are watching.
LEASE = "3s"


class ChildError(Exception):
    """A child process did not do its part; the message ends with what it last said."""


class Child:
    """A ``dagnats`` process of ours, in a group of its own so that all of it can be ended."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log = log
        self._dismissed = False

    @classmethod
    async def start(
        cls, name: str, arguments: list[str], environment: Mapping[str, str], log: Path
    ) -> "Child":
        """Start ``dagnats`` with these arguments; what it prints goes into the log file."""
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "dagnats", *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, **environment},
                cwd=REPOSITORY,
                start_new_session=True,
            )
        return cls(name, process, log)

    async def printed(self, pattern: str) -> str:
        """Wait until the process has printed something, and return it.

        Raises:
            ChildError: When it ends instead, or takes too long.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_LIMIT_S):
                while self._process.returncode is None:
                    if found := re.search(pattern, self._log.read_text(errors="replace")):
                        return found[0]
                    await asyncio.sleep(LOG_LOOK_S)
        raise self.error("did not become ready")

    async def died(self) -> ChildError | None:
        """Wait for the end of the process; None when we ended it ourselves."""
        code = await self._process.wait()
        return None if self._dismissed else self.error(f"ended with code {code}")

    def error(self, what: str) -> ChildError:
        """What went wrong, with the last lines of the log."""
        tail = self._log.read_text(errors="replace").splitlines()[-12:]
        return ChildError("\n".join([f"The {self.name} (pid {self.pid}) {what}. It said:", *tail]))

    async def freeze(self) -> None:
        """Stop the process where it is, so that one can look at what it was doing."""
        self._signal(signal.SIGSTOP)
        await asyncio.sleep(FREEZE_S)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """SIGKILL: no farewell, no cleaning up."""
        self._dismissed = True
        self._signal(signal.SIGKILL)
        await self._process.wait()

    async def stop(self) -> None:
        """End the process politely, then by force; in the end none of its group is left."""
        self._dismissed = True
        self._signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_LIMIT_S):
                await self._process.wait()
        self._signal(signal.SIGKILL)
        await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class Stage:
    """A server with a temporary data directory, and one worker at a time."""

    def __init__(self, worker_environment: Mapping[str, str]) -> None:
        self.url = ""
        self._environment = dict(worker_environment)
        self._stack = AsyncExitStack()
        self._workers_started = 0
        self._deaths: asyncio.Queue[ChildError] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        """Start the server and the first worker."""
        try:
            self._home = Path(
                self._stack.enter_context(tempfile.TemporaryDirectory(prefix="dagnats-demo-"))
            )
            self.server = await self._start(
                "server", ["serve", "--json", *self._server_options()], {}
            )
            self.url = json.loads(await self.server.printed(r'"nats://[^"]+"'))
            self.worker = await self.start_worker()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End everything that was started, and remove the data."""
        await self._stack.aclose()

    async def start_worker(self) -> Child:
        """Start a worker; it becomes the one on stage."""
        self._workers_started += 1
        environment = {"DAGNATS_URL": self.url, "DAGNATS_LEASE": LEASE, **self._environment}
        name = f"worker-{self._workers_started}"
        self.worker = await self._start(
            name, ["worker", "examples.code_review.review"], environment
        )
        return self.worker

    async def broken(self) -> None:
        """Wait for a child that ends without being told to, and raise what it said."""
        raise await self._deaths.get()

    def _server_options(self) -> list[str]:
        return ["--data-dir", str(self._home / "data"), "--nats-port", "0", "--http", "127.0.0.1:0"]

    async def _start(
        self, name: str, arguments: list[str], environment: Mapping[str, str]
    ) -> Child:
        child = await Child.start(name, arguments, environment, self._home / f"{name}.log")
        watcher = asyncio.create_task(self._watch(child))
        self._stack.callback(watcher.cancel)
        self._stack.push_async_callback(child.stop)
        return child

    async def _watch(self, child: Child) -> None:
        death = await child.died()
        if death is not None:
            self._deaths.put_nowait(death)
