"""Keeping a worker on the newest code: a new one takes over when it is ready, so a typing mistake stops nothing."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import click
import watchfiles

from dagnats.cli.processes import child_command, child_environment, how_it_ended

log = logging.getLogger("dagnats.dev")

# The worker's ready line, as it is and in a line of --log-json.
_READY: Final = re.compile(r'(?:\{.*"message": ")?worker \S+ ready: ')
_DEBOUNCE_MS: Final = 150
_STEP_MS: Final = 50


class Child:
    """One worker process, its lines shown as they come."""

    def __init__(self, process: asyncio.subprocess.Process, *, to_stderr: bool = False) -> None:
        self.process = process
        self._to_stderr = to_stderr
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()

    @classmethod
    async def start(cls, arguments: Sequence[str], *, to_stderr: bool = False) -> Child:
        """Start ``dagnats worker``."""
        process = await asyncio.create_subprocess_exec(
            *child_command(["worker", *arguments]), env=child_environment(),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        return cls(process, to_stderr=to_stderr)

    async def show(self) -> None:
        """Print what it says until it has ended."""
        try:
            async for line in _lines(self.process.stdout):
                text = line.decode(errors="replace").rstrip("\n")
                if _READY.match(text):
                    self.ready.set()
                click.echo(f"{click.style('worker │', fg='cyan')} {text}", err=self._to_stderr)
            await self.process.wait()
        finally:
            self.ended.set()

    async def is_ready(self, outdated: asyncio.Event) -> bool:
        """Wait until it works; False when it ended or was ``outdated`` before it did."""
        waits = [
            asyncio.ensure_future(event.wait()) for event in (self.ready, self.ended, outdated)
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return self.ready.is_set() and not self.ended.is_set()

    def stop(self) -> None:
        """Ask it to end; again: at once."""
        with suppress(ProcessLookupError):
            self.process.terminate()


class Reloader:
    """Runs one worker; after each change a new one, which replaces it once it is ready."""

    def __init__(self, arguments: Sequence[str], folder: Path, *, to_stderr: bool = False) -> None:
        self._arguments = list(arguments)
        self._to_stderr = to_stderr
        self._folder = folder
        self._children: set[Child] = set()
        self._current: Child | None = None
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._changed = ""

    def stop(self) -> None:
        """End every worker, and ``run`` with them; each call is passed on."""
        self._stopping.set()
        self._wake.set()
        for child in self._children:
            child.stop()

    async def run(self, said: Callable[[], None]) -> None:
        """Work until ``stop``; ``said`` is called when the first worker is ready."""
        told = False
        self._wake.set()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            try:
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    if self._stopping.is_set():
                        break
                    if self._changed:
                        log.info("%s; starting the worker again", self._changed)
                    if await self._replace(group) and not told:
                        told = True
                        said()
            finally:
                watching.cancel()
                for child in self._children:
                    child.stop()

    async def _watch(self) -> None:
        async for changes in watchfiles.awatch(
            self._folder, watch_filter=watchfiles.PythonFilter(), debounce=_DEBOUNCE_MS,
            step=_STEP_MS, recursive=True,
        ):  # fmt: skip
            names = sorted({Path(path).name for _, path in changes})
            self._changed = f"{', '.join(names[:3])}{' …' if len(names) > 3 else ''} changed"  # noqa: PLR2004
            self._wake.set()

    async def _replace(self, group: asyncio.TaskGroup) -> bool:
        """Start a worker; when it works, let the one before finish. False when it does not work."""
        child = await Child.start(self._arguments, to_stderr=self._to_stderr)
        self._children.add(child)
        group.create_task(self._follow(child))
        if self._stopping.is_set():
            child.stop()
        if not await child.is_ready(self._wake):
            child.stop()
            if not self._wake.is_set():
                before = "the worker before goes on" if self._current else "no worker is running"
                log.error("the new worker did not start; %s. Save a file to try again", before)
            return False
        before, self._current = self._current, child
        if before:
            before.stop()
        return True

    async def _follow(self, child: Child) -> None:
        await child.show()
        self._children.discard(child)
        if self._current is child and not self._stopping.is_set():
            self._current = None
            how = how_it_ended(child.process.pid, child.process.returncode or 0)
            self._changed = f"the worker {how}"
            self._wake.set()


async def _lines(stream: asyncio.StreamReader | None) -> AsyncIterator[bytes]:
    """Lines; one too long for the buffer comes in pieces."""
    while stream is not None:
        try:
            line = await stream.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            if end.partial:
                yield end.partial
            return
        except asyncio.LimitOverrunError as long:
            line = await stream.readexactly(long.consumed)
        yield line


def watched_folder(target: str) -> Path:
    """The folder of the module that the command line names.

    ``tasks.py`` → its folder; ``shop.tasks`` → ``shop``; what is installed elsewhere: this folder.
    """
    path = target.partition(":")[0]
    if path.endswith(".py") or "/" in path:
        return Path(path).resolve() if Path(path).is_dir() else Path(path).resolve().parent
    package = Path.cwd() / path.split(".")[0]
    return package if package.is_dir() else Path.cwd()
