"""DagNats' own log: its lines, and that nobody else's log is touched."""

from __future__ import annotations

import json
import logging

import pytest

from dagnats.cli.logs import JsonLines, People, setup_log
from dagnats.errors import DefinitionError


@pytest.fixture
def logger():
    """The logger ``dagnats`` as it was, afterwards."""
    ours = logging.getLogger("dagnats")
    before = (ours.handlers[:], ours.level, ours.propagate)
    yield ours
    ours.handlers[:], ours.propagate = before[0], before[2]
    ours.setLevel(before[1])


def record(**ids: object) -> logging.LogRecord:
    """A warning of the worker about a run."""
    made = logging.LogRecord("dagnats.worker", logging.WARNING, "f.py", 1, "lost %s", ("it",), None)
    made.__dict__.update(ids)
    return made


def test_people_read_one_line_with_ids():
    """Level, logger, message, and which run and step it is about."""
    line = People().format(record(run_id="r1", step_id="fetch", attempt=2))

    assert line[9:] == "WARNING worker     lost it (run r1, step fetch, attempt 2)"


def test_people_are_spared_ids_that_are_not_there():
    """Without ids there are no brackets, and without a terminal no colours."""
    assert People().format(record()).endswith("lost it")
    assert "\x1b" not in People().format(record())
    assert "\x1b" in People(colours=True).format(record())


def test_programs_read_json():
    """One object a line, with the ids under their names."""
    line = json.loads(JsonLines().format(record(run_id="r1")))

    assert line["level"] == "warning"
    assert line["logger"] == "dagnats.worker"
    assert line["message"] == "lost it"
    assert line["run_id"] == "r1"
    assert "step_id" not in line


def test_a_trace_is_kept():
    """An exception is part of the line in both forms."""
    made = record()
    try:
        raise ValueError("deep")
    except ValueError as problem:
        made.exc_info = (type(problem), problem, problem.__traceback__)

    assert "ValueError: deep" in People().format(made)
    assert "ValueError: deep" in json.loads(JsonLines().format(made))["trace"]


def test_only_our_logger_is_touched(logger):
    """The root logger stays as it is, and setting up twice does not print twice."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)

    setup_log("debug")
    setup_log("warning", as_json=True)

    assert (root.handlers, root.level) == before
    [handler] = logger.handlers
    assert isinstance(handler.formatter, JsonLines)
    assert logger.level == logging.WARNING


def test_a_level_that_does_not_exist_is_refused():
    """The message lists those there are."""
    with pytest.raises(DefinitionError, match="'loud'; levels: debug, info"):
        setup_log("loud")
