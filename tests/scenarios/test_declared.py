"""The declarative file: read as a whole, applied as a whole, again whenever it changes; a wrong one changes nothing."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from dagnats.client import Client
from dagnats.core.definition import read_workflow
from dagnats.core.triggers.model import Batch, Cron, Debounce, Trigger
from dagnats.declared import apply_declared, find_declared, read_declared
from dagnats.errors import DefinitionError, RequestError
from dagnats.jetstream.outside import JetStream
from tests.support.deployment import eventually, holds_for, program

TOML = """
concurrency = 3   # a setting, and none of ours

[[workflows]]
name = "report"
steps = [{ id = "s", task = "note", retry = { max_attempts = 2 } }]
triggers = [{ id = "nightly", cron = { expression = "0 3 * * *", timezone = "Europe/Berlin" } }]

[[triggers]]
id = "paid"
workflow_id = "report"
event = "order.paid"
filter = "amount > 100"
debounce = { period = "5s", timeout = "1m", key = "order.id" }

[policy.control_plane]
grant = ["report"]
"""
YAML = """
workflows:
  - name: report
    timeout: 1h
    steps:
      - {id: a, task: note}
      - {id: b, task: note, depends_on: [a], skip_if: {step_id: a, field: x, op: "==", value: 1}}
triggers:
  - {id: every, workflow_id: report, cron: "@every 1h", overlap: skip}
  - {id: used, workflow_id: report, event: used, batch: {max_size: 100, timeout: 5s}}
"""


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("dagnats.toml", "[[workflows]]\nname = 'w'\n", 'workflows[0] "w": '),
        ("dagnats.toml", "[[triggers]]\nid = 't'\nworkflow_id = 'w'\ncron = '* * *'\n", "has 3 fields"),
        ("dagnats.toml", "[[triggers]]\nid = 't'\n", "says not what it waits for"),
        ("dagnats.toml", "[[triggers]]\nworkflow_id = 'w'\nevent = 'e'\ndebounce = '8d'\n", "192h is too long"),
        ("dagnats.toml", "[policy.control_plane]\npromote = ['x']\n", '"x" may promote'),
        ("dagnats.toml", "[[workflows]\n", "dagnats.toml cannot be read"),
        ("dagnats.yaml", "workflow: []\n", 'did you mean "workflows"?'),
        ("dagnats.yaml", "a: [1\n", "dagnats.yaml cannot be read"),
        ("dagnats.yaml", "workflows: &a []\ntriggers: *a\n", "has an alias (*a)"),
        ("dagnats.yaml", "- 1\n", "is no table"),
        ("dagnats.yaml", "x: " + "1" * 1_100_000, "at most 1 MB"),
        ("dagnats.yaml", "triggers:\n  - on: {cron: '@daily'}\n", "the key on, yes or true is no string"),
        ("dagnats.yaml", "triggers: [{null: 1}]\n", "the key null is no string"),
        ("dagnats.yaml", "triggers: [{1: 1}]\n", "the key 1 is no string"),
        ("dagnats.yaml", "at: 2026-02-30\n", "dagnats.yaml cannot be read"),
        ("dagnats.yaml", "x: " + "1" * 5_000, "dagnats.yaml cannot be read"),
        ("dagnats.toml", "x = " + "1" * 5_000, "dagnats.toml cannot be read"),
        ("dagnats.yaml", 'x: "\\ud800"\n', "dagnats.yaml cannot be read"),
        ("dagnats.yaml", "x: " + "[" * 3_000, "dagnats.yaml cannot be read"),
        ("dagnats.toml", "x = " + "[" * 3_000, "dagnats.toml cannot be read"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, name, text, words):
    """Each problem in one line."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DefinitionError) as told:
        read_declared(path)

    assert words in told.value.message


def test_toml_and_yaml_are_read(tmp_path: Path):
    """With all of the model; settings alone declare nothing."""
    toml, yaml = tmp_path / "dagnats.toml", tmp_path / "dagnats.yaml"
    toml.write_text("concurrency = 3\n")

    assert find_declared(tmp_path) is None

    toml.write_text(TOML)

    assert find_declared(tmp_path) == toml

    found = read_declared(toml)

    assert [w.name for w in found.workflows] == ["report"]
    assert found.workflows[0].steps[0].retry.attempts == 3
    assert [t.id for t in found.triggers] == ["nightly", "paid"]
    assert found.triggers[1].hold == Debounce(5_000, 60_000, "order.id")
    assert found.policy.grant == ("report",)

    yaml.write_text(YAML)

    assert find_declared(tmp_path) == yaml

    found = read_declared(yaml)

    assert found.workflows[0].steps[1].skip_if.value == 1
    assert found.triggers[0].overlap == "skip"
    assert found.triggers[1].hold == Batch(100, 5_000)


async def test_it_is_judged_whole_before_anything_changes(broker, tmp_path: Path):
    """A trigger that another keeps, or of an unknown workflow: not even the workflows are registered."""
    outside = await JetStream.open(broker.url, name="test")
    client, path = Client(outside), tmp_path / "dagnats.toml"
    try:
        path.write_text(TOML)
        assert await apply_declared(client, path) == [
            "workflow report", "trigger nightly", "trigger paid", "policy",
        ]  # fmt: skip
        assert await apply_declared(client, path) == []

        await client.set_trigger(Trigger(id="mine", workflow="report", on=Cron("@daily")))
        for wrong, words in (
            ("id = 'mine'\nworkflow_id = 'report'", "is kept by the command line"),
            ("id = 'x'\nworkflow_id = 'nothing'", 'no workflow "nothing" is registered'),
        ):
            path.write_text(
                "[[workflows]]\nname = 'new'\nsteps = [{ id = 's', task = 'note' }]\n"
                f"[[triggers]]\n{wrong}\nevent = 'e'\n"
            )
            with pytest.raises(RequestError, match=words):
                await apply_declared(client, path)

        path.write_text(
            "[[workflows]]\nname = 'new'\nsingleton = {mode = 'skip'}\n"
            "steps = [{ id = 's', task = 'note' }]\n[[triggers]]\nid = 'x'\nworkflow_id = 'new'\n"
            "event = 'e'\nbatch = { max_size = 5, timeout = '1s' }\n"
        )
        with pytest.raises(DefinitionError, match=r"batch and singleton .* contradict"):
            await apply_declared(client, path)

        assert await client.registry.current("new") is None
        assert [each.id for each in await client.triggers()] == ["mine", "nightly", "paid"]
    finally:
        await outside.close()


async def test_a_scheduler_follows_it(broker, tmp_path: Path):
    """Changes count when the file is saved; a wrong file keeps all as it was, and says why; what is gone is deleted."""
    path, said = tmp_path / "dagnats.toml", tmp_path / "log"
    path.write_text(TOML)
    with program(broker, "scheduler", "--config", str(path), output=said):
        await eventually(lambda: " ready: " in said.read_text(), 20)
        outside = await JetStream.open(broker.url, name="test")
        client = Client(outside)
        try:

            async def ids() -> list[str]:
                return [each.id for each in await client.triggers()]

            async def both() -> bool:
                return await ids() == ["nightly", "paid"]

            await eventually(both)
            path.write_text(TOML.replace('filter = "amount > 100"', 'filter = "amount >"'))
            await eventually(lambda: "is not applied, all stays as it was" in said.read_text())

            assert "filter: the filter cannot be read at its end" in said.read_text()
            assert await both()

            path.write_text(TOML.replace('filter = "amount > 100"', 'filter = "amount > 200"'))

            async def changed() -> bool:
                return (await client.trigger("paid")).filter == "amount > 200"

            await eventually(changed)
            path.write_text("concurrency = 3\n")

            async def none() -> bool:
                return await ids() == []

            await eventually(none)

            assert await client.registry.current("report") is not None
            path.unlink()
            await holds_for(1, none)
        finally:
            await outside.close()


async def test_a_file_waits_for_what_workers_bring(broker, tmp_path: Path):
    """A trigger of a workflow that no worker has registered yet comes with it; until then it is said once."""
    path, said = tmp_path / "dagnats.toml", tmp_path / "log"
    path.write_text('[[triggers]]\nid = "t"\nworkflow_id = "later"\ncron = "0 3 * * *"\n')
    with program(broker, "scheduler", "--config", str(path), output=said):
        await eventually(lambda: "dagnats.toml waits" in said.read_text(), 20)
        outside = await JetStream.open(broker.url, name="test")
        client = Client(outside)
        try:
            await client.register(
                read_workflow({"name": "later", "steps": [{"id": "a", "task": "x"}]})[0]
            )

            async def there() -> bool:
                return [each.id for each in await client.triggers()] == ["t"]

            await eventually(there)
            assert said.read_text().count("dagnats.toml waits") == 1
        finally:
            await outside.close()


async def test_a_file_that_comes_later(broker, tmp_path: Path):
    """A scheduler notices it in its directory; one that is emptied, as by an editor that writes it, changes nothing."""
    path, said = tmp_path / "dagnats.toml", tmp_path / "log"
    with program(broker, "scheduler", output=said, directory=tmp_path):
        await eventually(lambda: " ready: " in said.read_text(), 20)
        outside = await JetStream.open(broker.url, name="test")
        client = Client(outside)
        try:

            async def both() -> bool:
                return [each.id for each in await client.triggers()] == ["nightly", "paid"]

            path.write_text(TOML)
            await eventually(both)
            path.write_text("\n")
            await holds_for(3, both)
        finally:
            await outside.close()


def test_both_forms_say_the_same(tmp_path: Path):
    """JSON is YAML: what one file says can be written in the other form."""
    yaml, toml = tmp_path / "dagnats.yaml", tmp_path / "dagnats.toml"
    toml.write_text(TOML.replace("concurrency = 3", ""))
    yaml.write_bytes(msgspec.json.format(msgspec.json.encode(tomllib.loads(toml.read_text()))))

    assert read_declared(yaml) == read_declared(toml)
