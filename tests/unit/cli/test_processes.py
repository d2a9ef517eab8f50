"""The pure parts of the long-running commands: options, settings, exit codes, what a worker serves."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dagnats import App
from dagnats.cli import main, processes, reload, skeleton, worker
from dagnats.errors import (
    BrokerUnavailable,
    DefinitionError,
    InvalidInput,
    RunAlreadyStarted,
    RunNotFound,
    UnknownTask,
)


@pytest.fixture
def app() -> App:
    """Two tasks, one of them in a group."""
    made = App("made")

    @made.task
    def plain() -> int:
        return 1

    @made.task(group="gpu")
    def train() -> int:
        return 2

    return made


def test_refusals_end_with_two():
    """What is refused as it was asked is 2; everything else is 1."""
    assert main.exit_code(RunAlreadyStarted()) == main.exit_code(InvalidInput()) == 2
    assert main.exit_code(RunNotFound()) == main.exit_code(BrokerUnavailable()) == 1


def test_every_command_of_the_tour_exists():
    """Each entry of the table can be imported, and is named as in the table."""
    for section in main.SECTIONS.values():
        for name in section:
            command = main.main.get_command(None, name)  # type: ignore[arg-type]
            assert command is not None
            assert command.name == name


def test_options_become_arguments_again():
    """A child gets what its parent was given, and nothing else."""
    found = processes.option_arguments(
        task=("a", "b"), lease="3s", url=None, all_groups=True, no_wait=False, processes=1
    )

    assert found == [
        "--task",
        "a",
        "--task",
        "b",
        "--lease",
        "3s",
        "--all-groups",
        "--processes",
        "1",
    ]


def test_durations_need_a_unit_and_a_least():
    """Both mistakes name the setting."""
    assert processes.duration_setting_ms("lease", "2s", 1_000) == 2_000
    with pytest.raises(DefinitionError, match=r'lease: .*write "2s"'):
        processes.duration_setting_ms("lease", "2")
    with pytest.raises(DefinitionError, match="lease is 10ms; it must be at least 1000 ms"):
        processes.duration_setting_ms("lease", "10ms", 1_000)


def test_how_a_process_ended_is_told_in_words():
    """A signal by its name, a code by its number."""
    assert processes.how_it_ended(7, -9) == "(pid 7) was killed by SIGKILL"
    assert processes.how_it_ended(7, 3) == "(pid 7) ended with code 3"


def test_a_worker_serves_its_group(app):
    """Tasks without a group go with every group, others with their own; None is all."""
    assert set(worker.served(app, (), "")) == {"plain"}
    assert set(worker.served(app, (), "gpu")) == {"plain", "train"}
    assert set(worker.served(app, (), "cpu")) == {"plain"}
    assert set(worker.served(app, (), None)) == {"plain", "train"}
    assert set(worker.served(app, ("train",), "gpu")) == {"train"}
    with pytest.raises(UnknownTask, match="no task trane; it has: plain, train"):
        worker.served(app, ("trane",), None)


async def test_a_returned_server_is_asked_for_its_suspects():
    """After a reconnect the queue's last sequence is asked for, again if need be, and told the worker."""
    told: asyncio.Queue[int] = asyncio.Queue()
    answers = [BrokerUnavailable(), 41, 42]

    async def last_seq() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    outside = SimpleNamespace(queue=SimpleNamespace(last_seq=last_seq))
    back = asyncio.Event()
    watching = asyncio.ensure_future(
        worker._learn_suspects(SimpleNamespace(suspect=told.put_nowait), outside, back)
    )
    await asyncio.sleep(0)
    assert told.empty()

    back.set()
    assert await asyncio.wait_for(told.get(), 5) == 41
    back.set()
    assert await asyncio.wait_for(told.get(), 5) == 42
    watching.cancel()


def test_the_folder_of_a_module_is_watched(tmp_path, monkeypatch):
    """A file's folder, a package's folder, or where we are."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/tasks.py").touch()
    monkeypatch.chdir(tmp_path)

    assert reload.watched_folder("shop/tasks.py:app") == tmp_path / "shop"
    assert reload.watched_folder("shop.tasks") == tmp_path / "shop"
    assert reload.watched_folder("installed") == Path.cwd()


async def test_lines_too_long_for_the_buffer_come_in_pieces():
    """A handler that prints megabytes without a line break stops nothing."""
    stream = asyncio.StreamReader(limit=8)
    stream.feed_data(b"short\n" + b"x" * 20 + b"\nend")
    stream.feed_eof()

    lines = [line async for line in reload._lines(stream)]

    assert lines[0] == b"short\n"
    assert b"".join(lines) == b"short\n" + b"x" * 20 + b"\nend"


def test_importing_the_command_line_imports_no_command():
    """The tour is shown without asyncio, rich or NATS: that is what keeps it fast."""
    code = (
        "import sys, dagnats.cli.main\n"
        "print([name for name in ('asyncio', 'rich', 'nats', 'msgspec') if name in sys.modules])"
    )
    root = Path(__file__).parents[3]
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )

    assert said.stdout.strip() == "[]"


def test_a_skeleton_names_the_project():
    """The project's name is the app's, and no placeholder is left."""
    files = skeleton.files("shop")

    assert 'App("shop")' in files["tasks.py"]
    assert not any("NAME" in text or "COMMAND" in text for text in files.values())
    compile(files["tasks.py"], "tasks.py", "exec")
