"""`dagnats run explain` says for every open step what it waits for; the run is cancelled at the end."""

import pytest

from tests.integration.cli.test_people import until

HOLD = {"task": "hold", "input": 60}
WAITS = {
    "name": "waits",
    "steps": [
        {"id": "ask", "type": "approval", "config": {"timeout": "1h"}},
        {"id": "after", "task": "double", "depends_on": ["ask"]},
        {"id": "go", "type": "wait_for_signal", "config": {"name": "go", "timeout": "1h"}},
        {
            "id": "paid", "type": "wait_for_event",
            "config": {"event": "paid", "timeout": "1h", "match": {"left": "id", "right": "input.id"}},
        },
        {"id": "nap", "type": "sleep", "config": {"duration": "1h"}},
        {"id": "nobody", "task": "unheard-of"},
        {"id": "work", **HOLD},
        {
            "id": "again", "task": "stutter", "input": ["a", "b"],
            "retry": {"max_attempts": 2, "initial_delay": "1h"},
        },
        {"id": "child", "type": "sub_workflow", "config": {"workflow": "held"}, "input": 60},
        {"id": "many", "type": "map", "task": "unheard-of", "input": [1, 2]},
    ],
}  # fmt: skip

SAID = {
    "ask": ("approval", "waits for approval until "),
    "after": ("dependency", "waits for step ask"),
    "go": ("signal", "waits for signal go, at most until "),
    "paid": ("event", "waits for event paid with "),
    "nap": ("timer", "waits until "),
    "nobody": (
        "no_worker",
        "waits for a worker of task unheard-of: none is running, none was ever seen",
    ),
    "work": ("running", "runs on worker "),
    "again": ("retry", "for its next attempt; the last failed: "),
    "child": ("child", "waits for its child run"),
    "many": ("owned", "waits for 2 of its 2 items"),
}


@pytest.fixture
def started(cli, file):
    """Register a workflow and start runs of it; all are cancelled in the end."""
    runs = []

    def start(flow, count=1, given="{}"):
        assert cli("workflow", "register", file(flow)).code == 0
        new = [
            cli("run", "start", flow["name"], given, "--json").json["run_id"] for _ in range(count)
        ]
        runs.extend(new)
        return new

    yield start
    for run in runs:
        cli("run", "cancel", run)


def reasons(cli, run):
    """What the command says to programs: cause and text by step."""
    said = cli("run", "explain", run, "--json").json
    return {each["step"]: each for each in said["reasons"]}


@pytest.mark.timeout(120)
def test_each_cause_has_its_words(cli, started):
    """A run that waits for everything at once."""
    [run] = started(WAITS, given='{"id": 7}')

    def settled():
        found = reasons(cli, run)
        return found if {step: found[step]["cause"] for step in SAID if step in found} == {
            step: cause for step, (cause, _) in SAID.items()
        } else None  # fmt: skip

    found = until(settled, within=30)
    assert all(words in found[step]["text"] for step, (_, words) in SAID.items())
    lines = cli("run", "explain", run).out.splitlines()
    assert all(
        any(line.startswith(f"{step}: ") and words in line for line in lines)
        for step, (_, words) in SAID.items()
    )


@pytest.mark.timeout(120)
def test_limits_have_their_words(cli, started):
    """A run that waits for another one; a step for a place of its task; a step for room in its run."""
    alone = {"name": "alone", "concurrency": {"max_runs": 1}, "steps": [{"id": "a", **HOLD}]}
    first, second = started(alone, 2)
    waiting = until(lambda: reasons(cli, second).get(""))
    assert (waiting["cause"], waiting["position"]) == ("gate", 1)
    assert f"the run: waits for the gate of workflow alone: limit 1, held by {first} since " in (
        cli("run", "explain", second).out
    )

    cramped = {
        "name": "cramped", "concurrency": {"max_steps": 1},
        "steps": [{"id": "a", "task": "unheard-of"}, {"id": "b", "task": "unheard-of"}],
    }  # fmt: skip
    [run] = started(cramped)
    room = until(lambda: reasons(cli, run).get("b"))
    assert room["cause"] == "max_steps"
    assert room["text"] == ("waits for room in the run: 1 of 1 steps are under way, position 1")

    rare = {
        "name": "rare", "steps": [{"id": "a", "task": "never-served", "limits": [{"concurrency": 1}]}]
    }  # fmt: skip
    one, two = started(rare, 2)
    held = until(lambda: (found := reasons(cli, two).get("a")) and found.get("position") and found)
    assert held["text"].startswith(
        f"waits for the gate of task never-served: limit 1, held by {one}"
    )
    assert "position 1" in cli("run", "explain", two).out


def test_a_run_that_has_ended(cli, started):
    """Nothing is open."""
    [run] = started({"name": "quick", "steps": [{"id": "a", "task": "double", "input": 2}]})
    assert cli("run", "output", run, "--wait", "--timeout", "20s").json == 4
    assert cli("run", "explain", run).out.strip() == f"run {run} is completed: nothing is open"
    said = cli("run", "explain", "0000000000")
    assert (said.code, "0000000000" in said.line) == (1, True)
