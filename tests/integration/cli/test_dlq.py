"""``dagnats dlq``, as a process: on letters of a server of its own, and against a scheduler and a worker."""

import asyncio
import json
import signal
import subprocess
import sys

import msgspec
import pytest

from dagnats import Client
from dagnats.jetstream.outside import JetStream
from dagnats.ports import Append
from dagnats.scheduler.letters import poison_letter
from dagnats.wire import subjects
from tests.integration.cli.conftest import command, environment
from tests.integration.cli.processes import until
from tests.support.broker import Broker

LETTERS = 120  # more than one answer of the server holds

replays = pytest.mark.skipif(
    not hasattr(Client, "retry"), reason="the engine cannot open a run again yet"
)


def letter(number):
    """One of many letters: of two tasks, two workflows, many runs."""
    task, step, run = f"task-{number % 2}", f"step-{number % 3}", f"run-{number:08d}"
    said = {
        "Run-Id": run,
        "Step-Id": step,
        "Task": task,
        "Workflow": "rare" if number % 50 == 7 else "often",
        "Ticket": f"{step}/2/0",
        "Attempts": "2",
        "Error": "it broke \x1b[31mbadly",
        "Failure": "timeout" if number % 4 else "retriable",
    }
    body = msgspec.json.encode({"ticket": f"{step}/2/0", "nonce": "secret", "input": number})
    headers = tuple((subjects.DLQ_PREFIX + name, value) for name, value in said.items())
    return Append(subjects.dead(task, run, step), body, headers=headers)


async def fill(url):
    """Store 120 letters and one that is no work."""
    outside = await JetStream.open(url)
    await outside.log.append([letter(number) for number in range(LETTERS)])
    place = subjects.fact(0, "nobody", "worker")
    await outside.log.append([poison_letter(place, "nobody", b"\xffno json", 3, "not JSON")])
    await outside.close()


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The command line at a server with 121 letters, whose runs are not in its log."""
    broker = Broker().start()
    try:
        asyncio.run(fill(broker.url))
        yield command(broker.url, tmp_path_factory.mktemp("many"))
    finally:
        broker.remove()


def numbers(listing):
    """The sequences of a list."""
    return [row["sequence"] for row in listing["letters"]]


# -- looking ---------------------------------------------------------------------------------------


def test_the_newest_letters(many):
    """The default is the newest 50; total and truncated are true; ``--all`` leaves nothing out."""
    listing = many("dlq", "list", "--json").json
    everything = many("dlq", "ls", "--all", "--json").json

    assert numbers(listing) == list(range(121, 71, -1))
    assert (listing["total"], listing["returned"], listing["truncated"]) == (121, 50, True)
    assert numbers(everything) == list(range(121, 0, -1))
    assert (everything["total"], everything["truncated"]) == (121, False)
    assert numbers(many("dlq", "list", "--limit", "3", "--json").json) == [121, 120, 119]


def test_a_row_for_programs(many):
    """Everything that a letter says of itself."""
    [row] = many("dlq", "list", "--run", "run-00000006", "--json").json["letters"]

    assert row["run_id"] == "run-00000006"
    assert (row["step_id"], row["task"], row["workflow"]) == ("step-0", "task-0", "often")
    assert (row["failure"], row["attempts"], row["delivery_count"]) == ("timeout", 2, 2)
    assert row["subject"] == "dagnats.dead.task-0.run-00000006.step-0"
    assert row["body_preserved"]
    assert row["headers"]["Dagnats-Dlq-Ticket"] == "step-0/2/0"


def test_filters(many):
    """By task, workflow, failure; counts agree with lists."""

    def total(*options):
        listed = many("dlq", "list", *options, "--json").json["total"]
        assert many("dlq", "count", *options, "--json").json["total"] == listed
        return listed

    assert total("--task", "task-1") == 60
    assert total("--workflow", "rare") == 3
    assert total("--failure", "retriable") == 30
    assert total("--failure", "poison") == 1
    assert total("--task", "task-0", "--failure", "retriable") == 30
    assert total("--task", "none") == 0


def test_the_table(many):
    """One line each, nothing that steers the terminal, and what is left out."""
    said = many("dlq", "list", "--limit", "8")

    assert len(said.out.splitlines()) == 9
    assert "\x1b" not in said.out
    assert "it broke" in said.out
    assert "the newest 8 of 121" in said.line
    assert many("dlq", "list", "--all").err == ""


def test_counts(many):
    """In words, by task."""
    assert many("dlq", "count").out.strip() == "121 dead letters: 60 task-0, 60 task-1, 1 poison"
    assert many("dlq", "count", "--run", "run-00000006").out.strip() == "1 dead letter: 1 task-0"


@pytest.mark.parametrize("word", ["show", "inspect", "get"])
def test_one_letter(many, word):
    """Its headers, its body without the nonce, and what to do with it."""
    said = many("dlq", word, "7")
    told = many("dlq", word, "7", "--json").json

    assert said.code == 0
    assert "run run-00000006" in said.out
    assert "Dagnats-Dlq-Ticket: step-0/2/0" in said.out
    assert '"input":6' in said.out
    assert "dagnats dlq replay 7" in said.out
    assert "secret" not in said.out
    assert told["body"] == {"ticket": "step-0/2/0", "input": 6}
    assert told["letter"]["sequence"] == 7


def test_a_letter_that_is_no_work(many):
    """Is shown as it is, and not replayed: one line that says what to do instead, exit code 2."""
    said = many("dlq", "show", "121")
    replayed = many("dlq", "replay", "121")
    by_run = many("dlq", "replay", "--run", "nobody", "--json")

    assert "poison" in said.out
    assert "Upgrade" in said.out or "upgrade" in said.out
    assert (replayed.code, by_run.code) == (2, 2)
    assert "dagnats.fact.0.nobody.worker" in replayed.line
    assert "cannot be replayed" in json.loads(by_run.err)["error"]
    assert many("dlq", "show", "121").code == 0


@pytest.mark.parametrize("word", ["show", "replay", "discard"])
def test_a_letter_that_is_not_there(many, word):
    """One line, exit code 1; as JSON too."""
    said = many("dlq", word, "999")
    told = many("dlq", word, "999", "--json")

    assert said.code == told.code == 1
    assert "no dead letter 999" in said.line
    assert json.loads(told.err)["kind"] == "LetterNotFound"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["replay"], "--run"),
        (["replay", "1", "--run", "r"], "--run"),
        (["discard"], "SEQ"),
        (["show", "first"], "integer"),
        (["list", "--limit", "0"], "10000"),
        (["list", "--run", "a.b"], "run id"),
        (["watch", "--interval", "often"], "--interval"),
        (["watch", "--interval", "1ms"], "100 ms"),
        (["watch", "--max-replays", "0"], "1 to 1000"),
    ],
)
def test_mistakes(many, arguments, word):
    """Exit code 2, and what is allowed."""
    said = many("dlq", *arguments)

    assert said.code == 2
    assert word in said.err


def test_a_run_by_prefix(many):
    """A run that has no letters and is not in the log is unknown."""
    said = many("dlq", "list", "--run", "run-99999999")

    assert said.code == 1
    assert "no run run-99999999" in said.line


def test_no_letters(broker, tmp_path):
    """An empty list, zero, and no error."""

    async def prepare():
        await (await JetStream.open(broker.url)).close()

    asyncio.run(prepare())
    cli = command(broker.url, tmp_path)

    assert cli("dlq", "list", "--json").json == {
        "letters": [], "total": 0, "returned": 0, "truncated": False,
    }  # fmt: skip
    assert cli("dlq", "list").line == "no dead letters"
    assert cli("dlq", "count").out.strip() == "0 dead letters"
    assert cli("dlq", "count", "--json").json == {"total": 0, "tasks": {}}


def test_without_a_server_there_is_one_line(offline):
    """As for every command."""
    said = offline("dlq", "list")

    assert said.code == 1
    assert "dagnats serve" in said.line


# -- discarding ------------------------------------------------------------------------------------


def test_discarding_and_undoing(broker, tmp_path):
    """Of several one that is not there does not stop the others; what is back is as it was."""
    asyncio.run(fill(broker.url))
    cli = command(broker.url, tmp_path)
    before = cli("dlq", "show", "5", "--json").json
    said = cli("dlq", "discard", "5", "6", "999", "--json")

    assert said.code == 2
    assert [each["sequence"] for each in said.json["discarded"]] == [5, 6]
    assert [each["sequence"] for each in said.json["refused"]] == [999]
    assert cli("dlq", "count", "--json").json["total"] == 119
    assert "--undo" in cli("dlq", "discard", "7").out

    undone = cli("dlq", "discard", "5", "--undo")
    after = cli("dlq", "list", "--limit", "1", "--json").json["letters"][0]

    assert undone.out.strip() == "dead letter 5 is back, as 122"
    assert {**before["letter"], "sequence": 122} == {
        **after,
        "headers": before["letter"]["headers"],
    }
    assert cli("dlq", "show", "122", "--json").json["body"] == before["body"]

    again = cli("dlq", "discard", "5", "--undo")

    assert again.code == 1
    assert "kept for 1 h" in again.line


# -- with a scheduler and a worker -----------------------------------------------------------------


def failed(cli, path, *options):
    """A run that failed for want of a file; its id."""
    given = json.dumps(str(path))
    ended = cli("run", "start", "loud", given, "--output", "--json", *options)
    assert ended.json["status"] == "failed", ended
    return ended.json["run_id"]


def test_a_failed_run_leaves_a_letter(cli, tmp_path):
    """With everything that tells what happened; its run can be named by a prefix."""
    run_id = failed(cli, tmp_path / "none")
    [row] = cli("dlq", "list", "--run", run_id[:8], "--json").json["letters"]

    assert (row["run_id"], row["step_id"], row["task"]) == (run_id, "fetch", "fetch")
    assert (row["workflow"], row["failure"], row["attempts"]) == ("loud", "non_retriable", 1)
    assert "no file" in row["error"]
    assert row["consumer"] == "worker+fetch+_"
    assert row["headers"]["Dagnats-Dlq-Task-Subject"].startswith("dagnats.task.")
    assert row["replayable"]


@replays
def test_replaying_revives_the_run(cli, tmp_path):
    """At the failed step: it goes on, and so does what comes after it; the letter is gone."""
    path = tmp_path / "text"
    run_id = failed(cli, path)
    [row] = cli("dlq", "list", "--run", run_id, "--json").json["letters"]
    path.write_text("now", encoding="utf-8")
    said = cli("dlq", "replay", str(row["sequence"]))

    assert said.code == 0
    assert f"run {run_id} goes on at step fetch" in said.out
    assert cli("run", "output", run_id, "--wait", "--timeout", "20s").json == "NOW"
    assert cli("dlq", "list", "--run", run_id, "--json").json["total"] == 0
    assert cli("dlq", "replay", "--run", run_id).code == 1


@replays
def test_a_run_that_fails_again_has_a_letter_again(cli, tmp_path):
    """Each replay is a new chance with a new letter; the run's latest is the one that counts."""
    run_id = failed(cli, tmp_path / "none")
    for _ in range(2):
        before = cli("dlq", "list", "--run", run_id, "--json").json["letters"][0]["sequence"]
        told = cli("dlq", "replay", "--run", run_id, "--json").json
        assert told["replayed"][0]["sequences"] == [before]
        rows = until(
            lambda: cli("dlq", "list", "--run", run_id, "--json").json["letters"], "a new letter"
        )
        assert rows[0]["sequence"] > before


@replays
def test_a_run_that_has_completed_is_not_replayed(cli, tmp_path, site):
    """Its letter came back by an undo: refused with the reason, and it stays."""
    path = tmp_path / "text"
    run_id = failed(cli, path)
    [row] = cli("dlq", "list", "--run", run_id, "--json").json["letters"]
    path.write_text("now", encoding="utf-8")
    cli("dlq", "discard", str(row["sequence"]))
    assert cli("run", "retry", run_id).code == 0
    cli("run", "output", run_id, "--wait", "--timeout", "20s")
    cli("dlq", "discard", str(row["sequence"]), "--undo")
    [row] = cli("dlq", "list", "--run", run_id, "--json").json["letters"]
    said = cli("dlq", "replay", str(row["sequence"]))

    assert said.code == 2
    assert "completed" in said.line
    assert f"dagnats dlq discard {row['sequence']}" in said.line
    assert cli("dlq", "list", "--run", run_id, "--json").json["total"] == 1


@replays
def test_watching_replays_within_its_bound(cli, tmp_path, site):
    """A run that goes on failing is replayed so often, then left to a person; Ctrl-C ends with 130."""
    run_id = failed(cli, tmp_path / "none")
    watching = subprocess.Popen(
        [sys.executable, "-m", "dagnats", "dlq", "watch", "--run", run_id,
         "--interval", "200ms", "--max-replays", "2", "--json"],
        env=environment(site.url), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    told = []
    for line in watching.stdout:
        told.append(json.loads(line))
        if told[-1]["outcome"] == "given_up":
            break
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=20)
    done = [each["replays"] for each in told if each["outcome"] == "replayed"]

    assert done == [1, 2]
    assert watching.returncode == 130
    assert err.splitlines() == ["no longer watching the dead letters"]
    assert cli("dlq", "list", "--run", run_id, "--json").json["total"] == 1
