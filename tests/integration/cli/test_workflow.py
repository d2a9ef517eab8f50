"""``dagnats workflow``, as a process."""

import json

import pytest

from tests.integration.cli.conftest import ROOT

EXAMPLE = ROOT / "examples/agent_loop/workflow.json"


def flow(name, *steps, **more):
    """A workflow file; steps without a task get ``add``."""
    return {"name": name, "steps": [{"task": "add", **step} for step in steps], **more}


LOOP = {"id": "l", "type": "agent_loop", "loop": {"max_iterations": 2}}

SOUND = {
    "one step": flow("one", {"id": "a"}),
    "a chain": flow("chain", {"id": "a"}, {"id": "b", "depends_on": ["a"]}),
    "a loop": flow("loop", LOOP),
    "a handler": flow("handled", {"id": "a", "on_failure": "b"}, {"id": "b"}),
    "nanoseconds": flow("ns", {"id": "a", "timeout": 30_000_000_000}, timeout="1h"),
    "a schema": flow("schema", {"id": "a"}, **{"$schema": "https://example.com/w.json"}),
}

# What is wrong, and words that its message must hold.
BROKEN = {
    "a key of the workflow": (flow("w", {"id": "a"}, trigger=[]), ['"trigger"', '"triggers"']),
    "a key of a step": (flow("w", {"id": "a", "dependson": []}), ['"dependson"', '"depends_on"']),
    "a key of a loop": (
        flow("w", {**LOOP, "loop": {"max_iteration": 2}}),
        ['"max_iteration"', '"max_iterations"', 'step "l".loop'],
    ),
    "a key of a retry": (
        flow("w", {"id": "a", "retry": {"max_atempts": 2}}),
        ['"max_atempts"', '"max_attempts"', 'step "a".retry'],
    ),
    "a key of a condition": (
        flow("w", {"id": "a", "skip_if": {"step": "a", "field": "x", "op": "==", "value": 1}}),
        ['"step"', '"step_id"', 'step "a".skip_if'],
    ),
    "a type": (flow("w", {"id": "a", "type": "agent-loop"}), ['"agent-loop"', '"agent_loop"']),
    "a task of an approval": (
        flow("w", {"id": "a", "type": "approval"}),
        ['step "a"', 'has no task; remove "task"'],
    ),
    "a trigger's contradiction": (
        flow(
            "w", {"id": "a"}, triggers=[{"event": "e", "debounce": "1s", "batch": {"max_size": 2}}]
        ),
        ["debounce", "batch", "contradict"],
    ),
    "a cycle": (
        flow("w", {"id": "a", "depends_on": ["b"]}, {"id": "b", "depends_on": ["a"]}),
        ["cycle", "a", "b"],
    ),
    "an unknown parent": (flow("w", {"id": "a", "depends_on": ["z"]}), ['"z"', "no step"]),
    "a bare duration": (flow("w", {"id": "a", "timeout": "42"}), ["timeout", '"42s"']),
    "no steps": (flow("w"), ["no steps"]),
    "no bound": (flow("w", {"id": "l", "type": "agent_loop"}), ["max_iterations", "bound"]),
    "no object": ([1, 2], ["JSON object"]),
    "no name": ({"steps": [{"id": "a", "task": "add"}]}, ["name"]),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_files_are_accepted_by_both_doors(cli, file, name):
    """What validate accepts, register accepts, with the same hash."""
    path = file(SOUND[name])
    validated = cli("workflow", "validate", path, "--json")
    registered = cli("workflow", "register", path, "--json")

    assert (validated.code, registered.code) == (0, 0), registered.err
    assert validated.json["definition"] == registered.json["definition"]
    assert registered.json["registered"]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_by_both_doors(cli, file, name):
    """Both tell the same problems, with the likely spelling; nothing is registered."""
    content, words = BROKEN[name]
    path = file(content)
    validated = cli("workflow", "validate", path)
    registered = cli("workflow", "register", path)

    assert (validated.code, registered.code) == (1, 1)
    assert validated.err == registered.err
    assert all(word in validated.err for word in words), validated.err
    assert validated.out == ""
    assert registered.out == ""


def test_a_refused_file_leaves_no_workflow(cli, file):
    """What register refuses is not there afterwards."""
    content, _ = BROKEN["a key of the workflow"]

    assert cli("workflow", "register", file(content | {"name": "refused"})).code == 1
    assert cli("workflow", "show", "refused").code == 1


def test_every_problem_is_told_at_once(offline, file):
    """Three mistakes, three lines, each with its cure; as JSON too."""
    step = {"id": "a", "tsk": "add", "timeout": "1 fortnight", "depends_on": ["b"]}
    path = file({"name": "w", "steps": [step]})
    said = offline("workflow", "validate", path)
    told = offline("workflow", "validate", path, "--json")

    assert said.code == told.code == 1
    assert len(said.err.splitlines()) >= 4
    assert not told.json["valid"]
    assert {"where", "what", "cure"} == set(told.json["problems"][0])
    assert len(told.json["problems"]) == len(said.err.splitlines()) - 1


def test_a_file_that_is_not_json_is_told_in_one_line(offline, file):
    """The line and the column of the mistake, and what is there."""
    path = file('{\n "name": "w",\n "steps": [}]\n}')
    said = offline("workflow", "validate", path)

    assert said.code == 1
    assert "flow.json" in said.line
    assert "line 3, column 12" in said.line


@pytest.mark.parametrize(
    ("content", "words"),
    [("", "empty"), ('{"name": ', "too early"), ('{"name": "ü" "b"}', "column 14")],
)
def test_other_files_that_are_not_json(offline, file, content, words):
    """Empty, cut short, and with characters of several bytes before the mistake."""
    said = offline("workflow", "register", file(content))

    assert said.code == 1
    assert words in said.line


def test_a_file_that_is_not_there(offline):
    """The name, and where it was looked for."""
    said = offline("workflow", "validate", "none.json")

    assert said.code == 1
    assert "none.json" in said.line


def test_a_file_from_standard_input(cli):
    """``-`` is standard input."""
    said = cli("workflow", "validate", "-", given=EXAMPLE.read_bytes())

    assert said.code == 0
    assert "agent-loop" in said.out


def test_a_shown_workflow_registers_again(cli, file):
    """``show --json`` is a file; registering it changes nothing."""
    rich = flow(
        "rich",
        {"id": "a", "retry": {"max_attempts": 3, "strategy": "exponential"}, "on_failure": "h"},
        {"id": "h"},
        {
            "id": "b",
            "depends_on": ["a"],
            "skip_if": {"step_id": "a", "field": "x", "op": ">", "value": 3},
        },
        {**LOOP, "depends_on": ["a", "b"], "metadata": {"k": "v"}},
        timeout="1h30m",
        default_retry={"max_attempts": 1},
    )
    first = cli("workflow", "register", file(rich), "--json").json
    shown = cli("workflow", "show", "rich", "--json")
    again = cli("workflow", "register", file(shown.out, "again.json"), "--json").json

    assert first["changed"]
    assert not again["changed"]
    assert again["definition"] == first["definition"]


def test_check_only_says_what_would_change(cli, file):
    """``register --check`` writes nothing."""
    path = file(flow("unchecked", {"id": "a"}))
    said = cli("workflow", "register", path, "--check")

    assert said.code == 0
    assert "would register" in said.out
    assert cli("workflow", "show", "unchecked").code == 1


def test_registering_warns_of_tasks_that_nobody_runs(cli, file):
    """A warning for each task without a worker, and none for one that has one."""
    said = cli(
        "workflow", "register", file(flow("lonely", {"id": "a"}, {"id": "b", "task": "nobody"}))
    )

    assert said.code == 0
    assert "nobody" in said.line
    assert "warning" in said.line


def test_workflows_are_listed_and_shown(cli):
    """The worker's workflow is there, with its steps, for people and for programs."""
    rows = {row["name"]: row for row in cli("workflow", "list", "--json").json["workflows"]}

    assert rows["sums"]["steps"] == 2
    assert rows["sums"]["tasks"] == ["add", "double"]
    assert "sums" in cli("workflow", "list").out

    shown = cli("workflow", "show", "sums")

    assert "2 steps" in shown.out
    assert "input   {a: integer, b: integer}\noutput  integer\n" in shown.out
    assert shown.out.index("add") < shown.out.index("double")


def test_an_unknown_workflow_is_told_with_the_likely_one(cli):
    """One line, exit code 1, a guess; the same as JSON on standard error."""
    said = cli("workflow", "show", "sum")
    told = cli("workflow", "show", "sum", "--json")

    assert said.code == told.code == 1
    assert "did you mean sums?" in said.line
    assert json.loads(told.err)["kind"] == "WorkflowNotFound"


def test_a_graph_as_tree_mermaid_and_json(offline, file):
    """Of a file, without a server."""
    path = file(
        flow("g", {"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["a"]},
             {"id": "d", "depends_on": ["b", "c"]})
    )  # fmt: skip
    tree = offline("workflow", "graph", path).out
    mermaid = offline("workflow", "graph", path, "--mermaid").out
    edges = offline("workflow", "graph", path, "--json").json["edges"]

    assert "├─b" in tree
    assert "└─c" in tree
    assert "after b, c" in tree
    assert mermaid.startswith("flowchart")
    assert mermaid.count("-->") == len(edges) == 4


def test_the_graph_of_a_registered_workflow(cli):
    """By its name."""
    assert "double" in cli("workflow", "graph", "sums").out


def test_deleting_needs_a_yes(cli, file):
    """Refused where nobody can be asked; done with ``--force``; then unknown."""
    cli("workflow", "register", file(flow("doomed", {"id": "a"})))
    refused = cli("workflow", "delete", "doomed")

    assert refused.code == 2
    assert "--force" in refused.line
    assert cli("workflow", "show", "doomed").code == 0
    assert cli("workflow", "delete", "doomed", "--force", "--json").json == {
        "name": "doomed",
        "deleted": True,
    }
    assert cli("workflow", "show", "doomed").code == 1
    assert cli("workflow", "delete", "doomed", "--force").code == 1


def test_a_mistyped_command_is_guessed(offline):
    """No such command, and which was probably meant."""
    said = offline("workflow", "regster", "x.json")

    assert said.code == 2
    assert "did you mean register?" in said.err
