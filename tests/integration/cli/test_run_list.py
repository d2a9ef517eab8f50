"""``dagnats run list`` and ``run count``: order, totals, filters; with many runs and with none."""

import asyncio
import json
import time

import pytest

from dagnats.core.events import CancelRequested, RunStarted
from dagnats.core.state import StepError
from dagnats.jetstream.outside import JetStream
from dagnats.ports import Append
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import ClosedMark
from tests.integration.cli.conftest import command
from tests.support.broker import Broker

RUNS = 2_500
STATES = {0: "completed", 1: "failed", 2: "cancelled"}


def messages_of(outside, number):
    """The start of a run and what else the log has of it; every fourth still runs."""
    run = f"run-{number:08d}"
    place = subjects.partition_of(run, outside.log.partitions)
    workflow = "rare" if number % 500 == 7 else "often"
    start = RunStarted(workflow=workflow, definition="d")
    yield Append(subjects.fact(place, run, "client"), encode(start), f"{run}:start", expect_last=0)
    yield Append(subjects.fact(place, run, "worker"), b"{}")
    status = STATES.get(number % 4)
    if status == "cancelled":
        yield Append(
            subjects.fact(place, run, "client"), encode(CancelRequested()), f"{run}:cancel"
        )
    if status:
        error = StepError("it broke\nbadly") if status == "failed" else None
        mark = ClosedMark(
            status=status, workflow=workflow, error=error, started_ms=1, closed_ms=1_501
        )
        yield Append(subjects.mark(place, run, "closed"), encode(mark), f"{run}:closed")


async def fill(url):
    """Write the log that 2,500 runs leave; when the last hundred began."""
    outside = await JetStream.open(url)
    batch = [each for number in range(RUNS - 100) for each in messages_of(outside, number)]
    await outside.log.append(batch)
    [last] = await outside.log.history(f"run-{RUNS - 101:08d}", 0) and [
        await outside.log.last(batch[-1].subject)
    ]
    since = last.at_ms + 1
    while time.time_ns() // 1_000_000 <= since:
        continue
    await outside.log.append(
        [each for number in range(RUNS - 100, RUNS) for each in messages_of(outside, number)]
    )
    await outside.close()
    return since


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The command line at a server with 2,500 runs, and when the last hundred began."""
    broker = Broker().start()
    try:
        since = asyncio.run(fill(broker.url))
        yield command(broker.url, tmp_path_factory.mktemp("many")), since
    finally:
        broker.remove()


def ids(listing):
    """The numbers of the runs of a list."""
    return [int(row["run_id"].removeprefix("run-")) for row in listing["runs"]]


def test_the_newest_runs_of_all(many):
    """The default is the newest 50 in global order; total and truncated are true."""
    cli, _ = many
    listing = cli("run", "list", "--json").json

    assert ids(listing) == list(reversed(range(RUNS - 50, RUNS)))
    assert {key: listing[key] for key in ("total", "returned", "truncated")} == {
        "total": RUNS, "returned": 50, "truncated": True,
    }  # fmt: skip


def test_all_runs_at_once(many):
    """A limit above the number gives all, and nothing is left out."""
    cli, _ = many
    listing = cli("run", "list", "--limit", "10000", "--json").json

    assert ids(listing) == list(reversed(range(RUNS)))
    assert (listing["total"], listing["truncated"]) == (RUNS, False)


@pytest.mark.parametrize("option", ["--status", "--state"])
@pytest.mark.parametrize("state", ["running", "completed", "failed", "cancelled"])
def test_filter_by_state(many, option, state):
    """Both spellings; the total counts what matches."""
    cli, _ = many
    listing = cli("run", "list", option, state, "--limit", "10", "--json").json
    remainder = {"completed": 0, "failed": 1, "cancelled": 2, "running": 3}[state]

    assert {row["status"] for row in listing["runs"]} == {state}
    assert (
        ids(listing) == [number for number in reversed(range(RUNS)) if number % 4 == remainder][:10]
    )
    assert (listing["total"], listing["truncated"]) == (RUNS // 4, True)


def test_filter_by_workflow_and_since(many):
    """A rare workflow is found however far back; since cuts by the log's time."""
    cli, since = many
    rare = cli("run", "list", "--workflow", "rare", "--json").json
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since / 1000)) + f".{since % 1000:03d}Z"
    recent = cli("run", "list", "--since", when, "--limit", "1000", "--json").json

    assert ids(rare) == [2007, 1507, 1007, 507, 7]
    assert (rare["total"], rare["truncated"]) == (5, False)
    assert ids(recent) == list(reversed(range(RUNS - 100, RUNS)))
    assert recent["total"] == 100
    assert cli("run", "list", "--since", "1h", "--json").json["total"] == RUNS


def test_counts(many):
    """By state, and with filters."""
    cli, _ = many

    assert cli("run", "count", "--json").json == {
        "total": RUNS, "running": 625, "completed": 625, "failed": 625, "cancelled": 625,
        "compensated": 0, "compensate_failed": 0, "continued": 0, "budget_exceeded": 0,
    }  # fmt: skip
    assert cli("run", "count", "--workflow", "rare", "--json").json["total"] == 5
    assert cli("run", "count", "--status", "failed").out.strip() == "625 runs: 625 failed"


def test_the_table_says_what_is_left_out(many):
    """For people: one line each, errors on one line, a footer when there are more."""
    cli, _ = many
    said = cli("run", "list", "--limit", "8")

    assert len(said.out.splitlines()) == 9
    assert "it broke" in said.out
    assert "badly" not in said.out
    assert f"8 of {RUNS}" in said.line
    assert cli("run", "list", "--workflow", "rare").err == ""


def test_a_prefix_among_many(many):
    """Unique, or not: eight characters are looked for among all runs."""
    cli, _ = many
    several = cli("run", "output", "run-0000")

    assert several.code == 1
    assert f"{RUNS} runs begin with" in several.line
    assert cli("run", "output", "run-00000008").json is None


def test_mistakes_in_filters(many):
    """Unknown state, limits out of bounds, a time that is none: exit code 2, and what is allowed."""
    cli, _ = many

    for arguments, word in (
        (["--status", "done"], "completed"),
        (["--limit", "0"], "10000"),
        (["--limit", "10001"], "10000"),
        (["--limit", "many"], "integer"),
        (["--since", "yesterday"], "1h"),
    ):
        said = cli("run", "list", *arguments)

        assert said.code == 2
        assert word in said.err


def test_an_empty_system(broker, tmp_path):
    """No runs, no workflows: empty lists and zeros, not errors; ``--last`` says that there are none."""

    async def prepare():
        await (await JetStream.open(broker.url)).close()

    asyncio.run(prepare())
    cli = command(broker.url, tmp_path)

    assert cli("run", "list", "--json").json == {
        "runs": [],
        "total": 0,
        "returned": 0,
        "truncated": False,
    }
    assert cli("run", "count", "--json").json["total"] == 0
    assert cli("workflow", "list", "--json").json == {"workflows": [], "total": 0}
    assert cli("run", "list").code == 0
    assert "run start" in cli("run", "status", "--last").line
    assert json.loads(cli("run", "status", "--last", "--json").err)["kind"] == "RunNotFound"


def test_a_server_that_dagnats_never_used(broker, tmp_path):
    """One line that says what to start."""
    said = command(broker.url, tmp_path)("run", "list")

    assert said.code == 1
    assert "dagnats serve" in said.line
