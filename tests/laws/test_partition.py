"""The owner of a partition keeps its promises whatever fails: publishes, acknowledgements, processes.

Faults fall on everything it does; then they stop, and all that was owed must be in the log: nothing
lost, nothing that the engine did not command, and what people read is what the log says.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any
from unittest import mock

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from dagnats.core.commands import ArmTimer
from dagnats.core.events import RunStarted, StepContinued, StepFailed, StepSucceeded
from dagnats.core.graph import compile_graph
from dagnats.core.machine import advance, new_run, outstanding
from dagnats.core.model import Workflow
from dagnats.core.run import Run
from dagnats.errors import DagNatsError
from dagnats.memory.clock import VirtualClock
from dagnats.memory.mischief import Harmless
from dagnats.memory.outside import Memory
from dagnats.memory.world import World
from dagnats.ports import Append
from dagnats.registry import Registry
from dagnats.scheduler import partition as partitions
from dagnats.scheduler.partition import Partition
from dagnats.wire import subjects
from dagnats.wire.codec import encode, event_of, is_fact
from dagnats.wire.messages import ClosedMark, TaskMessage, nonce
from tests.support.builders import a_step, a_workflow
from tests.support.strategies import OUTPUTS, Choices, workflow_of

SECRET = b"secret"
TURNS = 400  # more than any of these runs needs


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine over memory, which never suspends."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


class Faults(Harmless):
    """Publishes and acknowledgements of the owner that fail, one in a few, until they are over."""

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.active = False

    def fail_append(self, message: Append) -> str:
        return self.choices.pick(("", "", "", "", "before", "after")) if self.active else ""

    def drop_ack(self, reply: str) -> bool:
        return self.active and self.choices.below(5) == 4


class Deployment:
    """One partition with its owner, a worker and a client, all in memory."""

    def __init__(self, workflow: Workflow, choices: Choices) -> None:
        self.choices = choices
        self.clock = VirtualClock()
        self.faults = Faults(choices)
        self.world = World(self.clock, partitions=1, mischief=self.faults)
        self.outside = Memory(self.world, "others")
        self.registry = Registry(self.outside.documents(subjects.DEFINITIONS))
        self.digest = at_once(self.registry.register(workflow))
        self.graph = compile_graph(workflow, self.digest)
        self.answered: set[tuple[str, str]] = set()
        self.restart()

    def restart(self) -> None:
        """The owner is killed; another takes the partition over."""
        owner = Memory(self.world, "owner")
        registry = Registry(owner.documents(subjects.DEFINITIONS))
        self.partition = Partition(0, owner, registry, SECRET, self.clock, lambda: True)
        self.feed = at_once(owner.feed(0))
        self.recover()

    def recover(self) -> None:
        """What the owner does at take-over and after any failure."""
        at_once(self.partition.forget())
        at_once(self.feed.rewind())

    def start(self, run: str) -> None:
        """A client starts a run."""
        given = Raw(self.choices.pick(OUTPUTS))
        fact = RunStarted(workflow="flow", definition=self.digest, input=given)
        self.append(run, "client", fact, f"{run}:start")

    def append(self, run: str, author: str, fact: object, msg_id: str = "") -> None:
        """A fact is stored, by somebody for whom nothing fails."""
        was, self.faults.active = self.faults.active, False
        message = Append(subjects.fact(0, run, author), encode(fact), msg_id)
        at_once(self.outside.log.append([message]))
        self.faults.active = was

    def turn(self) -> int:
        """The owner folds, stores and acknowledges what has come; how much that was."""
        try:
            deliveries = at_once(self.feed.next(1 + self.choices.below(4)))
            if deliveries:
                batch = at_once(self.partition.fold(deliveries))
                at_once(self.partition.store(batch))
                at_once(self.partition.acknowledge(batch, self.feed))
        except DagNatsError:
            self.recover()
            return 1
        return len(deliveries)

    def dispatched(self) -> list[TaskMessage]:
        """Every ticket in the log."""
        entries = at_once(self.outside.log.history("r1")) + at_once(self.outside.log.history("r2"))
        bodies = [entry.payload for entry in entries if entry.subject.startswith("dagnats.task")]
        return [msgspec.json.decode(body, type=TaskMessage) for body in bodies]

    def work(self, *, well: bool = False) -> bool:
        """A worker answers the next ticket, or one of those before once more."""
        tickets = self.dispatched()
        fresh = [each for each in tickets if (each.run, each.ticket) not in self.answered]
        if tickets and not well and self.choices.below(4) == 3:
            fresh = tickets
        if not fresh:
            return False
        message = fresh[self.choices.below(len(fresh))]
        self.answered.add((message.run, message.ticket))
        proof = {"ticket": message.ticket, "nonce": message.nonce}
        kind = 0 if well else self.choices.below(8)
        if kind == 1:
            fact: object = StepFailed(error="boom", **proof)
        elif kind == 2 and message.loop:
            fact = StepContinued(checkpoint=Raw(b"1"), **proof)
        else:
            fact = StepSucceeded(output=Raw(self.choices.pick(OUTPUTS)), **proof)
        self.append(message.run, "worker", fact)
        return True

    def folded(self, run_id: str) -> tuple[Run, set[str]]:
        """The run that the log tells, and the ids of all commands on the way."""
        run, commanded = new_run(run_id, self.graph), set[str]()
        for entry in at_once(self.outside.log.history(run_id)):
            if is_fact(entry):
                run, commands = advance(run, event_of(entry))
                commanded |= {each.id for each in commands}
        return run, commanded


def trouble(deployment: Deployment) -> None:
    """A while in which anything may fail."""
    deployment.faults.active = True
    for _ in range(40):
        action = deployment.choices.below(10)
        if action < 5:
            deployment.turn()
        elif action < 8:
            deployment.work()
        elif action == 8:
            at_once(deployment.partition.park(limit=0, idle_ms=0))
        else:
            deployment.restart()
        deployment.clock.advance(deployment.choices.pick((0, 1, 30, 600)))
        deployment.world.fire_due()
    deployment.faults.active = False


def calm(deployment: Deployment) -> None:
    """Nothing fails any more: everything comes to its end."""
    deployment.restart()
    for _ in range(TURNS):
        if deployment.turn() or deployment.work(well=True):
            continue
        wait = deployment.world.until_due_ms()
        if wait is None:
            return
        deployment.clock.advance(wait)
        deployment.world.fire_due()
    raise AssertionError("it does not come to an end")


@given(st.binary(min_size=200, max_size=400))
def test_everything_owed_is_done(data):
    """After any faults every run ends, its log holds all it commanded, and its mark says how."""
    choices = Choices(data)
    deployment = Deployment(workflow_of(choices), choices)
    with mock.patch.object(partitions, "SNAPSHOT_EVERY_FACTS", 2):
        for run_id in ("r1", "r2"):
            deployment.start(run_id)
        trouble(deployment)
        calm(deployment)

    for run_id in ("r1", "r2"):
        promised(deployment, run_id)


def promised(deployment: Deployment, run_id: str) -> None:
    """What must be true of one run in the end."""
    run, commanded = deployment.folded(run_id)
    history = at_once(deployment.outside.log.history(run_id))
    dead = deployment.world.streams[subjects.DEAD].matching("dagnats.dead.>")
    stored = {entry.msg_id for entry in [*history, *dead] if entry.msg_id}
    marks = [entry for entry in history if entry.subject.endswith(".closed")]
    owed = {each.id for each in outstanding(run) if not isinstance(each, ArmTimer)}

    assert run.closed, run.status
    assert owed <= stored
    dispatches = [entry.msg_id for entry in history if entry.subject.startswith("dagnats.task")]
    assert set(dispatches) <= commanded
    assert len(dispatches) == len(set(dispatches))
    assert len(marks) == 1
    mark = msgspec.json.decode(marks[0].payload, type=ClosedMark)
    assert (mark.status, mark.output, mark.error) == (run.status, run.output, run.error)


def test_an_answer_without_its_nonce_is_poison():
    """A worker that was not given a ticket cannot answer it, now or when the log is read again."""
    deployment = Deployment(a_workflow("a", "b"), Choices(b""))
    deployment.start("r1")
    deployment.turn()
    deployment.append("r1", "worker", StepSucceeded(ticket="a/1/0", output=Raw(b"666")))
    deployment.turn()
    deployment.restart()
    proof = nonce(SECRET, "r1", "a/1/0")
    deployment.append("r1", "worker", StepSucceeded(ticket="a/1/0", nonce=proof, output=Raw(b"7")))
    deployment.turn()

    letters = deployment.world.streams[subjects.DEAD].matching("dagnats.dead.>")
    given_to = {message.ticket: bytes(message.input) for message in deployment.dispatched()}
    assert list(given_to) == ["a/1/0", "b/1/0"]
    assert given_to["b/1/0"] == b"7"
    assert [letter.subject for letter in letters] == ["dagnats.dead.poison.r1.worker"]


def test_a_fact_that_is_none_does_not_stop_the_partition():
    """Bytes that are no fact go to the dead letters, and the facts behind them are folded."""
    deployment = Deployment(a_workflow(a_step("a")), Choices(b""))
    deployment.start("r1")
    at_once(deployment.outside.log.append([Append(subjects.fact(0, "r1", "worker"), b"[[[")]))
    deployment.append("ghost", "worker", StepSucceeded(ticket="a/1/0"))
    honest = StepSucceeded(ticket="a/1/0", nonce=nonce(SECRET, "r1", "a/1/0"))
    deployment.append("r1", "worker", honest)
    while deployment.turn():
        pass

    assert deployment.folded("ghost")[0].status == "unstarted"
    letters = deployment.world.streams[subjects.DEAD].matching("dagnats.dead.>")
    assert len(letters) == 2
    marks = at_once(deployment.outside.log.last(subjects.mark(0, "r1", "closed")))
    assert marks is not None
