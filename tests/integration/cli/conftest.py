"""A server with a scheduler and a worker, each a process of its own, and the command line to ask them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.broker import Broker

ROOT = Path(__file__).parents[3]
TASKS = Path(__file__).with_name("tasks.py")


class Said(NamedTuple):
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """Standard error, when it is one line."""
        [line] = self.err.strip().splitlines()
        return line


Command = Callable[..., Said]


def environment(url: str) -> dict[str, str]:
    """The environment of a command that asks this server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DAGNATS_")}
    return {**kept, "DAGNATS_URL": url, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}


def command(url: str, directory: Path) -> Command:
    """The ``dagnats`` command as a process of its own."""

    def call(*arguments: str, given: str | bytes = b"", **variables: str) -> Said:
        ended = subprocess.run(
            [sys.executable, "-m", "dagnats", *arguments],
            check=False,
            cwd=directory,
            env={**environment(url), **variables},
            input=given.encode() if isinstance(given, str) else given,
            capture_output=True,
            timeout=60,
        )
        return Said(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    return call


@pytest.fixture(scope="session")
def site() -> Iterator[Broker]:
    """A broker with a scheduler and a worker of ``tasks.py``; the tests only ask."""
    broker = Broker().start()
    processes: list[subprocess.Popen[str]] = []
    try:
        for arguments in (["scheduler"], ["worker", str(TASKS)]):
            process = subprocess.Popen(
                [sys.executable, "-m", "dagnats", *arguments],
                env=environment(broker.url),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
            processes.append(process)
            assert process.stdout is not None
            assert "ready" in process.stdout.readline(), f"dagnats {arguments[0]} did not get ready"
        yield broker
    finally:
        for process in processes:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        broker.remove()


@pytest.fixture
def cli(site: Broker, tmp_path: Path) -> Command:
    """The command line, asking the site, in a folder of the test's own."""
    return command(site.url, tmp_path)


@pytest.fixture
def offline(tmp_path: Path) -> Command:
    """The command line where no server answers."""
    return command("nats://127.0.0.1:1", tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    """Write a workflow file (a mapping, or text as it is); returns its name."""

    def write(content: Any, name: str = "flow.json") -> str:
        text = content if isinstance(content, str) else json.dumps(content, indent=1)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return name

    return write
