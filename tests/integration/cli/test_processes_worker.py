"""``dagnats worker`` and ``dagnats scheduler`` as processes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagnats.jetstream.outside import JetStream
from dagnats.wire import subjects
from tests.integration.cli.conftest import TASKS, command
from tests.integration.cli.processes import Start, gone, programs, until
from tests.support.broker import Broker

SLOW = '''
import asyncio, pathlib, time
from dagnats import App

app = App("slow")

@app.task
async def nap(seconds: float) -> str:
    """Sleep, leaving a mark at the beginning."""
    pathlib.Path("napping").touch()
    await asyncio.sleep(seconds)
    return "rested"

@app.task(group="gpu")
def train(epochs: int = 3) -> int:
    """Belong to a group."""
    return epochs
'''

DEAF = '''
import pathlib, time
from dagnats import App

app = App("deaf")

@app.task
def deaf() -> None:
    """Wait where nothing can be raised."""
    pathlib.Path("napping").touch()
    time.sleep(60)
'''


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ``dagnats`` processes in the test's folder, which has an app in slow.py."""
    (tmp_path / "slow.py").write_text(SLOW)
    with programs(tmp_path) as begin:
        yield begin


def test_both_wait_for_a_server(start, tmp_path, broker: Broker):
    """Started before the server, they say so, and work as soon as it is there."""
    broker.kill()
    scheduler = start("scheduler", url=broker.url)
    worker = start("worker", "slow.py", url=broker.url)
    scheduler.says("no NATS server answers")
    worker.says("no NATS server answers")

    broker.start()

    scheduler.says(r"scheduler \S+ ready: 16 of 16 partitions, nats://")
    worker.says(r"worker \S+ ready: 1 task \(nap\), concurrency 50, nats://")
    run = command(broker.url, tmp_path)("run", "start", "nap", "0", "--output")
    assert run.out.strip() == '"rested"'


def test_waiting_can_be_refused_and_interrupted(start):
    """``--no-wait`` fails at once; a waiting process ends at SIGTERM without a fuss."""
    refused = start("worker", "slow.py", "--no-wait")
    waiting = start("scheduler")
    waiting.says("no NATS server answers")

    waiting.signal(signal.SIGTERM)

    assert refused.ends() == 1
    assert "no NATS server answers" in refused.err.splitlines()[-1]
    assert waiting.ends() == 0
    assert "Traceback" not in waiting.err


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("nowhere", "no module nowhere"),
        ("nowhere.py", "no file nowhere.py"),
        ("slow.py:nothing", "nothing does not exist"),
    ],
)
def test_a_wrong_module_is_one_line(start, target, hint):
    """What cannot be loaded is told at once, before any server is needed."""
    program = start("worker", target)

    assert program.ends() == 1
    assert hint in program.err
    assert len(program.err.splitlines()) == 1


def test_a_task_that_does_not_exist_is_told_with_those_that_do(start):
    """``--task`` with a wrong name lists the names."""
    program = start("worker", "slow.py", "--task", "napp")

    assert program.ends() == 1
    assert "no task napp; it has: nap, train" in program.err


def test_groups_are_served_by_their_own(start, shared_broker: Broker):
    """Without ``--group`` a task of a group is left out, and that is said; with it, it is served."""
    plain = start("worker", "slow.py", url=shared_broker.url)
    gpu = start("worker", "slow.py", "--group", "gpu", "--task", "train", url=shared_broker.url)

    plain.says("task train belongs to group gpu and is not served here")
    plain.says(r"ready: 1 task \(nap\)")
    gpu.says(r"ready: 1 task \(train\), concurrency 50, group gpu")


def test_sigterm_lets_a_handler_finish(start, tmp_path, broker: Broker):
    """A stopping worker finishes its handler; the run completes with what it returned."""
    start("scheduler", url=broker.url).says("ready")
    worker = start("worker", "slow.py", url=broker.url)
    worker.says("ready")
    cli = command(broker.url, tmp_path)
    run_id = cli("run", "start", "nap", "1", "--json").json["run_id"]
    until((tmp_path / "napping").exists, "the handler runs")

    worker.signal(signal.SIGTERM)

    assert worker.ends() == 0
    assert cli("run", "output", run_id, "--wait").out.strip() == '"rested"'
    events = [event["type"] for event in cli("run", "events", run_id, "--json").json]
    assert events.count("step.dispatched") == 1


def test_a_second_sigterm_gives_the_work_back(start, tmp_path, broker: Broker):
    """Told twice, it ends at once; another worker does what it had begun."""
    start("scheduler", url=broker.url).says("ready")
    worker = start("worker", "slow.py", url=broker.url)
    worker.says("ready")
    cli = command(broker.url, tmp_path)
    mark = tmp_path / "napping"
    run_id = cli("run", "start", "nap", "3", "--json").json["run_id"]
    until(mark.exists, "the handler runs")

    worker.signal(signal.SIGTERM)
    worker.says("waiting up to")
    worker.signal(signal.SIGTERM)
    assert worker.ends(within=2.9) == 0
    start("worker", "slow.py", url=broker.url).says("ready")

    assert cli("run", "output", run_id, "--wait").out.strip() == '"rested"'


def test_a_handler_that_hears_nothing_does_not_hold_the_process(start, tmp_path, broker: Broker):
    """A thread in a blocking call cannot be stopped; the process that was told to end ends all the same."""
    (tmp_path / "deaf.py").write_text(DEAF)
    start("scheduler", url=broker.url).says("ready")
    worker = start("worker", "deaf.py", "--drain-timeout", "100ms", url=broker.url)
    worker.says("ready")
    command(broker.url, tmp_path)("run", "start", "deaf", "--json")
    until((tmp_path / "napping").exists, "the handler runs")

    worker.signal(signal.SIGTERM)

    assert worker.ends(within=15) == 0
    assert "1 handlers did not stop" in worker.err


@pytest.mark.faults
def test_dead_processes_are_replaced(start, broker: Broker):
    """``--processes 2`` is two workers; a killed one is replaced; SIGTERM ends all."""
    family = start("worker", "slow.py", "--processes", "2", url=broker.url)
    family.says(r"worker \S+ ready", times=2)
    before = family.children("python")
    assert len(before) == 2

    os.kill(before[0], signal.SIGKILL)
    family.says("was killed by SIGKILL; starting it again")
    family.says(r"worker \S+ ready", times=3)
    after = family.children("python")
    family.signal(signal.SIGTERM)

    assert len(after) == 2
    assert before[1] in after
    assert family.ends() == 0
    assert all(gone(pid) for pid in after)


@pytest.mark.faults
def test_orphans_end(start, broker: Broker):
    """When the parent is killed, its worker processes end too."""
    family = start("worker", "slow.py", "--processes", "2", url=broker.url)
    family.says(r"worker \S+ ready", times=2)
    children = family.children("python")

    family.signal(signal.SIGKILL)

    for pid in children:
        until(lambda pid=pid: gone(pid), f"worker process {pid} ends")


def test_many_processes_that_cannot_begin_end(start):
    """A wrong module ends the family instead of being tried for ever."""
    family = start("worker", "nowhere", "--processes", "2")

    assert family.ends() == 1
    assert "no module nowhere" in family.err


def test_logs_can_be_json(start, shared_broker: Broker):
    """``--log-json`` makes every line of the log, the ready line too, one JSON object."""
    worker = start("worker", "slow.py", "--log-json", url=shared_broker.url)
    worker.says("ready")

    lines = [json.loads(line) for line in worker.err.splitlines()]

    assert worker.out == ""
    assert {line["level"] for line in lines} == {"info", "warning"}
    assert "ready: 1 task (nap)" in lines[-1]["message"]


def test_workers_and_schedulers_tell_programs_that_they_are_ready(start, shared_broker: Broker):
    """``--json``: one object on standard output, with what the line for people says."""
    url = shared_broker.url
    worker = start("worker", "slow.py", "--json", "--concurrency", "3", url=url)
    scheduler = start("scheduler", "--json", url=url)
    worker.says(r'"ready":true.*\}')
    scheduler.says(r'"ready":true.*\}')

    working, scheduling = json.loads(worker.out), json.loads(scheduler.out)

    assert working.pop("worker").startswith("worker-")
    assert working == {
        "ready": True, "nats_url": url, "tasks": ["nap"], "concurrency": 3, "group": "", "pid": worker.pid,
    }  # fmt: skip
    assert scheduling.pop("scheduler").startswith("scheduler-")
    assert scheduling.pop("partitions_held") <= scheduling["partitions"]
    assert scheduling == {"ready": True, "nats_url": url, "partitions": 16, "pid": scheduler.pid}


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def f():\n    return nope\n\nf()\n", "NameError: name 'nope' is not defined (bad.py, line 2)"),
        ("import sys\n\nsys.exit(3)\n", "SystemExit: 3 (bad.py, line 3)"),
        ("import json\njson.loads('{')\n", "(bad.py, line 2)"),
        ("from dagnats import App\nApp('a').task(retires=1)\n", "did you mean retry=? (bad.py, line 2)"),
        ("x = (", "SyntaxError: '(' was never closed (bad.py, line 1)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("target", ["bad.py", "bad"])
def test_a_module_that_cannot_be_imported_is_told_with_its_line(tmp_path, code, told, target):
    """The innermost line of the user's own code, once, and no traceback."""
    (tmp_path / "bad.py").write_text(code)
    said = command("nats://127.0.0.1:1", tmp_path)("worker", target)

    assert said.code == 1
    assert "cannot be imported" in said.line
    assert said.line.endswith(told)


def test_settings_that_cannot_be_are_told(start):
    """A lease that is no duration, or too short, ends the command with one line."""
    unitless = start("worker", "slow.py", "--lease", "15")
    short = start("worker", "slow.py", "--lease", "10ms")

    assert (unitless.ends(), short.ends()) == (1, 1)
    assert 'write "15s" for seconds' in unitless.err
    assert "at least 1000 ms" in short.err


async def test_a_worker_tells_the_catalogue(start, broker: Broker):
    """Each task is described: signature, schema, source; and can be started by name."""
    worker = start("worker", str(TASKS), url=broker.url)
    worker.says("ready")
    outside = await JetStream.open(broker.url, name="test", ensure=False)

    found = await outside.documents(subjects.TASK_CATALOGUE).get("add")
    await outside.close()

    record = json.loads(found[0])
    assert record["app"] == "cli-tests"
    assert record["signature"] == "add(a: int, b: int) -> int"
    assert record["input_schema"]["required"] == ["a", "b"]
    assert record["output_schema"] == {"type": "integer"}
    assert record["source"].partition(":")[0].endswith("tasks.py")
