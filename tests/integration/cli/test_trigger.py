"""`dagnats trigger`, and triggers in workflow files."""

import json

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
