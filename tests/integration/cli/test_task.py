"""`dagnats task`: the catalogue of what the workers can run."""

from __future__ import annotations


def test_tasks_are_listed(cli):
    """With what they take and give, what they say of themselves, and how many workers run them."""
    shown = cli("task", "list")
    told = cli("task", "list", "--json").json

    assert shown.code == 0
    line = next(line for line in shown.out.splitlines() if line.startswith("add "))
    assert line.split(maxsplit=3)[1:3] == ["cli-tests", "1"]
    assert "(a: int, b: int) -> int" in line
    assert line.rstrip().endswith("Complete.")
    assert told["total"] == len(told["tasks"])
    assert {"add", "counter"} <= {row["name"] for row in told["tasks"]}
    assert all(len(row["workers"]) == 1 for row in told["tasks"])


def test_a_task_is_shown(cli):
    """Everything that a caller needs to know."""
    shown = cli("task", "show", "counter")
    told = cli("task", "get", "counter", "--json").json

    assert shown.code == 0
    for fact in (
        "counter(upto: int) -> int\n  Iterate.",
        "input    integer",
        "output   integer",
        "loop     at most 10 iterations",
        "app      cli-tests",
        "tasks.py:",
    ):
        assert fact in shown.out
    assert told["input_schema"] == {"type": "integer"}
    assert told["loop"]["max_iterations"] == 10
    assert len(told["workers"]) == 1


def test_a_task_that_is_not_there(cli):
    """The likely spelling is guessed."""
    said = cli("task", "show", "ad")

    assert said.code == 1
    assert said.line == 'dagnats: no worker has told of a task "ad"; did you mean add?'
    assert cli("task", "show", "ad", "--json").code == 1
