"""Scripts of golden histories: one for each kind of step, and for what grows, parks, undoes and begins again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dagnats.core import fork
from dagnats.core.definition import read_workflow
from dagnats.core.events import (
    ApprovalDecided,
    BudgetRaised,
    BudgetSpent,
    ChildClosed,
    ChildReported,
    ChildStarted,
    ControlDecided,
    EventReceived,
    GateGranted,
    RetryRequested,
    RunContinued,
    RunStarted,
    SignalReceived,
    StepCalled,
    StepParked,
    StepPlanned,
    UsageReported,
)
from dagnats.core.model import Budget, Usage
from tests.support.builders import Story, raw


def told(*steps: dict[str, Any], value: Any = None, begin: bool = True, **options: Any) -> Story:
    """The story of a workflow file's steps."""
    workflow, problems = read_workflow({"name": "flow", "steps": list(steps), **options})
    assert workflow is not None
    assert not problems, problems
    names = ("timeout_ms", "cancel_on", "default_retry", "budget", "limits")
    return Story(
        *workflow.steps,
        value=value,
        begin=begin,
        **{name: getattr(workflow, name) for name in names},
    )


def task(name: str, *after: str, **more: Any) -> dict[str, Any]:
    """A task."""
    return {"id": name, "task": "work", "depends_on": list(after), **more}


def plan(story: Story, *steps: dict[str, Any]) -> Story:
    """The planner answers."""
    return story.tell(StepPlanned(ticket=story.ticket("plan"), plan=raw({"steps": list(steps)})))


def call(story: Story, step: str, number: int, what: dict[str, Any], value: Any = None) -> Story:
    """A handler asks for a durable call."""
    fact = StepCalled(
        ticket=story.ticket(step), n=number, step=raw(what), input=raw(value), worker="w"
    )
    return story.tell(fact)


def decide(
    story: Story, step: str, by: str = "ada", *, approved: bool = True, **more: Any
) -> Story:
    """Somebody answers."""
    return story.tell(ApprovalDecided(ticket=story.ticket(step), approved=approved, by=by, **more))


RETRIES = {"max_attempts": 1, "initial_delay": "1s"}
PLANNER = task(
    "plan", type="planner", retry=RETRIES, config={"allowed_tasks": ["work"], "max_steps": 3}
)
ASK = {"id": "ok", "type": "approval", "config": {"timeout": "1h", "subject": "ops"}}
MAP = task("each", type="map", input={"$input": ""}, retry=RETRIES)


def map_in_order() -> Story:
    """A map whose items finish out of order, one of them retried; two at once."""
    story = told({**MAP, "config": {"concurrency": 2}}, task("end", "each"), value=["a", "b", "c"])
    story.succeed("each#1", "B").fail("each#0").succeed("each#2", "C").fire()
    return story.succeed("each#0", "A").succeed("end", "done")


def map_tolerates() -> Story:
    """A map that may lose a half; and one that loses too many."""
    story = told({**MAP, "retry": None, "config": {"tolerate": "50%"}}, value=[1, 2, 3])
    return story.fail("each#1", "gone").succeed("each#0", 1).succeed("each#2", 3)


def map_fails() -> Story:
    """An item that fails for good fails the map, and the others are cut off."""
    story = told({**MAP, "retry": None}, value=[1, 2, 3]).succeed("each#0", 1)
    return story.fail("each#1", "gone")


def map_of_nothing() -> Story:
    """An empty array, and input that is none."""
    return told({**MAP}, task("more", type="map", input="text"), value=[])


def planner_corrected() -> Story:
    """An invalid plan is a failed attempt; the next one is carried out; what follows gets its last output."""
    story = told(PLANNER, task("end", "plan"))
    plan(story, {"id": "a", "task": "rm"}, {"id": "a", "task": "work", "depends_on": ["z"]}).fire()
    plan(story, task("a"), task("b", "a", input={"$step": "a"}))
    return story.succeed("plan.a", 1).succeed("plan.b", 2).succeed("end", 3)


def planner_previewed() -> Story:
    """People look at the plan: rejected once, then approved; it is empty."""
    story = told({**PLANNER, "config": {"preview": {"timeout": "1h"}}})
    plan(story, task("a"))
    decide(story, "plan", approved=False, comment="too bold").fire()
    return decide(plan(story), "plan")


def approval_quorum() -> Story:
    """Two different people must approve; the same one twice is one."""
    story = told({**ASK, "config": {"timeout": "1h", "quorum": 2}})
    return decide(decide(decide(story, "ok"), "ok"), "ok", "bob")


def approval_rejected() -> Story:
    """No goes down the failure path; a late yes does not count."""
    story = told({**ASK, "on_failure": "mend"}, task("mend"))
    ticket = story.ticket("ok")
    decide(story, "ok", approved=False, comment="no")
    story.tell(ApprovalDecided(ticket=ticket, approved=True, by="bob"))
    return story.succeed("mend", "mended")


def approval_expired() -> Story:
    """Silence is a no."""
    return told(ASK).fire()


def sleeps() -> Story:
    """For a while, until a cron expression matches, until a time in the input, and one that is over."""
    return told(
        {"id": "a", "type": "sleep", "config": {"duration": "90s"}},
        {"id": "b", "type": "sleep", "config": {"cron": "0 9 * * 1-5", "timezone": "Europe/Berlin"}},
        {"id": "c", "type": "sleep", "config": {"until_input_path": "at"}},
        {"id": "d", "type": "sleep", "config": {"until_input_path": "then"}},
        value={"at": "2023-11-14T22:15:00Z", "then": 1},
    ).fire().fire().fire()  # fmt: skip


def events() -> Story:
    """One that comes, one that does not, and one whose value is missing."""
    wait = {"type": "wait_for_event"}
    match = {"left": "id", "op": "eq", "right": "input.id"}
    story = told(
        {"id": "paid", **wait, "config": {"event": "paid", "match": match, "timeout": "1h"}},
        {"id": "late", **wait, "config": {"event": "late", "timeout": "10s"}},
        value={"id": 7},
    )
    fact = EventReceived(ticket=story.ticket("paid"), name="paid", payload=raw({"id": 7}))
    return story.tell(fact).tell(fact).fire()


def signals() -> Story:
    """Two that come early, in order; one wait that is in vain."""
    wait = {"type": "wait_for_signal", "config": {"name": "go", "timeout": "10s"}}
    story = told(
        task("a"),
        {"id": "b", **wait, "depends_on": ["a"]},
        {"id": "c", **wait, "depends_on": ["b"]},
    )
    for number in (1, 2):
        story.tell(SignalReceived(name="go", payload=raw(number)))
    return story.succeed("a")


def children() -> Story:
    """One that fails once and then completes, and one that is only started."""
    sub = {"type": "sub_workflow", "retry": RETRIES}
    story = told(
        {"id": "a", **sub, "config": {"workflow": "other"}},
        {"id": "b", **sub, "config": {"workflow": "other", "detach": True}},
    )
    story.tell(
        ChildClosed(ticket=story.ticket("a"), child="c1", status="failed", error="no")
    ).fire()
    story.tell(ChildStarted(ticket=story.ticket("b"), child="c3"))
    return story.tell(
        ChildClosed(ticket=story.ticket("a"), child="c2", status="completed", output=raw(5))
    )


def child_cancelled() -> Story:
    """The parent is cancelled, and so is its child."""
    return told({"id": "a", "type": "sub_workflow", "config": {"workflow": "other"}}).cancel(
        "enough"
    )


def responds() -> Story:
    """The caller is answered in the middle."""
    config = {"status": 201, "body_from": "text"}
    story = told(
        task("a"),
        {"id": "say", "type": "respond", "config": config, "depends_on": ["a"]},
        task("b", "say"),
    )
    return story.succeed("a", {"text": "hello"}).succeed("b", 1)


def agents() -> Story:
    """A step for an agents' runtime."""
    return told(task("a", type="agent", metadata={"role": "critic"})).succeed("a", "fine")


def continued_as_new() -> Story:
    """The run ends, and another goes on."""
    story = told(task("a"), task("b"))
    return story.tell(RunContinued(ticket=story.ticket("a"), input=raw({"page": 2})))


def compensates() -> Story:
    """What was done is undone in reverse; what is under way is taken back."""
    steps = [
        task("a", compensate="ua"),
        task("b", "a", compensate="ub"),
        task("c", "b"),
        task("d", "b"),
    ]
    story = (
        told(*steps, task("ua"), task("ub"))
        .succeed("a", "A")
        .succeed("b", "B")
        .fail("c", "no money")
    )
    return story.succeed("ub").succeed("ua")


def compensation_fails() -> Story:
    """And cannot be undone."""
    story = (
        told(task("a", compensate="ua"), task("b", "a"), task("ua")).succeed("a").fail("b", "no")
    )
    return story.fail("ua", "no way")


def durable_calls() -> Story:
    """Remembered by the next attempt; asked for anew when they failed; another one in their place."""
    story = told(task("a", retry={"max_attempts": 2, "initial_delay": "1s"}))
    call(story, "a", 0, {"task": "x"}, 1).succeed("a#0.0", "X")
    call(story, "a", 1, {"task": "y"}).fail("a#0.1", "down").fail("a", "call 1 failed").fire()
    call(story, "a", 0, {"task": "x"}, 1)
    call(story, "a", 1, {"task": "y"}).succeed("a#0.1~2", "Y")
    return call(story, "a", 0, {"task": "z"}).succeed("a", "done")


def control_plane() -> Story:
    """A handler registers a workflow and starts it; what is refused is asked again by its next attempt."""
    retry = {"max_attempts": 1, "initial_delay": "1s"}
    story = told(task("a", retry=retry, required_capabilities=["control-plane"]))
    register = {"type": "control", "config": {"action": "register", "name": "made"}}
    start = {"type": "control", "config": {"action": "start", "name": "agent.r1.made"}}
    call(story, "a", 0, register, {"name": "made", "steps": []})
    story.tell(ControlDecided(ticket=story.ticket("a#0.0"), output=raw("agent.r1.made")))
    call(story, "a", 1, start, 5)
    refused = ControlDecided(ticket=story.ticket("a#0.1"), kind="quota_exceeded", error="full")
    story.tell(refused).fail("a", "full").fire()
    call(story, "a", 0, register, {"name": "made", "steps": []})
    call(story, "a", 1, start, 5).tell(refused)
    story.tell(ControlDecided(ticket=story.ticket("a#0.1~2"), output=raw("child-1")))
    return story.succeed("a", "done")


def parked() -> Story:
    """A handler gives its slot up until a signal comes."""
    story = told(task("a"))
    call(story, "a", 0, {"type": "wait_for_signal", "config": {"name": "go"}})
    story.tell(StepParked(ticket=story.ticket("a"), n=0))
    return story.tell(SignalReceived(name="go", payload=raw(5))).succeed("a", 6)


def opened_again() -> Story:
    """A failed run goes on where it failed; what was cut off begins anew."""
    story = (
        told(task("a"), task("b", "a"), task("c"), task("d", "b"))
        .succeed("a", 1)
        .fail("b", "disk full")
    )
    story.tell(RetryRequested(epoch=1)).tell(RetryRequested(epoch=1))
    return story.succeed("c", 3).succeed("b", 2).succeed("d", 4)


def forked() -> Story:
    """A run that begins in the middle of another's history."""
    first = told(task("a"), task("b", "a")).succeed("a", 1)
    assert fork.reached(first.run, "b", 0)
    state = fork.taken(first.run, "b", 0, first.now, raw("another input"))
    story = told(task("a"), task("b", "a"), begin=False).wait(60_000)
    story.tell(RunStarted(workflow="flow", definition="digest", input=raw(None), fork=state))
    return story.succeed("b", 2)


def cancelled_by_event() -> Story:
    """An external event that the workflow watches for."""
    watch = {
        "event": "stop",
        "match": {"left": "id", "op": "eq", "right": "input.id"},
        "timeout": "1h",
    }
    story = told(task("a"), value={"id": 7}, cancel_on=[watch])
    return story.tell(EventReceived(ticket="!cancel_on/0", name="stop", payload=raw({"id": 7})))


def budget_raised() -> Story:
    """A loop and a child use up the run's budget: what is under way ends, then the run; raised, it goes on."""
    loop = {"type": "agent_loop", "loop": {"max_iterations": 5, "budget": {"tokens": 900}}}
    sub = {"id": "sub", "type": "sub_workflow", "config": {"workflow": "other"}}
    story = told(task("think", **loop), task("look"), sub, budget={"usd": 1, "tokens": 1000})
    spent = UsageReported(ticket="think/1/0", n=0, input_tokens=300, usd_nano=5, model="m")
    story.tell(spent).tell(spent).carry_on("think", {"turn": 1})
    child = ChildReported(
        ticket=story.ticket("sub"), child="c", usage=Usage(reports=2, output_tokens=800)
    )
    story.tell(child).carry_on("think", {"turn": 2}).succeed("look", 1)
    story.tell(BudgetRaised(more=Budget(tokens=500), epoch=1, by="ada"))
    story.tell(BudgetRaised(more=Budget(tokens=500), epoch=1, by="bob"))
    done = ChildClosed(ticket=story.ticket("sub"), child="c2", status="completed", output=raw(2))
    return story.tell(done).succeed("think", 3)


def budget_of_time() -> Story:
    """A loop's time is over, its handler does not end in time; given more, it ends well."""
    loop = {"max_iterations": 5, "budget": {"wall": "10s", "iterations": 3}}
    story = told(task("think", type="agent_loop", loop=loop)).fire()
    story.tell(BudgetRaised(more=Budget(wall_ms=1_000), step="think")).fire().fire()
    story.tell(BudgetRaised(more=Budget(wall_ms=5_000), step="think", epoch=1))
    return story.succeed("think", "done")


def budget_shared() -> Story:
    """A run is let in, and then ended by a budget that it shares; opened again, it waits for its turn, and goes on."""
    limits = [{"tokens": 100, "key": "tenant"}, {"usd": 1, "period": "1d"}]
    story = told(task("look"), task("tell", "look"), value={"tenant": "a"}, limits=limits)
    gate = "gate=workflow=w"
    story.tell(GateGranted(gate=gate, ticket="!run/0", left=(70, 500)))
    story.tell(UsageReported(ticket="look/1/0", n=0, output_tokens=30, usd_nano=4, model="m"))
    story.tell(BudgetSpent(gate=gate, ticket="!run/0", kind="tokens", reason="it is used up"))
    story.succeed("look", 1).tell(BudgetRaised(more=Budget(tokens=500), epoch=1))
    story.tell(RetryRequested(epoch=1)).tell(
        GateGranted(gate=gate, ticket="!run/1", left=(20, 500))
    )
    story.tell(BudgetSpent(gate=gate, ticket="!run/0", kind="tokens", reason="late"))
    return story.succeed("tell", 2)


KIND_SCRIPTS: tuple[Callable[[], Story], ...] = (
    map_in_order, map_tolerates, map_fails, map_of_nothing, planner_corrected, planner_previewed, approval_quorum,
    approval_rejected, approval_expired, sleeps, events, signals, children, child_cancelled, responds, agents,
    continued_as_new, compensates, compensation_fails, durable_calls, control_plane, parked, opened_again, forked,
    cancelled_by_event, budget_raised, budget_of_time, budget_shared,
)  # fmt: skip
