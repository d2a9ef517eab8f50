"""`dagnats trigger`, and triggers in workflow files."""

import json
import time

FILE = {
    "name": "file-flow",
    "steps": [{"id": "s", "task": "double"}],
    "triggers": [
        {"cron": {"expression": "0 9 * * 1-5", "timezone": "Europe/Berlin"}, "overlap": "skip"},
        {"id": "in", "webhook": {"path": "in", "secret": "hush"}, "input": {"$input": "data"}},
    ],
}


def test_a_trigger_from_its_creation_to_its_end(cli, tmp_path):
    """Create, list, update, disable, fire, history, delete; each as JSON and as text."""
    (tmp_path / "flow.json").write_text(json.dumps({**FILE, "name": "plain", "triggers": []}))
    cli("workflow", "register", "flow.json")
    made = cli(
        "trigger", "create", "plain", "--id", "nightly", "--cron", "0 3 * * *", "--json"
    ).json

    assert made["id"] == "nightly"
    assert made["on"] == {"expression": "0 3 * * *"}

    assert "exists" in cli("trigger", "create", "plain", "--id", "nightly", "--event", "e").line

    changed = cli("trigger", "update", "nightly", "--tz", "Asia/Tokyo", "--overlap", "queue")

    assert changed.out == "updated trigger nightly: cron 0 3 * * * (Asia/Tokyo) → plain\n"

    [row] = [t for t in cli("trigger", "list", "--json").json["triggers"] if t["id"] == "nightly"]

    assert (row["overlap"], row["enabled"], row["on"]["timezone"]) == ("queue", True, "Asia/Tokyo")
    assert "nightly" in cli("trigger", "list").out

    fired = cli("trigger", "fire", "nightly", '"x"', "--json").json
    [past] = cli("trigger", "history", "nightly", "--json").json["fires"]

    assert past["run_id"] == fired["run_id"]
    assert past["source"] == "manual"

    assert cli("trigger", "disable", "nightly").out == "trigger nightly is disabled\n"
    assert "is disabled" in cli("trigger", "fire", "nightly").line
    assert cli("trigger", "enable", "nightly", "--json").json["changed"] is True
    assert cli("trigger", "delete", "nightly").out == "deleted trigger nightly\n"
    assert 'no trigger "nightly"' in cli("trigger", "history", "nothing-nightly").line.replace(
        "nothing-", ""
    )


def test_a_files_triggers_are_kept_by_it(cli, tmp_path):
    """Registering defines them, showing shows them, registering without one deletes it; operators' pauses stay."""
    path = tmp_path / "kept.json"
    path.write_text(json.dumps(FILE))
    said = cli("workflow", "register", "kept.json")

    assert "triggers set: file-flow-1, in" in said.out

    shown = cli("workflow", "show", "file-flow", "--json")
    path.write_text(shown.out)

    assert [each["id"] for each in shown.json["triggers"]] == ["file-flow-1", "in"]
    assert "triggers set" not in cli("workflow", "register", "kept.json").out

    cli("trigger", "disable", "in")
    path.write_text(json.dumps({**FILE, "triggers": FILE["triggers"][1:]}))
    cli("workflow", "register", "kept.json")
    rows = {each["id"]: each for each in cli("trigger", "list", "--json").json["triggers"]}

    assert "file-flow-1" not in rows
    assert rows["in"]["enabled"] is False
    assert rows["in"]["on"]["secret"] == "(set)"

    refused = cli("trigger", "delete", "in")

    assert refused.code == 2
    assert "is kept by file:file-flow" in refused.line

    refused = cli("workflow", "delete", "file-flow")

    assert refused.code == 2
    assert "is started by triggers in" in refused.line

    cli("workflow", "delete", "file-flow", "--force")

    assert "in" not in {each["id"] for each in cli("trigger", "list", "--json").json["triggers"]}


def test_a_preview_needs_no_server(cli):
    """The next instants; a bad expression, or a bad zone, names its field."""
    told = cli("trigger", "test", "0 9 1 * 1", "--count", "3", "--json", DAGNATS_URL="nats://x")

    assert len(told.json["next"]) == 3
    assert "expression:" in cli("trigger", "test", "0 9 * * * *").line
    assert "timezone:" in cli("trigger", "test", "@daily", "--tz", "Mars").line


def test_contradictory_options_are_refused(cli):
    """With both names, before anything is asked."""
    for options, words in (
        (("--cron", "@daily", "--event", "e"), "both cron and event"),
        (("--event", "e", "--tz", "UTC"), "--tz and --backfill belong to --cron"),
        (("--cron", "@daily", "--filter", "a"), "cron and filter contradict"),
        ((), "says not what it waits for"),
    ):
        said = cli("trigger", "create", "nothing", "--id", "t", *options)

        assert said.code != 0
        assert words in said.err


def awaited(cli, words, *arguments):
    """What the command line says, once it has these words: the scheduler is another process."""
    for _ in range(100):
        if words in (said := cli(*arguments).out):
            return said
        time.sleep(0.1)
    raise AssertionError(f"{words!r} did not come: {said}")


def test_events_held_back(cli, tmp_path):
    """Create with --debounce, look at what is held, change it to batches and off; the history says how many."""
    (tmp_path / "flow.json").write_text(json.dumps({**FILE, "name": "held", "triggers": []}))
    cli("workflow", "register", "flow.json")
    made = cli(
        "trigger", "create", "held", "--id", "h", "--webhook", "in-h", "--debounce", "10m", "--timeout", "1h",
        "--key", "id",
    )  # fmt: skip

    assert made.out == "created trigger h: webhook in-h, debounced 10m within 1h by id → held\n"
    assert cli("trigger", "show", "h").out.endswith("holds nothing\n")

    assert "trigger h holds it" in cli("trigger", "fire", "h", '{"id": "abc"}').out
    cli("trigger", "fire", "h", '{"id": "abc"}')
    shown = awaited(cli, "holds 2 events", "trigger", "show", "h")

    assert "abc" in shown
    assert "enabled, holds 2" in cli("trigger", "list").out
    held = cli("trigger", "show", "h", "--json").json["held"]
    assert (held["events"], held["keys"], held["first"][0]["events"]) == (2, 1, 2)

    changed = cli("trigger", "update", "h", "--key", "tenant")  # what was held by id is let go

    assert (
        changed.out == "updated trigger h: webhook in-h, debounced 10m within 1h by tenant → held\n"
    )

    assert "manual" in awaited(cli, "2 of abc", "trigger", "history", "h")

    batches = cli("trigger", "update", "h", "--batch", "50", "--timeout", "1m")

    assert batches.out == "updated trigger h: webhook in-h, batches of 50 within 1m → held\n"
    assert (
        cli("trigger", "update", "h", "--batch", "off").out
        == "updated trigger h: webhook in-h → held\n"
    )
    assert cli("trigger", "show", "h").out == "h (enabled): webhook in-h → held\n"


def test_mistakes_of_events_held_back(cli):
    """One line each."""
    for options, words in (
        (("--debounce", "1s", "--batch", "5"), "--debounce and --batch contradict"),
        (("--key", "id"), "--timeout and --key belong to --debounce or --batch"),
        (("--batch", "many"), '--batch: "many" is no whole number'),
        (("--batch", "5000", "--timeout", "1s"), "5000 is out of bounds; use 1 … 1000"),
        (("--batch", "5"), "batch.timeout: is missing"),
        (("--debounce", "soon"), "'soon' is not a duration"),
        (("--debounce", "5s", "--timeout", "1s"), "timeout 1s is shorter than period 5s"),
        (("--debounce", "5s", "--overlap", "skip"), "debounce and overlap=skip contradict"),
    ):
        said = cli("trigger", "create", "plain", "--event", "e", *options).err

        assert words in said
        assert len(said.replace("\n\n", "\n").strip().splitlines()) in {1, 3}  # with how it is used


def test_a_rehearsal_of_events(cli):
    """When runs would start, without a server."""
    times = ("--events", "0s,0.5s,1.2s,9s")
    said = cli("trigger", "test", "--debounce", "1s", "--timeout", "3s", *times)

    assert said.out.split("\n")[:2] == [
        " 2s200ms  a run with event 3",
        "     10s  a run with event 4",
    ]

    runs = cli("trigger", "test", "--batch", "2", "--timeout", "1s", *times, "--json").json["runs"]

    assert runs == [
        {"at": "500ms", "events": [1, 2]}, {"at": "2s200ms", "events": [3]}, {"at": "10s", "events": [4]},
    ]  # fmt: skip
    assert "belong together" in cli("trigger", "test", "--debounce", "1s").err
