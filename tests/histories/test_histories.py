"""Golden logs are replayed for ever: what was true of them when they were recorded is true today."""

from __future__ import annotations

import pytest

from dagnats.core.state import CLOSED
from tests.support.histories import FOLDER, SCRIPTS, read, replayed

FILES = sorted(FOLDER.glob("*.jsonl"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_history_replays(path):
    """The same definition and facts give the same commands after each fact and the same run."""
    lines = read(path)

    assert replayed(lines) == lines


def test_every_script_is_recorded():
    """Each script has its history: run ``python -m tests.support.histories record``."""
    assert {script.__name__ for script in SCRIPTS} <= {path.stem for path in FILES}


def test_histories_say_what_they_are_about():
    """A history begins with a sentence, closes its run, and has a fact for each line between."""
    for path in FILES:
        first, *facts, last = read(path)
        assert first["about"]
        assert last["summary"]["status"] in CLOSED, path.name
        assert [fact["seq"] for fact in facts] == list(range(1, len(facts) + 1))
