"""Signals, events, approvals, retry, rerun and fork on the command line."""

import json
import time

import pytest

GATE = {
    "name": "gate",
    "steps": [
        {"id": "ok", "type": "approval", "config": {"timeout": "1h", "description": "Go on?"}},
        {"id": "go", "type": "wait_for_signal", "config": {"name": "go"}, "depends_on": ["ok"]},
        {
            "id": "paid",
            "type": "wait_for_event",
            "config": {
                "event": "paid",
                "timeout": "1h",
                "match": {"left": "id", "right": "input.id"},
            },
            "depends_on": ["go"],
        },
    ],
}


def until(condition, within=15.0):
    """Poll a condition until it is true; its value."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


@pytest.fixture
def gate(cli, file):
    """A run that waits for people."""
    assert cli("workflow", "register", file(GATE)).code == 0
    return cli("run", "start", "gate", '{"id": 7}', "--json").json["run_id"]


def open_question(cli, run):
    """The run's question as the command line lists it."""
    return cli("approval", "list", "--run", run, "--json").json


def test_people_answer_and_the_run_goes_on(cli, gate):
    """Approve, signal, publish: each in one line."""
    [question] = until(lambda: open_question(cli, gate))
    assert question["description"] == "Go on?"
    assert "Go on?" in cli("approval", "list").out
    assert "waiting" in cli("run", "status", gate).out
    said = cli("approval", "approve", gate, "ok", "--comment", "fine")
    assert said.out.strip() == f"step ok of run {gate} is completed"
    again = cli("run", "approve", gate, "ok")
    assert (again.code, "is completed" in again.line) == (2, True)
    assert cli("signal", "send", gate, "go", '{"by": "Ada"}').code == 0
    assert cli("event", "publish", "paid", '{"id": 7, "v": 1}').code == 0
    assert cli("run", "output", gate, "--wait", "--timeout", "20s").json == {"id": 7, "v": 1}
    refused = cli("run", "signal", gate, "go")
    assert (refused.code, "takes no signals any more" in refused.line) == (2, True)
    events = cli("run", "events", gate).out
    assert "approval.decided" in events
    assert "token" not in events


def test_a_rejection_fails_the_run(cli, gate):
    """With its comment as the reason."""
    until(lambda: open_question(cli, gate))
    assert cli("run", "reject", gate, "ok", "--comment", "not now").code == 0
    ended = cli("run", "output", gate, "--wait", "--timeout", "20s")
    assert ended.code == 1
    assert "approval rejected: not now" in ended.line


def test_mistakes_are_one_line(cli, gate):
    """Unknown runs, steps and data that are no JSON."""
    for words, expected in (
        (("signal", "send", "nobody-1", "go"), "no run nobody-1"),
        (("signal", "send", gate, "go", "{"), "not JSON"),
        (("approval", "approve", gate, "nothing"), 'no step "nothing"'),
        (("run", "retry", gate), "it is running"),
        (("run", "fork", gate, "--at", "paid"), 'never came to step "paid"'),
    ):
        said = cli(*words)
        assert said.code in (1, 2)
        assert expected in said.line


def test_retry_rerun_and_fork(cli):
    """A failed run goes on, and fails again; a finished one is forked; both give ids."""
    failed = cli("run", "start", "refuse", '"no"', "--output", "--json").json["run_id"]
    assert cli("run", "retry", failed, "--json").json == {"run_id": failed, "status": "running"}
    until(lambda: cli("run", "status", failed, "--json").json["epoch"] == 1)
    until(lambda: cli("run", "status", failed, "--json").json["status"] == "failed")
    anew = cli("run", "retry", failed, "--anew", "--json").json
    assert anew["rerun_of"] == failed

    loop = cli("run", "start", "counter", "3", "--output", "--json").json["run_id"]
    fork = cli("run", "fork", loop, "--at", "counter@2", "--json").json["run_id"]
    assert cli("run", "output", fork, "--wait", "--timeout", "20s").json == 3
    history = json.loads(cli("run", "events", fork, "--json").out)
    assert sum(event["type"] == "step.dispatched" for event in history) == 2
    other = cli("run", "rerun", loop, "--input", "4", "--json").json["run_id"]
    assert cli("run", "output", other, "--wait", "--timeout", "20s").json == 4
