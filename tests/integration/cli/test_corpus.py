"""Every file of the corpus through ``dagnats workflow validate`` and ``register``, which agree."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from dagnats.cli.main import main
from dagnats.core.definition import encode_workflow, read_workflow, write_workflow
from dagnats.core.kinds import FILE_NAMES
from tests.integration.cli.conftest import ROOT, Command, Said
from tests.support.broker import Broker

CORPUS = ROOT / "tests/corpus"
GOOD = sorted([*CORPUS.glob("good/*.json"), *ROOT.glob("examples/**/*.json")])
BAD = sorted(CORPUS.glob("bad/*.json"))


@pytest.fixture
def quick(site: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line without a process for each command: there are hundreds, and Python takes its time to start."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("DAGNATS_")]:
        monkeypatch.delenv(name)

    def call(*arguments: str) -> Said:
        ended = CliRunner(env={"DAGNATS_URL": site.url}).invoke(main, arguments)
        return Said(ended.exit_code, ended.stdout, ended.stderr)

    return call


def named(path: Path) -> str:
    """How a test of a file is called."""
    return f"{path.parent.name}/{path.stem}"


def test_the_corpus_is_there():
    """Enough of both, each bad one with what is to be said, and every type and spelling among the good."""
    written = "".join(path.read_text(encoding="utf-8") for path in GOOD)

    assert len(GOOD) >= 12
    assert len(BAD) >= 20
    assert [path for path in BAD if not path.with_suffix(".txt").exists()] == []
    assert [name for name in FILE_NAMES if f'"type": "{name}"' not in written] == ["task"]
    assert '"loop": {' in written
    assert '"config": {' in written


@pytest.mark.parametrize("path", GOOD, ids=named)
def test_good_files_register_and_come_back(quick: Command, file, path: Path):
    """Valid, registered, shown as a file of the same content, which registers as what it was."""
    said = quick("workflow", "validate", str(path))
    assert (said.code, said.err) == (0, "")
    registered = quick("workflow", "register", str(path), "--json")
    assert registered.code == 0, registered.err

    parsed, problems = read_workflow(json.loads(path.read_text(encoding="utf-8")))
    assert parsed is not None
    assert not problems
    shown = quick("workflow", "show", parsed.name, "--json").json
    assert shown == json.loads(encode_workflow(parsed)[1]) == write_workflow(parsed)
    assert read_workflow(shown) == (parsed, [])
    again = quick("workflow", "register", file(shown), "--json").json
    assert (again["definition"], again["changed"]) == (registered.json["definition"], False)


@pytest.mark.parametrize("path", GOOD, ids=named)
def test_good_files_are_drawn(quick: Command, path: Path):
    """Each step has its line in the tree and its node in Mermaid, whatever its type."""
    parsed, _ = read_workflow(json.loads(path.read_text(encoding="utf-8")))
    assert parsed is not None
    tree = quick("workflow", "graph", str(path))
    mermaid = quick("workflow", "graph", str(path), "--mermaid")

    assert tree.code == mermaid.code == 0, tree.err + mermaid.err
    for number, step in enumerate(parsed.steps):
        assert step.id in tree.out
        assert f"    s{number}" in mermaid.out


@pytest.mark.parametrize("path", BAD, ids=named)
def test_bad_files_are_refused_with_place_and_cure(quick: Command, path: Path):
    """Both commands refuse it in the same words, which are those beside it."""
    validated = quick("workflow", "validate", str(path))
    registered = quick("workflow", "register", str(path))
    expected = path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()

    assert (validated.code, registered.code) == (1, 1)
    assert validated.err == registered.err
    for line in expected:
        assert line in validated.err
    told = [line for line in validated.err.splitlines() if line.startswith("  ")]
    assert len(told) in (len(expected), 0)
    assert validated.out == registered.out == ""
