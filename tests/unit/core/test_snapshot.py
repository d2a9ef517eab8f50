"""A saved fold."""

from __future__ import annotations

import msgspec
import pytest

from dagnats.core import snapshot
from dagnats.core.events import StepSucceeded
from dagnats.core.machine import new_run
from tests.support.builders import Story, a_graph, a_loop, a_step, retries


def busy() -> Story:
    """A run with something of everything in it."""
    story = Story(
        a_loop("a", max_duration_ms=5_000),
        a_step("b", retry=retries(2), on_failure="h"),
        a_step("h"),
        a_step("c", "a", "b"),
        timeout_ms=60_000,
        value={"x": 1},
    )
    return story.carry_on("a", {"turn": 1}).fail("b", "busy", traceback="…")


def test_a_run_comes_back():
    """What was saved is restored, with its graph."""
    story = busy()
    saved = snapshot.read(snapshot.save(story.run))

    assert snapshot.restore(saved, story.graph) == story.run


def test_a_run_goes_on():
    """The restored run takes the next facts like the one that was saved."""
    story = busy()
    restored = snapshot.restore(snapshot.read(snapshot.save(story.run)), story.graph)
    story.fire().succeed("a").succeed("b").succeed("c", [1])
    again = busy()
    again.run = restored
    again.fire().succeed("a").succeed("b").succeed("c", [1])

    assert again.run == story.run
    assert again.run.status == "completed"


def test_a_run_before_its_start():
    """A run without any fact can be saved too."""
    graph = a_graph("a")
    run = new_run("r1", graph)

    assert snapshot.restore(snapshot.read(snapshot.save(run)), graph) == run


def test_it_is_small():
    """What has its default is left out."""
    data = msgspec.json.decode(snapshot.save(Story("a").run))

    assert data["steps"] == [
        {
            "status": "queued",
            "attempt": 1,
            "since_ms": data["started_ms"],
            "began_ms": data["started_ms"],
        }
    ]
    assert "output" not in data


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"version":1}', b"[" * 100_000])
def test_bytes_that_are_none(data):
    """What cannot be read is no snapshot."""
    assert snapshot.read(data) is None


def test_another_version():
    """A snapshot of a version to come is not read."""
    data = msgspec.json.decode(snapshot.save(Story("a").run)) | {"version": snapshot.VERSION + 1}

    assert snapshot.read(msgspec.json.encode(data)) is None


def test_another_graph():
    """A snapshot that does not fit, or has no graph to fit, is left: the log knows better."""
    saved = snapshot.read(snapshot.save(Story("a").run))

    assert snapshot.restore(saved, a_graph("a", "b")) is None
    assert snapshot.restore(saved, None) is None


def test_whom_a_sticky_run_is_bound_to_is_kept():
    """A saved run goes on at its worker."""
    story = Story("a", a_step("b", "a"), sticky="soft")
    story.tell(StepSucceeded(ticket="a/1/0", worker="x"))
    saved = snapshot.read(snapshot.save(story.run))

    assert snapshot.restore(saved, story.graph).worker == "x"
