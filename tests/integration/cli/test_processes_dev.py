"""``dagnats init``, ``dev`` and ``doctor``: what a newcomer types first."""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.conftest import command
from tests.integration.cli.processes import Program, Start, gone, programs, until
from tests.support.broker import Broker

NOWHERE = "nats://127.0.0.1:1"
APP = """
from dagnats import App

app = App("dev")

@app.task
def answer() -> str:
    return "first"

@app.task(group="gpu")
def train() -> str:
    return "trained"
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ``dagnats`` processes in the test's folder, which has an app in tasks.py."""
    (tmp_path / "tasks.py").write_text(APP)
    with programs(tmp_path) as begin:
        yield begin


def developing(start: Start) -> tuple[Program, str]:
    """``dagnats dev`` that is ready, and its URL."""
    program = start("dev", "tasks.py", "--nats-port", "0")
    program.says("dev ready")
    return program, program.says(r"serve ready: (nats://\S+),")[1]


def test_dev_runs_new_code_after_a_save(start, tmp_path):
    """A saved change is what the next run executes; every group is served."""
    program, url = developing(start)
    cli = command(url, tmp_path)
    before = cli("run", "start", "answer", "--output").out.strip()
    trained = cli("run", "start", "train", "--output").out.strip()

    (tmp_path / "tasks.py").write_text(APP.replace("first", "second"))
    program.says(r"worker \S+ ready", times=2)
    until(lambda: len(program.children("python")) == 1, "the worker before ends")
    after = cli("run", "start", "answer", "--output").out.strip()

    assert (before, trained, after) == ('"first"', '"trained"', '"second"')


def test_dev_survives_code_that_cannot_be_imported(start, tmp_path):
    """A typing mistake is shown, and the worker before goes on; the next save takes over."""
    program, url = developing(start)
    [worker] = program.children("python")

    (tmp_path / "tasks.py").write_text(APP + "x = (")
    program.says("tasks.py cannot be imported: SyntaxError")
    program.says("the worker before goes on")
    meanwhile = command(url, tmp_path)("run", "start", "answer", "--output")
    still = program.children("python")
    (tmp_path / "tasks.py").write_text(APP)
    program.says(r"worker \S+ ready", times=2)

    assert meanwhile.out.strip() == '"first"'
    assert still == [worker]


def test_dev_waits_for_a_first_import(start, tmp_path):
    """Code that is broken from the beginning is told; once it is saved well, all is ready."""
    (tmp_path / "tasks.py").write_text("x = (")
    program = start("dev", "tasks.py", "--nats-port", "0")
    program.says("no worker is running")

    (tmp_path / "tasks.py").write_text(APP)

    program.says("dev ready")


def test_dev_gives_up_code_that_never_gets_ready(start, tmp_path):
    """A module that hangs while it is imported gives way to the next save."""
    (tmp_path / "tasks.py").write_text(
        'import pathlib, time\npathlib.Path("hangs").touch()\ntime.sleep(600)\n'
    )
    program = start("dev", "tasks.py", "--nats-port", "0")
    until((tmp_path / "hangs").exists, "the import hangs")

    (tmp_path / "tasks.py").write_text(APP)

    program.says("dev ready")
    until(lambda: len(program.children("python")) == 1, "the one that hung ends")


def test_dev_leaves_nothing_behind(start, tmp_path):
    """Ctrl-C ends the worker, the scheduler and the server."""
    program, _ = developing(start)
    children = program.children()
    assert len(children) == 2

    program.signal(signal.SIGINT)

    assert program.ends() == 0
    assert all(gone(pid) for pid in children)
    assert not (tmp_path / ".dagnats/lock").exists()


def test_a_new_project_runs_as_printed(start, tmp_path):
    """What ``init`` prints can be typed: the folder, the server with the worker, the run."""
    printed = command(NOWHERE, tmp_path)("init", "shop").out
    typed = [shlex.split(line) for line in printed.splitlines() if line.startswith("  ")]
    changes = [words for words in typed if words[0] == "cd"]
    [dev, run] = [words for words in typed if words[0] == "dagnats"]
    assert changes == [["cd", "shop"], ["cd", "shop"]]

    folder = tmp_path / "shop"
    with programs(folder) as begin:
        # The port is chosen by the system: others may be using the usual one while tests run.
        program = begin(*dev[1:], "--nats-port", "0")
        program.says("dev ready")
        url = program.says(r"serve ready: (nats://\S+),")[1]
        said = command(url, folder)(*run[1:])

    assert dev == ["dagnats", "dev", "tasks.py"]
    assert said.code == 0
    assert "How durable agents recover" in said.out


def test_the_readme_of_a_new_project_says_the_same(tmp_path):
    """The project's README has the commands that ``init`` prints."""
    printed = command(NOWHERE, tmp_path)("init", "shop").out
    readme = (tmp_path / "shop/README.md").read_text()

    commands = re.findall(r"^  (dagnats .*)$", printed, re.MULTILINE)

    assert len(commands) == 2
    assert all(line in readme for line in commands)


def test_init_changes_nothing_that_is_there(tmp_path):
    """An existing directory, and a name that cannot be, are refused with code 2."""
    (tmp_path / "shop").mkdir()
    cli = command(NOWHERE, tmp_path)

    there, wrong = cli("init", "shop"), cli("init", "0shop!")

    assert (there.code, wrong.code) == (2, 2)
    assert "shop exists; nothing was changed" in there.line
    assert "cannot be a project's name" in wrong.line
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]
    assert list((tmp_path / "shop").iterdir()) == []


def test_init_here_is_refused_with_the_cure(tmp_path):
    """``init .`` is a habit from elsewhere."""
    said = command(NOWHERE, tmp_path)("init", ".")

    assert said.code == 2
    assert ". is a folder that exists; give the name of a new one" in said.line


def test_init_tells_programs_what_it_made(tmp_path):
    """``--json`` lists the files, and they are there."""
    said = command(NOWHERE, tmp_path)("init", "shop", "--json")

    assert sorted(said.json["created"]) == sorted(
        str(path.relative_to(tmp_path)) for path in (tmp_path / "shop").iterdir()
    )


def test_dev_as_json_prints_one_object_and_the_rest_on_stderr(start, tmp_path):
    """A program reads where everything is; worker lines do not get in its way."""
    program = start("dev", "tasks.py", "--nats-port", "0", "--json")
    program.says(r'"ready":true.*\}')

    told = json.loads(program.out)
    program.signal(signal.SIGTERM)

    assert program.ends() == 0
    assert told["ready"] is True
    assert told["nats_url"].startswith("nats://127.0.0.1:")
    assert (told["pid"], told["watching"]) == (program.pid, str(tmp_path))
    assert told["data_dir"] == str(tmp_path / ".dagnats")
    assert json.loads(program.out) == told
    assert re.search(r"worker │ worker \S+ ready: 2 tasks", program.err)


def test_dev_with_a_json_log_gets_ready_and_replaces_its_worker(start, tmp_path):
    """The worker's ready line is in its log then, and is known there, too."""
    program = start("dev", "tasks.py", "--nats-port", "0", "--log-json")
    program.says("dev ready")

    (tmp_path / "tasks.py").write_text(APP.replace("first", "second"))
    program.says(r"worker \S+ ready", times=2)

    until(lambda: len(program.children("python")) == 1, "the worker before ends")


def test_doctor_without_a_server(tmp_path):
    """The machine is looked at, the server is the fault, and its cure is there."""
    said = command(NOWHERE, tmp_path)("doctor", "--json")

    checks = {check["check"]: check for check in said.json["checks"]}
    assert said.code == 1
    assert said.json["healthy"] is False
    assert checks["python"]["state"] == checks["nats-server"]["state"] == "ok"
    assert checks["server"]["state"] == "error"
    assert "dagnats serve" in checks["server"]["cure"]


def test_doctor_of_a_server_without_streams(tmp_path, broker: Broker):
    """A bare NATS server is told apart from none."""
    said = command(broker.url, tmp_path)("doctor")

    assert said.code == 1
    assert "✗ server" in said.out
    assert "no DagNats streams" in said.out


def test_doctor_when_all_is_well(start, tmp_path):
    """With everything running there is not a single complaint."""
    _, url = developing(start)

    said = command(url, tmp_path)("doctor", "--json")

    assert said.code == 0
    assert [check["check"] for check in said.json["checks"] if check["state"] != "ok"] == []
    assert {"schedulers", "partitions", "workers", "queue", "dead letters", "clock"} <= {
        check["check"] for check in said.json["checks"]
    }


def test_doctor_finds_what_is_missing(start, tmp_path, broker: Broker):
    """Without scheduler and worker, with waiting tickets: each is told with its cure."""
    cli = command(broker.url, tmp_path)
    scheduler, worker = (
        start(*words, url=broker.url) for words in (["scheduler"], ["worker", "tasks.py"])
    )
    scheduler.says("ready")
    worker.says("ready")
    worker.signal(signal.SIGTERM)
    worker.ends()
    run_id = cli("run", "start", "answer", "--json").json["run_id"]
    until(lambda: "step.dispatched" in cli("run", "events", run_id).out, "the ticket is dispatched")
    scheduler.signal(signal.SIGTERM)
    scheduler.ends()

    said = cli("doctor", "--json")

    checks = {check["check"]: check for check in said.json["checks"]}
    assert said.code == 1
    assert checks["schedulers"]["state"] == "error"
    assert checks["workers"]["state"] == "warning"
    assert checks["queue"]["state"] == "warning"
    assert "1 of task answer" in checks["queue"]["detail"]


def test_help_is_a_tour(tmp_path):
    """``dagnats`` alone, ``-h`` and ``--help`` show every command in its section."""
    cli = command(NOWHERE, tmp_path)

    shown = [cli(*words) for words in ([], ["-h"], ["--help"])]

    assert {(said.code, said.out) for said in shown} == {(0, shown[0].out)}
    for word in ("Start here", "serve", "worker", "run", "doctor", "completion"):
        assert word in shown[0].out


def test_errors_can_be_json(tmp_path):
    """With ``--json`` an error is one object on standard error."""
    said = command(NOWHERE, tmp_path)("run", "list", "--json")

    assert said.code == 1
    assert json.loads(said.line)["kind"] == "BrokerUnavailable"
