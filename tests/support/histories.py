"""Golden logs: what happened to a run as it is on the wire, and what came of it, kept for ever.

A history is a file of JSON lines: the definition; each fact with its place, its author and the ids of
what it commanded; and the run as people see it at the end. ``python -m tests.support.histories record``
writes those that are not there yet from the scripts below. One that is there is only written again when
it is named, which says that its meaning was changed on purpose.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from dagnats.core.commands import Command
from dagnats.core.definition import read_workflow, write_workflow
from dagnats.core.events import AUTHORS, Event
from dagnats.core.graph import compile_graph
from dagnats.core.machine import advance, new_run
from dagnats.core.model import Condition
from dagnats.core.run import Run
from dagnats.core.views import view_run
from dagnats.wire import subjects
from dagnats.wire.codec import decode_fact, encode
from tests.support.builders import Story, a_loop, a_step, retries
from tests.support.kind_histories import KIND_SCRIPTS

FOLDER = Path(__file__).parents[1] / "histories"
Lines = list[dict[str, Any]]


# -- scripts ---------------------------------------------------------------------------------------


def task_chain() -> Story:
    """Three tasks, one after the other."""
    return (
        Story("a", "b", "c", value={"n": 1}).succeed("a", 1).wait(5).succeed("b", 2).succeed("c", 3)
    )


def fan_out_join() -> Story:
    """Three tasks at once, joined by one that is given all their outputs."""
    steps = [a_step(name, "split") for name in ("x", "y", "z")]
    story = Story("split", *steps, a_step("join", "x", "y", "z")).succeed("split", [1, 2, 3])
    return story.succeed("z", "Z").succeed("x", "X").succeed("y", "Y").succeed("join", "XYZ")


def agent_loop() -> Story:
    """An agent loop of three iterations with a delay, one of them retried."""
    story = Story(a_loop("think", most=5, loop_delay_ms=50, retry=retries(1)))
    story.carry_on("think", {"turn": 1}).fire().fail("think", "model overloaded").fire()
    return story.carry_on("think", {"turn": 2}).fire().wait(9).succeed("think", "answer")


def loop_iterations() -> Story:
    """A loop that asks for one iteration too many."""
    return Story(a_loop("think", most=2)).carry_on("think", 1).carry_on("think", 2)


def loop_duration() -> Story:
    """A loop whose time is over while a worker is at it; its answer comes too late."""
    story = Story(a_loop("think", most=99, max_duration_ms=1_000)).wait(300).carry_on("think", 1)
    ticket = story.ticket("think")
    story.fire()
    return story.tell(decode("worker", {"type": "step.succeeded", "ticket": ticket}))


def retries_exhausted() -> Story:
    """Exponential back-off with jitter until no attempt is left."""
    policy = retries(2, strategy="exponential", initial_ms=100, multiplier=3.0, jitter=0.2)
    story = Story(a_step("a", retry=policy), a_step("b", "a"))
    return story.fail("a", "one").fire().fail("a", "two").fire().fail("a", "three")


def retry_after() -> Story:
    """A handler that says itself when to try again."""
    story = Story(a_step("a", retry=retries(3)))
    story.fail("a", "429", failure="retry_after", retry_after_ms=2_500).fire()
    story.fail("a", "429", failure="retry_after", retry_after_ms=1).fire()
    return story.succeed("a", "ok")


def non_retriable() -> Story:
    """A failure that no retry can help, while another step is running."""
    story = Story(a_step("a", retry=retries(9)), a_step("b"))
    return story.fail("a", "bad request", failure="non_retriable", error_type="ValueError")


def step_timeout() -> Story:
    """An attempt that took too long and whose worker then was lost; the third attempt succeeds."""
    story = Story(a_step("a", timeout_ms=500), default_retry=retries(2, initial_ms=40)).wait(500)
    story.fail("a", "took longer than 500ms", failure="timeout").fire()
    return story.fail("a", "its workers kept dying", failure="worker_lost").fire().succeed("a")


def skips() -> Story:
    """``skip_if`` and ``when``; what is below a skipped step runs."""
    steps = [
        a_step("b", "a", skip_if=Condition("a", "score", ">=", 0.5)),
        a_step("c", "a", when=Condition("a", "label", "==", "spam")),
        a_step("d", "b"),
    ]
    return Story("a", *steps).succeed("a", {"score": 0.75, "label": "ham"}).succeed("d", "end")


def cancelled() -> Story:
    """A cancel while one step runs, one waits for its retry and one for its parent."""
    story = Story(a_step("a"), a_step("b", retry=retries(1)), a_step("c", "a")).fail("b", "busy")
    story.wait(10).cancel("changed my mind")
    return story.tell(decode("worker", {"type": "step.succeeded", "ticket": "a/1/0"}))


def run_timeout() -> Story:
    """A run whose own time is over."""
    return Story("a", "b", timeout_ms=60_000).wait(59_999).succeed("a", 1).fire()


def on_failure() -> Story:
    """A failure that is made up for: what is below it is bypassed, the other branch goes on."""
    steps = [a_step("below", "a"), a_step("far", "below"), a_step("other"), a_step("end", "other")]
    story = Story(a_step("a", on_failure="mend"), a_step("mend"), *steps).fail("a", "no disk")
    return story.succeed("mend", "mended").succeed("other", 1).succeed("end", 2)


def on_failure_fails() -> Story:
    """A handler that fails, too: the run ends with its error."""
    story = Story(a_step("a", on_failure="mend"), a_step("mend"), a_step("other"))
    return story.fail("a", "no disk").fail("mend", "no spare disk")


def output_template() -> Story:
    """Templates for a step's input and the run's output."""
    template = {"first": {"$step": "a", "path": "list.0"}, "run": {"$input": "user.name"}}
    output = {"text": {"$step": "b"}, "plain": {"$literal": {"$input": "kept"}}}
    story = Story(
        "a", a_step("b", "a", input=template), output=output, value={"user": {"name": "Ada"}}
    )
    return story.succeed("a", {"list": [7, 8]}).succeed("b", "done")


def input_missing() -> Story:
    """A template that asks for what is not there."""
    template = {"$step": "a", "path": "text"}
    return Story("a", a_step("b", "a", input=template, retry=retries(5))).succeed("a", {"txt": 1})


def stale_and_doubled() -> Story:
    """Answers with old, doubled and invented tickets, a second start, an early and a doubled timer."""
    story = Story(a_step("a", retry=retries(1)), "b").fail("a", "busy")
    early = decode("timer", {"type": "timer.fired", "due_ms": story.run.armed_ms - 1})
    story.tell(early).tell(story.events[0].fact).fire().tell(story.events[-1].fact)
    for ticket in ("a/1/0", "a/3/0", "b/1/0", "ghost/1/0", ""):
        story.tell(decode("worker", {"type": "step.succeeded", "ticket": ticket}))
    story.succeed("a", 1).tell(story.events[-1].fact)
    return story.succeed("b", 2).tell(story.events[-1].fact)


SCRIPTS: tuple[Callable[[], Story], ...] = (
    task_chain, fan_out_join, agent_loop, loop_iterations, loop_duration, retries_exhausted,
    retry_after, non_retriable, step_timeout, skips, cancelled, run_timeout, on_failure,
    on_failure_fails, output_template, input_missing, stale_and_doubled, *KIND_SCRIPTS,
)  # fmt: skip


# -- files -----------------------------------------------------------------------------------------


def decode(author: str, fact: dict[str, Any]) -> Any:
    """A fact from what stands on the wire."""
    return decode_fact(subjects.fact(0, "r1", author), msgspec.json.encode(fact))


def recorded(script: Callable[[], Story]) -> Lines:
    """The lines of a script's history."""
    story = script()
    run = new_run("r1", story.graph)
    definition = write_workflow(story.graph.workflow)
    lines: Lines = [{"about": script.__doc__, "definition": definition}]
    for event in story.events:
        run, commands = advance(run, event)
        fact = msgspec.json.decode(encode(event.fact))
        lines.append(_line(event, AUTHORS[type(event.fact)], fact, commands))
    return [*lines, {"summary": summary(run)}]


def replayed(lines: Lines) -> Lines:
    """The same lines, worked out again from their definition and facts alone."""
    workflow, problems = read_workflow(lines[0]["definition"])
    assert workflow is not None
    assert not problems
    run = new_run("r1", compile_graph(workflow, "digest"))
    again: Lines = [{"about": lines[0]["about"], "definition": write_workflow(workflow)}]
    for line in lines[1:-1]:
        event = Event(line["seq"], line["at_ms"], decode(line["author"], line["fact"]))
        run, commands = advance(run, event)
        again.append(_line(event, line["author"], line["fact"], commands))
    return [*again, {"summary": summary(run)}]


def _line(
    event: Event, author: str, fact: dict[str, Any], commands: list[Command]
) -> dict[str, Any]:
    ids = [command.id for command in commands]
    return {"seq": event.seq, "at_ms": event.at_ms, "author": author, "fact": fact, "commands": ids}


def summary(run: Run) -> dict[str, Any]:
    """The run as people see it."""
    return msgspec.json.decode(encode(view_run(run)))


def read(path: Path) -> Lines:
    """A history from its file."""
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def record(names: list[str]) -> None:
    """Write the histories that are not there yet, and those that are named."""
    for script in SCRIPTS:
        path = FOLDER / f"{script.__name__}.jsonl"
        if script.__name__ in names or not path.exists():
            path.write_bytes(b"".join(encode(line) + b"\n" for line in recorded(script)))
            print(f"recorded {path.name}")


if __name__ == "__main__":
    if sys.argv[1:2] != ["record"]:
        sys.exit("usage: python -m tests.support.histories record [NAME …]")
    record(sys.argv[2:])
