"""One process of isolated handlers, as its worker sees it: started, told things, killed, and how it ended."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

import msgspec

from dagnats.errors import CodecError
from dagnats.limits import ISOLATED_START_MS
from dagnats.worker import frames
from dagnats.worker.lease import is_users

LOOK: Final = signal.SIGUSR2  # has the process write down where it is
_LOOK_S: Final = 0.2
_REST_S: Final = 0.5  # for what a process has said before its end
_TRACE_MAX: Final = 4_000
_FRAME: Final = re.compile(r'^  File "(.+)", line (\d+) in (.+)$', re.MULTILINE)


class Process:
    """One process, and what it says; ``ran`` counts its tickets."""

    def __init__(self, child: asyncio.subprocess.Process, trace: IO[bytes]) -> None:
        self.pid = child.pid
        self.ran = 0
        self.killed_for = ""
        self._child = child
        self._trace = trace
        self._said: asyncio.Queue[frames.ToWorker | None] = asyncio.Queue()
        self._writer: asyncio.StreamWriter | None = None
        self._living: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, command: Sequence[str], environment: dict[str, str]) -> Process:
        """A process that has loaded the module.

        Raises:
            ChildProcessError: it did not; with why.
        """
        ours, theirs = socket.socketpair()
        trace = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        passed = (theirs.fileno(), trace.fileno())
        try:
            child = await asyncio.create_subprocess_exec(
                *command, *map(str, passed), pass_fds=passed, env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # killed with what its handler has started
            )  # fmt: skip
        except BaseException:
            ours.close()
            trace.close()
            raise
        finally:
            theirs.close()
        made = cls(child, trace)
        try:
            reader, made._writer = await asyncio.open_unix_connection(sock=ours)
            made._living = asyncio.get_running_loop().create_task(made._live(reader))
            async with asyncio.timeout(ISOLATED_START_MS / 1000):
                first = await made.next()
        except BaseException:
            made.kill()
            raise
        if isinstance(first, frames.Ready) and not first.problem:
            return made
        made.kill()
        why = first.problem if isinstance(first, frames.Ready) else made.ending()
        raise ChildProcessError(f"a process for isolated handlers could not start: {why}")

    @property
    def alive(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return self._living is not None and not self._living.done()

    async def _live(self, reader: asyncio.StreamReader) -> None:
        """Hear what it says, until it ends."""
        reading = asyncio.get_running_loop().create_task(self._read(reader))
        try:
            await self._child.wait()
            await asyncio.wait({reading}, timeout=_REST_S)  # what it has forked may keep the socket
        finally:
            reading.cancel()
            self.kill()
            self._said.put_nowait(None)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                header = await reader.readexactly(frames.HEADER.size)
                body = await reader.readexactly(frames.length_of(header))
                self._said.put_nowait(frames.to_worker.decode(body))
        except (asyncio.IncompleteReadError, OSError):
            pass
        except (CodecError, msgspec.DecodeError) as error:
            self.killed_for = f"it wrote what cannot be read: {error}"
        self.kill()  # one that has closed its socket can do nothing any more

    async def next(self) -> frames.ToWorker | None:
        """What it says next; None when it has ended."""
        return await self._said.get()

    def send(self, frame: frames.ToProcess) -> None:
        """Tell it something; nothing when it is gone."""
        if self._writer is not None:
            self._writer.write(frames.framed(frame))

    def kill_deaf(self, reason: str) -> None:
        """Kill one that does not stop, after it has written down where it is."""
        self.killed_for = f"it was told to stop ({reason}) and did not"
        with suppress(ProcessLookupError):
            os.kill(self.pid, LOOK)
        asyncio.get_running_loop().call_later(_LOOK_S, self.kill)

    def kill(self) -> None:
        """Kill it, with what it has started; again is fine."""
        if self._writer is not None:
            self._writer.close()
        if self._child.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def retire(self) -> None:
        """Let an idle one end in good order."""
        if self._writer is not None:
            self._writer.close()

    def ending(self) -> str:
        """How it ended, and in which line of the user's code if that is known."""
        trace = self.trace()
        places = [frame for frame in _FRAME.findall(trace) if is_users(frame[0])]
        place = ""
        if places:
            file, line, name = places[0]
            place = f" in {name} ({Path(file).name}:{line})"
        code = self._child.returncode
        if self.killed_for:
            return f"killed{place}: {self.killed_for}"
        if code is None:
            return f"ended{place}"
        if code >= 0:
            return f"ended with exit code {code}{place}"
        name = _signal_name(-code)
        why = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"was killed by {name}{place}{why}"

    def trace(self) -> str:
        """The lines that it was in when it ended, if it could write them down."""
        if self._trace.closed:
            return ""
        self._trace.seek(0)
        return self._trace.read(_TRACE_MAX).decode(errors="replace").strip()

    def forget(self) -> None:
        """Close what belongs to it."""
        self._trace.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
