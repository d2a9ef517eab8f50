"""Golden logs of triggers and scheduled starts fold for ever to what they folded to when they were recorded."""

from __future__ import annotations

import pytest

from tests.support.entity_histories import FOLDER, SCRIPTS, read, replayed

FILES = sorted(FOLDER.glob("*.jsonl"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_history_replays(path):
    """The same facts give the same commands after each of them, and the same state."""
    lines = read(path)

    assert replayed(path.stem, lines) == lines


def test_every_script_is_recorded():
    """Each script has its history: run ``python -m tests.support.entity_histories record``."""
    assert {script.__name__ for script in SCRIPTS} == {path.stem for path in FILES}
