"""What the long-running commands share: options, the log, signals, waiting for a server, child processes."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from dagnats.cli.logs import setup_log
from dagnats.cli.output import emit_json, json_option
from dagnats.client import Client
from dagnats.core.durations import parse_ms
from dagnats.declared import keep_declared
from dagnats.errors import DefinitionError
from dagnats.jetstream.connect import patiently
from dagnats.jetstream.outside import JetStream
from dagnats.settings import Settings, load_settings, load_sourced

log = logging.getLogger("dagnats.process")

F = TypeVar("F", bound=Callable[..., Any])

PARENT: Final = "DAGNATS_PARENT_PID"
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_SET_PARENT_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG, prctl(2)
WAITING: Final = "waiting for the NATS server"
_RESTART_PAUSES_S: Final = (0.2, 1.0, 3.0, 10.0)
_SAID_WHY: Final = (1, 2)  # how a command ends that cannot begin: a wrong module, a wrong setting
_START_S: Final = 5.0
_STEADY_S: Final = 30.0  # a child that lived so long starts again without a pause
_ORPHAN_LOOK_S: Final = 1.0


def log_options(function: F) -> F:
    """Add ``--log-level`` and ``--log-json``."""
    levels = click.Choice(["debug", "info", "warning", "error"], case_sensitive=False)
    function = click.option("--log-json", is_flag=True, default=None, help="Log JSON lines.")(
        function
    )
    return click.option("--log-level", type=levels, help="What to log (default: info).")(function)


def declared_option(function: F) -> F:
    """Add ``--config``; the command gets it as ``config``."""
    text = "Workflows, triggers and policy (default: dagnats.yaml or dagnats.toml here)."
    return click.option("--config", type=click.Path(dir_okay=False), help=text)(function)


def declared_file(config: str | None) -> Path:
    """The file that was named, or this directory, for the one of it that declares something.

    Raises:
        DefinitionError: the one that was named is not there.
    """
    if config is None:
        return Path.cwd()
    if not Path(config).is_file():
        raise DefinitionError(f"--config: no file {config} in {Path.cwd()}")
    return Path(config).resolve()


@asynccontextmanager
async def declaring(outside: JetStream, path: Path) -> AsyncIterator[None]:
    """While this lasts, have the deployment be as a file says, or the file of a directory once there is one."""
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(keep_declared(Client(outside), path))
        try:
            yield
        finally:
            keeping.cancel()


def wait_option(function: F) -> F:
    """Add ``--no-wait``."""
    text = "Fail at once when no NATS server answers, instead of waiting for one."
    return click.option("--no-wait", is_flag=True, help=text)(function)


def begin(**arguments: Any) -> Settings:
    """The settings in force, with the log set up by them.

    Raises:
        DefinitionError: a setting is wrong.
    """
    settings = load_settings(**arguments)
    setup_log(settings.log_level, as_json=settings.log_json)
    return settings


def duration_setting_ms(name: str, text: str, least_ms: int = 0) -> int:
    """Milliseconds of a setting that is a duration.

    Raises:
        DefinitionError: it is none, or shorter than it may be.
    """
    try:
        ms = parse_ms(text)
    except ValueError as error:
        raise DefinitionError(f"{name}: {error}") from None
    if ms < least_ms:
        raise DefinitionError(f"{name} is {text}; it must be at least {least_ms} ms")
    return ms


def ready_line(text: str, settings: Settings, told: Any = None) -> None:
    """Say that a process works now: on stdout, in the log when that is for programs.

    ``told`` is what ``--json`` prints instead, always on stdout.
    """
    if told is not None:
        emit_json(told)
    elif settings.log_json:
        log.info("%s", text)
    else:
        click.echo(text)


# -- the server ------------------------------------------------------------------------------------


async def open_outside(settings: Settings, name: str) -> JetStream:
    """Connect, and make the streams that are missing.

    Raises:
        BrokerUnavailable: nobody answers.
        BrokerUnsuitable: the server cannot hold DagNats.
    """
    partitions = load_sourced()["partitions"]
    wanted = settings.partitions if partitions.source != "default" else None
    return await JetStream.open(
        settings.url,
        name=name,
        partitions=wanted,
        replicas=settings.replicas,
        access=settings.access,
    )


# -- signals ---------------------------------------------------------------------------------------


class Stopping:
    """What SIGTERM and SIGINT do: at first end the waiting, later what the process sets.

    ``signals`` counts them, and ``came`` is called, at once, by the signal handler: the event loop may be blocked.
    """

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        self.asked = asyncio.Event()
        self.signals = 0
        self.came: Callable[[], object] = lambda: None

    def __call__(self) -> None:
        """A signal came."""
        self.asked.set()
        self.act()


@contextmanager
def stop_signals(act: Callable[[], object] | None = None) -> Iterator[Stopping]:
    """Take both signals; without an act they cancel the task that is running now."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    stopping = Stopping(act or (task.cancel if task else lambda: None))

    def handle(_number: int, _frame: object) -> None:
        stopping.signals += 1
        stopping.came()
        loop.call_soon_threadsafe(stopping)

    before = [(number, signal.signal(number, handle)) for number in _SIGNALS]
    try:
        yield stopping
    finally:
        for number, handler in before:
            signal.signal(number, handler)


async def until_stopped(
    serve: Callable[[Stopping], Awaitable[None]], *, wait: bool = False
) -> None:
    """Run a process until it ends or a signal ends it; being stopped while it waits is no error.

    With ``wait`` it is begun again while it cannot begin because no server answers.
    """
    with stop_signals() as stopping:
        end_waiting = stopping.act

        async def begin_serving() -> None:
            if stopping.asked.is_set():
                raise asyncio.CancelledError
            stopping.act = end_waiting
            await serve(stopping)

        try:
            await (patiently(begin_serving, WAITING) if wait else begin_serving())
        except asyncio.CancelledError:
            if not stopping.asked.is_set():
                raise


# -- children --------------------------------------------------------------------------------------


def die_with_parent(by: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel (Linux) for a signal when the parent dies; elsewhere whoever calls has to watch it."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, by)


async def watch_parent() -> None:
    """End this process when the one that started it is gone; for a process with a parent of ours."""
    parent = os.environ.get(PARENT, "")
    if not parent.isdigit():
        return
    die_with_parent()
    while os.getppid() == int(parent):  # noqa: ASYNC110 - nothing tells a process of this
        await asyncio.sleep(_ORPHAN_LOOK_S)
    log.warning("the process that started this one (pid %s) is gone; stopping", parent)
    os.kill(os.getpid(), signal.SIGTERM)


def child_command(arguments: Sequence[str]) -> list[str]:
    """``dagnats`` with these arguments, by the interpreter that runs us."""
    return [sys.executable, "-m", "dagnats", *arguments]


def child_environment() -> dict[str, str]:
    """The environment of a child: ours, and who its parent is."""
    return {**os.environ, PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"}


class Family:
    """Several children, one for each list of arguments: each is replaced when it dies, until ``stop``."""

    def __init__(self, each: Sequence[Sequence[str]]) -> None:
        self._commands = [child_command(arguments) for arguments in each]
        self._stopping = asyncio.Event()
        self._children: dict[int, asyncio.subprocess.Process] = {}

    def stop(self) -> None:
        """Pass SIGTERM on; each call, so that a second one ends handlers at once."""
        self._stopping.set()
        for child in list(self._children.values()):
            with suppress(ProcessLookupError):
                child.terminate()

    async def run(self) -> int:
        """Keep the children running until ``stop``; 1 when none of them ever got to work."""
        async with asyncio.TaskGroup() as group:
            codes = [group.create_task(self._keep(number)) for number in range(len(self._commands))]
        return max((code.result() for code in codes), default=0)

    async def _keep(self, number: int) -> int:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            child = await asyncio.create_subprocess_exec(
                *self._commands[number], env=child_environment(), stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # the terminal's Ctrl-C is passed on by us, once
            )  # fmt: skip
            self._children[number] = child
            if self._stopping.is_set():
                child.terminate()
            code = await child.wait()
            del self._children[number]
            if self._stopping.is_set():
                return 0
            lived = loop.time() - began
            if code in _SAID_WHY and lived < _START_S:  # it would say it again
                self.stop()
                return code
            failures = 0 if lived > _STEADY_S else failures + 1
            pause = _RESTART_PAUSES_S[min(failures, len(_RESTART_PAUSES_S) - 1)]
            log.warning("process %d of %d %s; starting it again in %g s", number + 1, len(self._commands),
                        how_it_ended(child.pid, code), pause)  # fmt: skip
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            if self._stopping.is_set():
                return 0


def how_it_ended(pid: int, code: int) -> str:
    """``(pid 4711) was killed by SIGKILL``."""
    if code < 0:
        return f"(pid {pid}) was killed by {signal.Signals(-code).name}"
    return f"(pid {pid}) ended with code {code}"


def option_arguments(**options: Any) -> list[str]:
    """Options as arguments again: ``None`` and ``False`` are left out, tuples repeat."""
    found: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, tuple):
            found += [part for item in value for part in (flag, str(item))]
        elif value is True:
            found.append(flag)
        elif value not in (None, False):
            found += [flag, str(value)]
    return found


def process_command(function: F) -> F:
    """The options every process takes."""
    added = (log_options, wait_option, json_option)
    return functools.reduce(lambda made, add: add(made), added, function)
