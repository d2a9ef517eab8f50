"""Schedulers and workers as processes of their own: started by the command line, ended by signals.

    async with fleet(broker, tmp_path, app="tests.faults.tasks") as f:
        victim = await f.add_worker()
        victim.kill()

Every process writes into a log file of its own. Whatever still lives at the end is killed, by pid.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.broker import Broker
from tests.support.cluster import Cluster
from tests.support.deployment import eventually
from tests.support.stalling import Stalling

_ROOT = Path(__file__).resolve().parents[2]


class Program:
    """``python -m dagnats …`` as a process, with its log."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self.arguments = arguments
        self.log = log
        self.stopped = False
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dagnats", *arguments], env=environment, cwd=_ROOT,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.pid = self._process.pid

    def __repr__(self) -> str:
        return f"{self.arguments[0]} {self.pid}"

    @property
    def alive(self) -> bool:
        """Whether it has not ended (a paused process lives)."""
        return self._process.poll() is None

    @property
    def text(self) -> str:
        """What it has said."""
        return self.log.read_text(errors="replace")

    @property
    def name(self) -> str:
        """What it calls itself, from its ready line: ``scheduler <name> ready: …``."""
        line = next(line for line in self.text.splitlines() if " ready: " in line)
        return line.split(" ready: ")[0].split()[-1]

    async def ready(self, within: float = 30) -> Program:
        """Wait for its ready line."""
        await eventually(lambda: " ready: " in self.text or not self.alive, within)
        assert self.alive, f"{self} ended:\n{self.text}"
        return self

    def pause(self) -> None:
        """SIGSTOP."""
        self.stopped = True
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self.stopped = False
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Any signal."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    async def ended(self, within: float = 40) -> int:
        """Wait for its end; the code it ended with."""
        await eventually(lambda: not self.alive, within)
        return self._process.wait()


class Fleet:
    """The processes of a deployment."""

    def __init__(
        self,
        broker: Broker | Cluster | Stalling,
        directory: Path,
        app: str,
        environment: dict[str, str],
        concurrency: int = 4,
    ) -> None:
        self.broker = broker
        self.schedulers: list[Program] = []
        self.workers: list[Program] = []
        self.everybody: list[Program] = []
        self._directory = directory
        self._app = app
        self._concurrency = str(concurrency)
        self._environment = {
            **os.environ, "DAGNATS_URL": broker.url, "PYTHONUNBUFFERED": "1", **environment,
        }  # fmt: skip

    def _start(self, *arguments: str) -> Program:
        log = self._directory / f"{arguments[0]}-{len(self.everybody)}.log"
        made = Program(list(arguments), self._environment, log)
        self.everybody.append(made)
        return made

    def start_scheduler(self) -> Program:
        """One more scheduler, not waited for."""
        made = self._start("scheduler")
        self.schedulers.append(made)
        return made

    def start_worker(self, *options: str) -> Program:
        """One more worker, not waited for; one with options of its own is not counted among the others."""
        made = self._start(
            "worker", self._app, "--lease", "2s", "--concurrency", self._concurrency, *options
        )
        if not options:
            self.workers.append(made)
        return made

    async def add_scheduler(self) -> Program:
        """One more scheduler, at work."""
        return await self.start_scheduler().ready()

    async def add_worker(self) -> Program:
        """One more worker, at work."""
        return await self.start_worker().ready()

    def gone(self, program: Program) -> None:
        """Count it no longer among those that work."""
        for living in (self.schedulers, self.workers):
            if program in living:
                living.remove(program)

    def close(self) -> None:
        """Kill what still lives."""
        for program in self.everybody:
            if program.alive:
                program.kill()

    def logs(self) -> str:
        """The ends of all logs, for a test that failed."""
        return "\n".join(f"--- {p.log.name}\n{p.text[-2_000:]}" for p in self.everybody)


@asynccontextmanager
async def fleet(
    broker: Broker | Cluster,
    directory: Path,
    *,
    app: str,
    schedulers: int = 1,
    workers: int = 1,
    concurrency: int = 4,
    **environment: str,
) -> AsyncIterator[Fleet]:
    """A fleet at work; its logs are printed when the test fails."""
    made = Fleet(broker, directory, app, environment, concurrency)
    try:
        started = [made.start_scheduler() for _ in range(schedulers)]
        started += [made.start_worker() for _ in range(workers)]
        for program in started:
            await program.ready()
        yield made
    except BaseException:
        print(made.logs())
        raise
    finally:
        made.close()


async def seconds_until(condition, within: float = 30) -> float:
    """How long it takes until a condition holds."""
    began = time.monotonic()
    await eventually(condition, within)
    return time.monotonic() - began


async def pause(seconds: float) -> None:
    """Let time pass: for moments of faults, never for waiting until something is done."""
    await asyncio.sleep(seconds)
