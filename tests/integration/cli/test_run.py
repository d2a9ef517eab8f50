"""``dagnats run`` on one run, as a process, against a scheduler and a worker."""

import json
import signal
import subprocess
import sys

import pytest

from tests.integration.cli.conftest import environment


def started(cli, workflow, given, *options):
    """Start a run; its id."""
    said = cli("run", "start", workflow, json.dumps(given), "--json", *options)
    assert said.code == 0, said.err
    return said.json["run_id"]


def ended(cli, workflow, given, *options):
    """Start a run and wait for its end; its id."""
    return cli("run", "start", workflow, json.dumps(given), "--output", "--json", *options).json[
        "run_id"
    ]


# -- starting --------------------------------------------------------------------------------------


def test_starting_prints_the_id(cli):
    """The id alone on standard output, for scripts; as JSON an object."""
    said = cli("run", "start", "sums", '{"a": 1, "b": 2}')
    run_id = said.out.strip()

    assert said.code == 0
    assert cli("run", "output", run_id, "--wait").json == 6
    assert list(cli("run", "start", "sums", '{"a": 1, "b": 2}', "--json").json) == ["run_id"]


def test_starting_with_output_prints_the_output(cli):
    """``--output`` waits; with ``--json`` the end as an object."""
    given = '{"a": 1, "b": 2}'
    said = cli("run", "start", "sums", given, "--output")
    told = cli("run", "start", "sums", given, "--output", "--json")

    assert (said.code, said.json) == (0, 6)
    assert (told.code, told.json["status"], told.json["output"]) == (0, "completed", 6)
    assert told.json["workflow"] == "sums"


def test_starting_with_watch_watches(cli):
    """``--watch`` shows events, then the output."""
    said = cli("run", "start", "counter", "3", "--watch")

    assert said.code == 0
    assert "iteration 3" in said.out
    assert said.out.splitlines()[-1] == "3"


def test_a_failing_run_ends_with_1(cli):
    """The reason in one line on standard error; as JSON an object with the error."""
    said = cli("run", "start", "refuse", '"no paper"', "--output")
    told = cli("run", "start", "refuse", '"no paper"', "--watch", "--json")

    assert said.code == told.code == 1
    assert "no paper" in said.err
    assert said.out == ""
    assert told.json["status"] == "failed"
    assert "no paper" in told.json["error"]["message"]


def test_inputs_from_standard_input_and_files(cli, file):
    """``-`` and ``@file``."""
    path = file('{"a": 20,\n "b": 1}\n', "input.json")

    assert cli("run", "start", "sums", "-", "--output", given='{"a": 2, "b": 3}').json == 10
    assert cli("run", "start", "sums", f"@{path}", "--output").json == 42


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{a: 1}", ["line 1, column 2", "double quotes"]),
        ('{"a": 1,\n "b": }', ["line 2, column 7"]),
        ("hello", ["'\"hello\"'"]),
        ("[1,", ["too early"]),
        ("", ["empty"]),
        ("@none.json", ["none.json"]),
    ],
)
def test_a_bad_input_is_told_with_its_place(offline, given, words):
    """Before anything is asked of a server: one line, exit code 2, where and why."""
    said = offline("run", "start", "sums", given)

    assert said.code == 2
    assert all(word in said.line for word in words), said.line


def test_an_unknown_workflow_cannot_be_started(cli):
    """Exit code 1, with the likely name."""
    said = cli("run", "start", "summs", "{}")

    assert said.code == 1
    assert "did you mean sums?" in said.line


def test_an_id_is_taken_once(cli):
    """A second start with it is refused."""
    assert started(cli, "sums", {"a": 1, "b": 1}, "--id", "only-once-1") == "only-once-1"

    again = cli("run", "start", "sums", '{"a": 1, "b": 1}', "--id", "only-once-1")

    assert again.code == 2
    assert "only-once-1" in again.line


def test_an_idempotency_key_gives_the_first_run(cli):
    """The same key, the same run; another key, another."""
    first = started(cli, "sums", {"a": 1, "b": 1}, "--key", "order-1")

    assert started(cli, "sums", {"a": 5, "b": 5}, "--key", "order-1") == first
    assert started(cli, "sums", {"a": 1, "b": 1}, "--key", "order-2") != first


def test_metadata_and_tags_travel(cli):
    """Given at the start, shown by status; a pair without "=" is refused."""
    run_id = started(
        cli, "sums", {"a": 1, "b": 1}, "--meta", "who=me=you", "--tag", "blue", "--tag", "big"
    )
    shown = cli("run", "status", run_id, "--json").json

    assert shown["metadata"] == {"who": "me=you"}
    assert shown["tags"] == ["blue", "big"]
    assert cli("run", "start", "sums", "{}", "--meta", "who").code == 2


def test_starting_what_nobody_serves_says_so(cli, file):
    """A hint on standard error; the run is started all the same and waits."""
    path = file({"name": "unserved", "steps": [{"id": "a", "task": "nobody"}]})
    cli("workflow", "register", path)
    said = cli("run", "start", "unserved", "{}", "--json")

    assert said.code == 0
    assert "no worker for task nobody is running" in said.line
    assert cli("run", "cancel", said.json["run_id"]).code == 0


# -- naming a run ----------------------------------------------------------------------------------


def test_a_run_by_prefix_and_by_last(cli):
    """Eight characters are enough; ``--last`` is the newest."""
    run_id = ended(cli, "sums", {"a": 1, "b": 2})

    assert cli("run", "status", run_id[:8], "--json").json["run_id"] == run_id
    assert cli("run", "status", "--last", "--json").json["run_id"] == run_id


def test_prefixes_that_name_no_run_or_several(cli):
    """Too short, unknown, ambiguous: one line each, exit code 1."""
    for number in (1, 2):
        started(cli, "sums", {"a": 1, "b": 1}, "--id", f"ambiguous-{number}")
    short = cli("run", "status", "ambig")
    several = cli("run", "output", "ambiguous-")
    unknown = cli("run", "events", "0123456789abcdef")

    assert (short.code, several.code, unknown.code) == (1, 1, 1)
    assert "8 characters" in short.line
    assert "ambiguous-1, ambiguous-2" in several.line
    assert "no run 0123456789abcdef" in unknown.line


@pytest.mark.parametrize(
    "word", ["status", "inspect", "get", "events", "watch", "stream", "output", "cancel"]
)
def test_a_run_has_to_be_named(offline, word):
    """Neither an id nor ``--last``: exit code 2, and what to give."""
    said = offline("run", word)

    assert said.code == 2
    assert "--last" in said.err


@pytest.mark.parametrize(
    "word", ["status", "inspect", "get", "events", "watch", "stream", "output", "cancel"]
)
def test_an_unknown_run_is_told_in_one_line(cli, word):
    """Whatever is asked of it; as JSON as well."""
    said = cli("run", word, "nothing-of-the-sort")
    told = cli("run", word, "nothing-of-the-sort", "--json")

    assert said.code == told.code == 1
    assert "nothing-of-the-sort" in said.line
    assert json.loads(told.err)["kind"] == "RunNotFound"


# -- looking ---------------------------------------------------------------------------------------


def test_status_and_inspect_show_a_completed_run(cli):
    """Steps, states, iterations; inspect adds input, output and events; ``get`` is inspect."""
    run_id = ended(cli, "counter", 4)
    status = cli("run", "status", run_id)
    shown = cli("run", "status", run_id, "--json").json
    inspected = cli("run", "inspect", run_id)

    assert "completed" in status.out
    assert "iteration 4/10" in status.out
    assert shown["steps"][0]["status"] == "completed"
    assert shown["output"] == 4
    assert "input: 4" in inspected.out
    assert "run.started" in inspected.out
    assert cli("run", "get", run_id, "--json").json["events_total"] == 10


def test_inspect_shows_errors_in_full(cli):
    """The message with all its lines and the kind of failure."""
    run_id = ended(cli, "refuse", "no ink")
    inspected = cli("run", "inspect", run_id)

    assert inspected.code == 0
    assert "no ink" in inspected.out
    assert "and more on a second line" in inspected.out
    assert "no ink" in cli("run", "inspect", run_id, "--json").json["run"]["error"]["message"]


def test_events_in_order_and_filtered(cli):
    """All of them; of one type; of one step; in full."""
    run_id = ended(cli, "sums", {"a": 1, "b": 2})
    events = cli("run", "events", run_id, "--json").json

    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    assert (events[0]["type"], events[-1]["type"]) == ("run.started", "run.closed")
    assert len(cli("run", "events", run_id, "--type", "step.succeeded", "--json").json) == 2
    assert {
        event["step"] for event in cli("run", "events", run_id, "--step", "add", "--json").json
    } == {"add"}

    full = cli("run", "events", run_id, "--full").out

    assert "nonce" not in full
    assert len(full.splitlines()) == len(events)
    assert cli("run", "events", run_id, "--step", "none", "--json").json == []


def test_following_events_ends_with_the_run(cli):
    """``--follow --json``: an object on each line, the last is the end."""
    run_id = started(cli, "held", 0.5)
    lines = cli("run", "events", run_id, "--follow", "--json").out.splitlines()

    assert [json.loads(line)["type"] for line in lines][-1] == "run.closed"


def test_watching_without_a_terminal(cli):
    """A line for each event until the end; the exit code is the run's; colours are left out."""
    good = cli("run", "watch", started(cli, "counter", 3))
    bad = cli("run", "watch", started(cli, "refuse", "no"))

    assert (good.code, bad.code) == (0, 1)
    assert "step.continued" in good.out
    assert "completed" in good.line
    assert "failed" in bad.line
    assert "\x1b" not in good.out + bad.out


def test_watching_a_run_that_has_ended(cli):
    """Everything that happened, at once; as JSON an object on each line."""
    run_id = ended(cli, "sums", {"a": 1, "b": 2})
    said = cli("run", "watch", run_id, "--json")

    assert said.code == 0
    assert [json.loads(line)["type"] for line in said.out.splitlines()][-1] == "run.closed"


def test_interrupting_a_watch_leaves_the_run_alone(cli, site, tmp_path):
    """Ctrl-C ends the watching with 130 and one line; the run goes on."""
    run_id = started(cli, "held", 30)
    watching = subprocess.Popen(
        [sys.executable, "-m", "dagnats", "run", "watch", run_id],
        env=environment(site.url),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "run.started" in watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=20)

    assert watching.returncode == 130
    assert err.splitlines() == ["no longer waiting; the run goes on"]
    assert cli("run", "status", run_id, "--json").json["status"] == "running"
    assert cli("run", "cancel", run_id).code == 0


def test_the_output_of_a_run_that_goes_on(cli):
    """Not there yet, and not there in time: one line each, exit code 1; a bad timeout is refused."""
    run_id = started(cli, "held", 60)
    now = cli("run", "output", run_id)
    short = cli("run", "output", run_id, "--timeout", "10ms")

    assert (now.code, short.code) == (1, 1)
    assert "--wait" in now.line
    assert "had not ended" in short.line
    assert cli("run", "output", run_id, "--timeout", "10").code == 2
    assert cli("run", "cancel", run_id).code == 0


def test_the_output_of_a_run(cli):
    """Once it is there; then as a bare value, or with how the run ended."""
    run_id = started(cli, "held", 0.2)

    assert cli("run", "output", run_id, "--wait").json == "held"
    assert cli("run", "output", run_id).json == "held"
    assert cli("run", "output", run_id, "--json").json["output"] == "held"


def test_cancelling(cli):
    """A run that goes on is cancelled, with the reason; one that has ended stays as it is."""
    run_id = started(cli, "held", 60)
    said = cli("run", "cancel", run_id, "--reason", "second thoughts")
    end = cli("run", "output", run_id, "--wait", "--json")

    assert said.code == 0
    assert (end.code, end.json["status"]) == (1, "cancelled")
    assert "second thoughts" in end.json["error"]["message"]

    again = cli("run", "cancel", run_id, "--json")

    assert again.code == 0
    assert again.json == {"run_id": run_id, "cancelling": False, "status": "cancelled"}


@pytest.mark.parametrize("arguments", [["run", "list"], ["run", "start", "sums", "{}"]])
def test_without_a_server_there_is_one_line(offline, arguments):
    """Connection refused is no stack trace: one line with the cure, exit code 1; as JSON too."""
    said = offline(*arguments)
    told = offline(*arguments, "--json")

    assert said.code == told.code == 1
    assert "dagnats serve" in said.line
    assert json.loads(told.err)["kind"] == "BrokerUnavailable"
    assert said.out == told.out == ""


def test_later_and_many(cli, tmp_path):
    """Scheduled starts and bulk, as people ask for them."""
    started = cli("run", "start", "double", "3", "--in", "1h", "--id", "cli-later", "--json").json

    assert started == {"run_id": "cli-later"}
    assert cli("run", "status", "cli-later", "--json").json["status"] == "scheduled"
    listed = cli("run", "list", "--scheduled", "--json").json["runs"]
    assert [row["run_id"] for row in listed if row["status"] == "scheduled"] == ["cli-later"]
    assert cli("run", "cancel", "cli-later", "--json").json["cancelling"] is True
    assert "was cancelled before" in cli("run", "cancel", "cli-later").line
    assert "has passed" in cli("run", "start", "double", "3", "--at", "2020-01-01T00:00:00Z").line

    (tmp_path / "in.jsonl").write_text("1\n2\n\n3\n")
    made = cli("run", "bulk", "--workflow", "double", "--from-file", "in.jsonl", "--json").json

    assert (made["done"], len(made["run_ids"])) == (3, 3)
    assert "input[1]" in cli("run", "bulk", "--workflow", "double", "1", '"x"').err
    assert "workflow_id is required" in cli("run", "cancel-all", "--dry-run").line
    assert cli("run", "cancel-all", "--workflow", "double", "--dry-run", "--json").json["dry_run"]
    assert cli("run", "retry-all", "--workflow", "double", "--json").json["failed"] == []
