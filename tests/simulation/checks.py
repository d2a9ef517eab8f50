"""What must hold of a world at rest."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec

from dagnats.core.commands import Dispatch
from dagnats.core.events import (
    CancelRequested,
    Event,
    Outcome,
    StepContinued,
    StepFailed,
    StepSucceeded,
)  # fmt: skip
from dagnats.core.machine import advance, in_force, new_run
from dagnats.core.run import Run
from dagnats.core.state import CANCELLED, COMPLETED, FAILED, RECOVERED, SKIPPED, step_of_ticket
from dagnats.errors import CodecError
from dagnats.limits import DUPLICATE_WINDOW_MS
from dagnats.ports import Entry
from dagnats.wire import subjects
from dagnats.wire.codec import event_of, is_fact
from dagnats.wire.messages import ClosedMark, TaskMessage, nonce
from tests.simulation import oracle
from tests.simulation.flows import print_of
from tests.simulation.processes import SECRET
from tests.simulation.simulation import Simulation, Wrong

_mark = msgspec.json.Decoder(ClosedMark)
_ticket = msgspec.json.Decoder(TaskMessage)
_ENDINGS = {"done": COMPLETED, "skipped": SKIPPED, "mended": RECOVERED, "failed": FAILED}


class Story:
    """A run as its log tells it, folded once more, with the answers that counted."""

    def __init__(self, simulation: Simulation, run_id: str) -> None:
        self.id = run_id
        self.flow = simulation.runs[run_id]
        self.script = simulation.scripts[run_id]
        self.executed = {ticket for run, ticket in simulation.ledger if run == run_id}
        self.answers: dict[str, Outcome] = {}
        self.tickets: dict[str, TaskMessage] = {}
        self.marks: list[ClosedMark] = []
        self.commanded: set[str] = set()
        self.cancelled = False
        self.problems: list[str] = []
        self.run = new_run(run_id, self.flow.graph)
        for entry in simulation.world.history(run_id, 0):
            self._read(entry)

    def problem(self, what: str) -> None:
        """Something does not hold."""
        self.problems.append(f"{self.id}: {what}")

    def _read(self, entry: Entry) -> None:
        if is_fact(entry):
            try:
                self._fold(event_of(entry))
            except CodecError:
                return
        elif entry.subject.endswith(".closed"):
            self.marks.append(_mark.decode(entry.payload))
        else:
            message = _ticket.decode(entry.payload)
            if message.ticket in self.tickets:
                self.problem(f"{message.ticket} was dispatched twice")
            self.tickets[message.ticket] = message

    def _fold(self, event: Event) -> None:
        fact = event.fact
        if isinstance(fact, StepSucceeded | StepFailed | StepContinued):
            if fact.nonce != nonce(SECRET, self.id, fact.ticket):
                return
            if in_force(self.run, fact.ticket):
                self._honour(fact)
        elif isinstance(fact, CancelRequested):
            self.cancelled = True
        self.run, commands = advance(self.run, event)
        self.commanded |= {each.ticket for each in commands if isinstance(each, Dispatch)}

    def _honour(self, fact: Outcome) -> None:
        if fact.ticket in self.answers:
            self.problem(f"two answers to {fact.ticket} were honoured")
        if fact.ticket not in self.tickets:
            self.problem(f"the answer to {fact.ticket} came before its dispatch")
        if fact.ticket not in self.executed:
            self.problem(f"{fact.ticket} was answered, and never executed")
        self.answers[fact.ticket] = fact


def problems_of(simulation: Simulation) -> list[str]:
    """Everything that does not hold."""
    found = [*_world_problems(simulation)]
    for run_id in simulation.runs:
        story = Story(simulation, run_id)
        _look_at_log(story)
        if story.marks:
            _look_at_ending(story)
        _look_at_letters(story, simulation)
        found += story.problems
    return found


def look(simulation: Simulation) -> None:
    """Raise for what does not hold.

    Raises:
        Wrong: with every problem.
    """
    found = problems_of(simulation)
    if found:
        raise Wrong("\n".join(found))


def _world_problems(simulation: Simulation) -> Iterator[str]:
    for scheduler in simulation.schedulers:
        for number, partition in scheduler.partitions.items():
            # One whose claim is over lets go with its next renewal, which may be still to come.
            if partition.runs_in_memory and partition.fence():
                yield f"{scheduler.name} keeps {list(partition._runs)} of partition {number}"
    armed = list(simulation.world.timers._armed)
    if armed:
        yield f"timers are armed for runs that have ended: {armed}"
    poison = subjects.dead("poison", "*", "*").replace("%2A", "*")
    for entry in simulation.world.streams[subjects.DEAD].matching(poison):
        if entry.payload.decode() not in simulation.planted:
            yield f"a good fact was dead-lettered: {entry.subject} {entry.payload.decode()}"


def _look_at_log(story: Story) -> None:
    if len(story.marks) != 1:
        story.problem(f"closed {len(story.marks)} times")
    for ticket in story.tickets.keys() - story.commanded:
        story.problem(f"{ticket} was dispatched, and never in force")
    for step, state in zip(story.flow.workflow.steps, story.run.steps, strict=False):
        policy = step.retry or story.flow.workflow.default_retry
        if state.attempt > (policy.attempts if policy else 1):
            story.problem(f"{step.id} made {state.attempt} attempts")
        if state.iteration >= (step.loop.max_iterations if step.loop else 1):
            story.problem(f"{step.id} made {state.iteration + 1} iterations")
    for message in story.tickets.values():
        turn = message.iteration
        if turn and msgspec.json.decode(message.checkpoint) != {"turn": turn}:
            story.problem(f"{message.ticket} has the checkpoint {message.checkpoint!r}")
    for ticket, answer in story.answers.items():
        if story.script.moody(step_of_ticket(ticket)):
            continue
        if ticket in story.tickets and answer != story.script.answer(story.tickets[ticket], 0):
            story.problem(f"{ticket} has another answer than its script: {answer}")


def _look_at_ending(story: Story) -> None:
    mark, run = story.marks[0], story.run
    if (mark.status, bytes(mark.output), mark.error) != (run.status, bytes(run.output), run.error):
        story.problem(f"the mark says {mark}, the log {run.status} {run.output!r} {run.error}")
    if run.status == CANCELLED:
        if not story.cancelled:
            story.problem("was cancelled by nobody")
        return
    failure = run.error.failure if run.error else ""
    if failure == "timeout" and run.failed_at < 0:
        if run.closed_ms < run.deadline_ms:
            story.problem("ran out of time before its deadline")
        return
    if any(state.error and state.error.failure == "max_duration" for state in run.steps):
        return  # time decided, which the oracle does not know
    _ask_oracle(story, run)


def _ask_oracle(story: Story, run: Run) -> None:
    workflow, given = story.flow.workflow, msgspec.json.decode(run.input)
    try:
        expected = oracle.play(workflow, given, story.answers.get)
    except oracle.Unknown:
        story.problem(f"is {run.status}, though not all its tickets were answered")
        return
    if expected.status != run.status:
        story.problem(f"is {run.status} and must be {expected.status}: {run.error}")
        return
    if run.status == COMPLETED and msgspec.json.decode(run.output) != expected.output:
        story.problem(f"gave {run.output!r} and must give {expected.output}")
    for step, state in zip(workflow.steps, run.steps, strict=True):
        _compare_step(story, step.id, state.status, state.output, expected)
    _compare_inputs(story, given, expected.values)


def _compare_step(
    story: Story, step: str, status: str, output: msgspec.Raw, expected: oracle.Ending
) -> None:
    wanted = _ENDINGS.get(expected.steps.get(step, ""))
    if status == COMPLETED:
        if wanted != COMPLETED or msgspec.json.decode(output) != expected.values[step]:
            story.problem(f"{step} gave {output!r} and must give {expected.values.get(step)}")
    elif expected.status == COMPLETED and wanted not in (status, None):
        story.problem(f"{step} is {status} and must be {wanted}")


def _compare_inputs(story: Story, given: Any, values: dict[str, Any]) -> None:
    for message in story.tickets.values():
        try:
            wanted = oracle.input_of(story.flow.workflow, message.step, given, values)
        except oracle.Missing:
            continue
        if print_of(msgspec.json.decode(message.input)) != print_of(wanted):
            story.problem(f"{message.ticket} was given {message.input!r} and not {wanted}")


def _look_at_letters(story: Story, simulation: Simulation) -> None:
    """Work that was given up is kept once, and nothing else is.

    Letters are not in the log, so a scheduler that dies between letter and mark leaves its successor
    only the server's memory of ids to know that the letter is there: after it, it comes again.
    """
    pattern = f"dagnats.dead.*.{story.id}.*"
    letters = [
        entry
        for entry in simulation.world.streams[subjects.DEAD].matching(pattern)
        if not entry.msg_id.startswith("poison:")
    ]
    again = [b.at_ms - a.at_ms < DUPLICATE_WINDOW_MS for a, b in pairwise(letters)]
    if bool(letters) != (story.run.failed_at >= 0) or any(again):
        found = [(entry.msg_id, entry.at_ms) for entry in letters]
        story.problem(f"has the dead letters {found}, and is {story.run.status}")
    if len({entry.msg_id for entry in letters}) > 1:
        story.problem("has dead letters of several steps")
