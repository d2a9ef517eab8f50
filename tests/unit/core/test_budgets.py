"""Budgets: counted once, shared, kept to; what is under way may end; raised, the run goes on."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Raw

from dagnats.core import budgets, spending
from dagnats.core.commands import LeaveGate, TellUsage
from dagnats.core.definition import read_workflow, write_workflow
from dagnats.core.events import (
    BudgetRaised,
    ChildClosed,
    ChildReported,
    GateGranted,
    RunStarted,
    StepCalled,
    UsageReported,
)
from dagnats.core.model import Budget, Limit, Usage
from dagnats.core.validate import problems_of
from dagnats.limits import BUDGET_GRACE_MS, USAGE_MODELS_MAX
from tests.support.builders import Story, a_loop, a_step, raw, retries

TOKENS = Budget(tokens=100)


def use(story: Story, step: str, tokens: int, n: int = 0, **more: object) -> Story:
    """The handler at a step says what it has used."""
    return story.tell(UsageReported(ticket=story.ticket(step), n=n, input_tokens=tokens, **more))


def raise_by(story: Story, tokens: int, step: str = "", epoch: int = 0) -> Story:
    """Somebody gives more."""
    return story.tell(BudgetRaised(more=Budget(tokens=tokens), step=step, epoch=epoch))


# -- counting --------------------------------------------------------------------------------------


def test_a_report_counts_once_for_its_ticket():
    """Whoever runs the ticket again reports again; another attempt is another ticket."""
    story = Story(a_step("a", retry=retries(1)))
    use(use(use(story, "a", 5), "a", 7), "a", 1, n=1)
    assert (story.run.usage.tokens, story.run.usage.reports) == (6, 2)
    old = story.ticket("a")
    story.fail("a").fire()
    use(story, "a", 10)
    assert story.run.usage.tokens == story.state("a").usage.tokens == 16
    story.tell(UsageReported(ticket=old, n=2, input_tokens=99))
    assert story.run.usage.tokens == 16


def test_what_is_used_when_the_run_has_ended_counts():
    """The money is spent, whoever cancels."""
    story = Story("a").cancel()
    use(story, "a", 5)
    assert (story.run.status, story.run.usage.tokens, story.commands) == ("cancelled", 5, [])


def test_models_are_told_apart_up_to_a_bound():
    """The others are added up."""
    story = Story("a")
    for n in range(USAGE_MODELS_MAX + 3):
        use(story, "a", 1, n, model=f"m{n}")
    models = story.run.models
    assert len(models) == USAGE_MODELS_MAX + 1
    assert (models["m0"].tokens, models[spending.OTHER_MODELS].tokens) == (1, 3)


def test_what_a_call_uses_counts_for_its_caller():
    """A loop's tools are part of what it does."""
    story = Story(a_loop("think", budget=TOKENS))
    step = Raw(b'{"task":"tool"}')
    story.tell(StepCalled(ticket=story.ticket("think"), n=0, step=step, input=raw(1)))
    [call] = [name for name in story.statuses if name != "think"]
    use(story, call, 101)
    assert story.state("think").usage.tokens == 101
    assert story.run.over is not None
    assert story.run.over.step == "think"


def test_a_child_tells_what_it_has_used_in_all():
    """Told twice, or late, it counts once."""
    story = Story(_child(), "other", budget=TOKENS)
    ticket = story.ticket("sub")
    for tokens in (30, 30, 20, 50):
        used = Usage(reports=tokens, input_tokens=tokens)
        story.tell(ChildReported(ticket=ticket, child="c", usage=used))
    assert (story.run.spent.tokens, story.run.usage.tokens) == (50, 0)


def test_a_child_that_was_given_up_still_counts():
    """It ends a moment later than its parent goes on."""
    story = Story(msgspec.structs.replace(_child(), retry=retries(1)), budget=TOKENS)
    first = story.ticket("sub")
    story.tell(ChildReported(ticket=first, child="c", usage=Usage(reports=1, input_tokens=10)))
    story.tell(ChildClosed(ticket=first, child="c", status="failed")).fire()
    second = story.ticket("sub")
    assert second != first
    for ticket, tokens in ((second, 7), (first, 30), (second, 7)):
        used = Usage(reports=tokens, input_tokens=tokens)
        story.tell(ChildReported(ticket=ticket, child="c", usage=used))
    assert story.run.spent.tokens == story.state("sub").usage.tokens == 37


def _child():
    workflow, _ = read_workflow(
        {"name": "w", "steps": [{"id": "sub", "type": "sub_workflow", "config": {"workflow": "o"}}]}
    )
    assert workflow is not None
    return workflow.steps[0]


def test_a_shared_run_tells_its_parent_and_only_then():
    """A child is bounded by what was left to its parent."""
    for cap, told in ((None, []), (TOKENS, [5])):
        story = Story("a", begin=False)
        start = RunStarted(
            workflow="flow", definition="digest", parent="p", parent_ticket="s/1/0", cap=cap
        )
        use(story.tell(start), "a", 5)
        found = [c.usage.tokens for c in story.commands if isinstance(c, TellUsage)]
        assert (found, story.run.cap) == (told, cap)


@pytest.mark.parametrize(("detached", "over"), [(False, False), (True, True)])
def test_the_parent_keeps_the_budget_that_it_shares(detached, over):
    """It may have been raised since the child began. Nobody but itself keeps what a detached child may use."""
    story = Story("a", begin=False)
    start = RunStarted(
        workflow="flow",
        definition="digest",
        parent="p",
        parent_ticket="s/1/0",
        cap=TOKENS,
        detached=detached,
    )
    use(story.tell(start), "a", 120)
    assert (story.run.over is not None) is over
    [left] = budgets.allowances(story.run, story.graph, story.run.steps, 0, hints=True)
    assert (left.used.tokens, left.budget, left.hint) == (120, TOKENS, not detached)


# -- being over ------------------------------------------------------------------------------------


def test_what_is_under_way_ends_and_nothing_new_begins():
    """The outcome that was paid for is kept, and so is the checkpoint."""
    story = Story(a_loop("think", most=9), "next", a_step("side"), budget=TOKENS)
    use(story, "think", 101).carry_on("think", {"turn": 1})
    assert story.dispatched == []
    assert story.run.status == "running"
    story.succeed("side", "kept")
    assert story.run.status == "budget_exceeded"
    assert "101 tokens used of 100 tokens" in story.run.error.message
    raise_by(story, 50, epoch=1)
    assert story.dispatched == ["think/2/1"]
    assert bytes(story.state("think").checkpoint) == b'{"turn":1}'
    assert story.state("side").status == "completed"


def test_exactly_all_of_it_may_be_used():
    """The budget is what may be used."""
    story = Story("a", budget=TOKENS)
    use(story, "a", 100).succeed("a")
    assert story.run.status == "completed"


def test_the_last_outcome_completes_the_run():
    """Nothing else was to begin: the run is not ended for what it has used."""
    story = Story("a", budget=TOKENS)
    use(story, "a", 500).succeed("a", "done")
    assert (story.run.status, bytes(story.run.output)) == ("completed", b'"done"')


def test_a_handler_that_does_not_end_is_cut_off():
    """It has so long to finish."""
    story = Story("a", budget=TOKENS)
    use(story, "a", 101)
    assert story.armed == [BUDGET_GRACE_MS]
    story.fire()
    assert (story.run.status, story.run.abandoned) == ("budget_exceeded", True)


def test_stopping_for_the_budget_costs_no_attempt():
    """The handler raised ``BudgetExceeded``: another attempt, when there is more, which the policy does not count."""
    story = Story(a_step("a", retry=retries(1)), budget=TOKENS)
    use(story, "a", 101).fail("a", failure="budget_exceeded")
    assert story.run.status == "budget_exceeded"
    raise_by(story, 50, epoch=1)
    assert story.dispatched == ["a/3/0"]
    story.fail("a").fire().fail("a")
    assert story.run.status == "failed"


def test_without_a_budget_it_is_a_failure_like_others():
    """No handler fails for ever at no cost."""
    story = Story(a_step("a"))
    assert story.fail("a", failure="budget_exceeded").run.status == "failed"


def test_an_iteration_beyond_the_budget_does_not_begin():
    """Iterations are counted when they are asked for."""
    story = Story(a_loop("think", most=9), budget=Budget(iterations=2))
    story.carry_on("think").carry_on("think")
    assert (story.run.status, story.state("think").iteration) == ("budget_exceeded", 2)
    story.tell(BudgetRaised(more=Budget(iterations=1), epoch=1)).succeed("think")
    assert story.run.status == "completed"


def test_time_is_over_for_the_run():
    """From its beginning; what is raised later begins then."""
    story = Story("a", budget=Budget(wall_ms=5_000))
    assert story.armed == [5_000]
    story.fire().fire()
    assert story.run.status == "budget_exceeded"
    story.tell(BudgetRaised(more=Budget(wall_ms=1_000), epoch=1))
    assert story.armed == [5_000 + BUDGET_GRACE_MS + 6_000]


def test_undoing_is_not_bounded():
    """What was done is undone whatever it costs."""
    steps = [a_step("a", compensate="undo"), a_step("undo"), a_step("b", "a")]
    story = Story(*steps, budget=TOKENS).succeed("a")
    use(story, "b", 101).fail("b")
    assert story.dispatched == ["undo/1/0"]
    use(story, "undo", 999).succeed("undo")
    assert story.run.status == "compensated"


def test_a_ticket_that_its_gate_lets_through_too_late_leaves_it():
    """It asks again when there is more to use."""
    limited = a_step("b", limits=(Limit(kind="slots", limit=1),))
    story = Story(a_step("a"), limited, budget=TOKENS)
    use(story, "a", 101)
    story.tell(GateGranted(gate="gate=task=work", ticket=story.ticket("b")))
    assert [type(c) for c in story.commands if isinstance(c, LeaveGate)] == [LeaveGate]
    assert story.state("b").in_line
    raise_by(story, 50)
    assert [c.id for c in story.commands] == ["r1/b/1/0:ask"]


def test_more_comes_before_the_run_has_ended():
    """What waits goes on at once; too little changes nothing."""
    story = Story(a_loop("think", most=9), a_step("side"), budget=TOKENS)
    use(story, "think", 120).carry_on("think")
    assert raise_by(story, 10).dispatched == []
    assert raise_by(story, 10).dispatched == ["think/1/1"]
    assert story.run.over is None


def test_a_request_to_open_a_run_counts_once():
    """Two people raise what one was faster with."""
    story = Story("a", budget=TOKENS)
    use(story, "a", 101).fire()
    raise_by(story, 50, epoch=1)
    raise_by(story, 50, epoch=1)
    assert story.run.raised == {"": Budget(tokens=50)}


@pytest.mark.parametrize(
    ("step", "refusal"),
    [("", "has no budget of its own"), ("a", 'no loop "a" with a budget'), ("think", "")],
)
def test_only_a_budget_can_be_raised(step, refusal):
    """The message says which there is not."""
    story = Story("a", a_loop("think", budget=TOKENS))
    assert refusal in spending.refusal(story.run, step)
    assert bool(spending.refusal(story.run, step)) == bool(refusal)


# -- what goes on elsewhere ------------------------------------------------------------------------


def test_what_is_left_bounds_a_child():
    """The least of the loop's and the run's, in each respect; what is used up leaves the smallest bound there is."""
    story = Story(
        a_loop("think", budget=Budget(tokens=50, usd_nano=9)),
        budget=Budget(tokens=20, iterations=4),
    )
    use(story, "think", 15, usd_nano=9)
    cap = budgets.cap_of(story.run, story.graph, 0, story.now)
    assert cap == Budget(tokens=5, usd_nano=1, iterations=4)


def test_a_successor_goes_on_with_what_was_used():
    """Continuing as new gives nothing back."""
    story = Story(a_loop("think", budget=TOKENS), budget=Budget(tokens=200, wall_ms=10_000))
    use(story, "think", 60)
    budget, used = budgets.carried(story.run)
    after = Story(
        a_loop("think", budget=TOKENS), budget=Budget(tokens=200, wall_ms=10_000), begin=False
    )
    start = RunStarted(workflow="flow", definition="digest", budget=budget, used=used)
    use(after.tell(start), "think", 50)
    assert after.run.over is not None
    assert (after.run.over.step, after.run.usage.tokens, after.run.spent.tokens) == (
        "think",
        50,
        110,
    )


def test_a_start_says_more_than_its_workflow():
    """In the respects that it names."""
    story = Story("a", budget=Budget(tokens=100, usd_nano=7), begin=False)
    story.tell(RunStarted(workflow="flow", definition="digest", budget=Budget(tokens=500)))
    assert story.run.budget == Budget(tokens=500, usd_nano=7)


# -- files -----------------------------------------------------------------------------------------


def test_files_hold_budgets():
    """Of a workflow and of a loop, there and back."""
    file = {
        "name": "w", "version": "1", "budget": {"usd": 2.5, "tokens": 1000, "wall": "20m", "soft": 0.5},
        "steps": [{"id": "a", "task": "t", "type": "agent_loop",
                   "config": {"max_iterations": 3, "budget": {"iterations": 2}}}],
    }  # fmt: skip
    workflow, problems = read_workflow(file)
    assert workflow is not None
    assert not [*problems, *problems_of(workflow)]
    assert workflow.budget == Budget(
        usd_nano=2_500_000_000, tokens=1000, wall_ms=1_200_000, soft=0.5
    )
    assert write_workflow(workflow) == file


@pytest.mark.parametrize(
    ("budget", "problem"),
    [
        ({}, "workflow.budget: the budget bounds nothing"),
        ({"usd": -1}, "workflow.budget.usd: -1 is out of bounds"),
        ({"tokens": -5}, "workflow.budget.tokens: -5 is out of bounds"),
        ({"tokens": 1, "soft": 0}, "workflow.budget.soft: 0"),
        ({"tokens": "many"}, "workflow.budget.tokens: 'many' is not a whole number"),
        ({"dollars": 3, "usd": 1}, 'unknown key "dollars"'),
        (7, "a budget is an object"),
        ({"wall": "soon"}, "workflow.budget.wall"),
    ],
)
def test_a_budget_that_is_none_is_said_to_be(budget, problem):
    """One line, with the place."""
    workflow, problems = read_workflow(
        {"name": "w", "steps": [{"id": "a", "task": "t"}], "budget": budget}
    )
    assert workflow is not None
    found = [str(each) for each in [*problems, *problems_of(workflow)]]
    assert any(problem in each for each in found), found
