"""Long-running ``dagnats`` commands as processes of a test's own, ended by pid."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.integration.cli.conftest import environment

LIMIT_S = 20.0
_POLL_S = 0.02


def until(condition: Callable[[], Any], what: str, within: float = LIMIT_S) -> Any:
    """Poll a condition until it is true, and return its value."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(_POLL_S)


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has, only its parent has not looked yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Program:
    """One ``dagnats`` process; what it prints goes into files."""

    def __init__(
        self, arguments: tuple[str, ...], folder: Path, url: str, more: Mapping[str, str]
    ) -> None:
        self._out = folder / f"out-{time.monotonic_ns()}"
        self._err = self._out.with_name(self._out.name.replace("out", "err"))
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dagnats", *arguments],
                cwd=folder,
                env={**environment(url), **more},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.pid = self.process.pid
        self._seen: set[int] = set()

    @property
    def out(self) -> str:
        """Standard output so far."""
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        """Standard error so far."""
        return self._err.read_text(errors="replace")

    def says(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until it has printed something so often; the last of it."""

        def found() -> re.Match[str] | None:
            matches = list(re.finditer(pattern, f"{self.out}\n{self.err}"))
            if len(matches) < times and self.process.poll() is not None:
                raise AssertionError(
                    f"ended with {self.process.returncode}: {self.out}\n{self.err}"
                )
            return matches[-1] if len(matches) >= times else None

        try:
            return until(found, f"{times} × {pattern!r}")
        except AssertionError as problem:
            raise AssertionError(f"{problem}\nit said: {self.out}\n{self.err}") from None

    def children(self, name: str = "") -> list[int]:
        """The pids of its children, those with a name when one is given."""
        try:
            found = psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        pids: list[int] = []
        for child in found:
            with suppress(psutil.NoSuchProcess):
                if child.status() != psutil.STATUS_ZOMBIE and name in child.name():
                    pids.append(child.pid)
        self._seen.update(pids)
        return pids

    def nats(self) -> int:
        """The pid of its nats-server, once it has one."""
        return until(lambda: self.children("nats-server"), "a nats-server")[0]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        self.process.send_signal(number)

    def ends(self, within: float = LIMIT_S) -> int:
        """Wait for the end; its exit code."""
        return self.process.wait(within)

    def clean_up(self) -> None:
        """Kill it and every child that was seen."""
        self.children()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pid in self._seen:
            if not gone(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


Start = Callable[..., Program]


@contextmanager
def programs(folder: Path) -> Iterator[Start]:
    """Start programs in a folder; all are ended at the end."""
    with ExitStack() as stack:

        def start(*arguments: str, url: str = "nats://127.0.0.1:1", **more: str) -> Program:
            program = Program(arguments, folder, url, more)
            stack.callback(program.clean_up)
            return program

        yield start
