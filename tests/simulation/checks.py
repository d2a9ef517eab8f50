"""What must hold of a world at rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import msgspec

from dagnats.core.events import RunStarted
from dagnats.core.run import Run
from dagnats.core.state import (
    CANCELLED,
    COMPLETED,
    CONTINUED,
    FAILED,
    RECOVERED,
    RUNNING,
    SKIPPED,
)
from dagnats.limits import DUPLICATE_WINDOW_MS
from dagnats.wire import subjects
from tests.simulation import firing, holding, relations
from tests.simulation.oracle import Ending, Oracle
from tests.simulation.scripts import by_script, print_of
from tests.simulation.simulation import Simulation, Wrong
from tests.simulation.story import Story, fact_of
from tests.simulation.told import Missing, Unknown

_OF_NO_RUN = re.compile(r"gate=|cron")
_ENDINGS = {"done": COMPLETED, "skipped": SKIPPED, "mended": RECOVERED, "failed": FAILED}


def problems_of(simulation: Simulation) -> list[str]:
    """Everything that does not hold."""
    found = [*_world_problems(simulation), *holding.problems(simulation.world)]
    stories = {run: _story(simulation, run) for run in simulation.runs.everyone()}
    for story in stories.values():
        _look_at_log(story)
        if story.marks:
            _look_at_ending(story)
        _look_at_letters(story, simulation)
        relations.look(story, stories, simulation)
        found += story.problems
    found += firing.problems(simulation, stories)
    return found


def _story(simulation: Simulation, run: str, until: str = "") -> Story:
    executed = {ticket for owner, ticket in simulation.ledger if owner == run}
    log = simulation.world.history(run, 0)
    before = None
    for fact in map(fact_of, log):
        if isinstance(fact, RunStarted) and fact.fork:
            fork = msgspec.json.decode(fact.fork)
            before = _story(simulation, fork["run"], fork["at"])
    return Story(run, simulation.runs.script(run), executed, log, before, until)


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
    armed = [timer for timer in simulation.world.timers._armed if not _OF_NO_RUN.search(timer)]
    if armed:
        yield f"timers are armed for runs that have ended: {armed}"
    poison = subjects.dead("poison", "*", "*").replace("%2A", "*")
    for entry in simulation.world.streams[subjects.DEAD].matching(poison):
        if entry.payload.decode() not in simulation.planted:
            yield f"a good fact was dead-lettered: {entry.subject} {entry.payload.decode()}"


def _look_at_log(story: Story) -> None:
    statuses = [mark.status for mark in story.marks]
    closed = len(statuses) - statuses.count(RUNNING)
    # One that was opened again at once need not have been told of as closed.
    if not 1 <= closed <= story.reopened + 1 or statuses.count(RUNNING) > story.reopened:
        story.problem(f"was opened again {story.reopened} times, and its marks are {statuses}")
    for ticket in story.tickets.keys() - story.commanded:
        story.problem(f"{ticket} was dispatched, and never in force")
    usual = story.workflow.default_retry
    for node, state in zip(story.run.graph.nodes, story.run.steps, strict=False):
        step, policy = node.step, node.step.retry or usual
        if state.attempt - state.spent > (policy.attempts if policy else 1):
            story.problem(f"{step.id} made {state.attempt} attempts")
        if state.iteration >= (step.loop.max_iterations if step.loop else 1):
            story.problem(f"{step.id} made {state.iteration + 1} iterations")
    for message in story.tickets.values():
        turn = message.iteration
        if turn and msgspec.json.decode(message.checkpoint) != {"turn": turn}:
            story.problem(f"{message.ticket} has the checkpoint {message.checkpoint!r}")
    for ticket, answer in story.told.answers.items():
        if ticket in story.tickets and not by_script(story.script, story.tickets[ticket], answer):
            story.problem(f"{ticket} has another answer than its script: {answer}")


def _look_at_ending(story: Story) -> None:
    mark, run = story.marks[-1], story.run
    if (mark.status, bytes(mark.output), mark.error) != (run.status, bytes(run.output), run.error):
        story.problem(f"the mark says {mark}, the log {run.status} {run.output!r} {run.error}")
    if run.status == CANCELLED:
        if not (story.cancel_asked or story.refused):
            story.problem("was cancelled by nobody")
        return
    if run.status == CONTINUED:
        return  # what becomes of it, relations say
    if any(state.error and state.error.failure == "max_duration" for state in run.steps):
        return  # time decided, which the oracle does not know
    _ask_oracle(story, run, out_of_time=story.out_of_time)


def _ask_oracle(story: Story, run: Run, *, out_of_time: bool) -> None:
    oracle = Oracle(story.workflow, msgspec.json.decode(run.input), story.told)
    try:
        expected = oracle.play(out_of_time=out_of_time)
    except Unknown:
        story.problem(f"is {run.status}, though not all that it needs was said")
        return
    if expected.status != run.status:
        story.problem(f"is {run.status} and must be {expected.status}: {run.error}")
        return
    if run.status == COMPLETED and msgspec.json.decode(run.output) != expected.output:
        story.problem(f"gave {run.output!r} and must give {expected.output}")
    for step, state in story.states():
        _compare_step(story, step.id, state.status, state.output, expected)
    _compare_inputs(story, oracle)


def _compare_step(
    story: Story, step: str, status: str, output: msgspec.Raw, expected: Ending
) -> None:
    wanted = _ENDINGS.get(expected.steps.get(step, ""))
    if status == COMPLETED:
        if wanted != COMPLETED or msgspec.json.decode(output) != expected.values[step]:
            story.problem(f"{step} gave {output!r} and must give {expected.values.get(step)}")
    elif expected.status == COMPLETED and wanted not in (status, None):
        story.problem(f"{step} is {status} and must be {wanted}")


def _compare_inputs(story: Story, oracle: Oracle) -> None:
    for message in story.tickets.values():
        try:
            wanted = oracle.ticket_input(message.step)
        except Missing:
            continue
        if print_of(msgspec.json.decode(message.input)) != print_of(wanted):
            story.problem(f"{message.ticket} was given {bytes(message.input)!r} and not {wanted}")


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
    if story.reopened:  # those of what failed before are kept
        return
    if bool(letters) != (story.run.failed_at >= 0) or any(again):
        found = [(entry.msg_id, entry.at_ms) for entry in letters]
        story.problem(f"has the dead letters {found}, and is {story.run.status}")
    if len({entry.msg_id for entry in letters}) > 1:
        story.problem("has dead letters of several steps")
