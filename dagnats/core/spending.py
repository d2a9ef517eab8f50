"""What handlers use up: counted as they report it, and what happens when it is more than the budget.

A budget that is exceeded lets what is under way end, for a while, so that nothing that was paid for is lost: its
outcomes count, but nothing new begins. Then the run ends as ``budget_exceeded``; when somebody raises the budget,
it goes on from there. What is undone by compensation is undone whatever it costs.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from dagnats.core.admission import charge
from dagnats.core.amounts import words_of
from dagnats.core.budgets import (
    allowances,
    exceeded,
    loop_budget,
    raised_by,
    replaced,
    tightened,
    together,
)
from dagnats.core.commands import ChargeGate, TellUsage
from dagnats.core.draft import Draft
from dagnats.core.events import BudgetRaised, BudgetSpent, ChildReported, RunStarted, UsageReported
from dagnats.core.graph import NOWHERE, Graph, Node
from dagnats.core.limiting import gate_name
from dagnats.core.model import NOTHING_USED, Usage
from dagnats.core.run import Over, Run
from dagnats.core.state import BUDGET_EXCEEDED, QUEUED, StepError
from dagnats.core.triggers.model import is_trigger
from dagnats.limits import BUDGET_GRACE_MS, NAME_LENGTH_MAX, USAGE_MODELS_MAX

OTHER_MODELS = "(others)"


# -- beginning -------------------------------------------------------------------------------------


def begun(run: Run, graph: Graph, fact: RunStarted) -> Run:
    """A run that starts, with the budget it has."""
    own = graph.workflow.budget
    if own is None and fact.budget is None and fact.cap is None and not fact.used:
        return run
    steps = {
        graph.index[name]: replace(run.steps[graph.index[name]], usage=used)
        for name, used in fact.used.items()
        if name in graph.index
    }
    shared = fact.cap is not None and not fact.detached and not is_trigger(fact.parent)
    budget = replaced(own, fact.budget)
    return replace(
        run,
        accounts=fact.accounts,
        budget=budget if shared else tightened(budget, fact.cap),
        cap=fact.cap if shared else None,
        elsewhere=fact.used.get("", NOTHING_USED),
        raised=fact.raised,
        steps=run.steps.replace(steps),
    )


def clock_started(run: Run, at_ms: int) -> Run:
    """The time of a run's budget runs from here."""
    if run.budget is None or not run.budget.wall_ms:
        return run
    wall = raised_by(run.budget, run.raised.get("")).wall_ms
    return replace(run, wall_due_ms=at_ms + wall)


# -- counting --------------------------------------------------------------------------------------


def reported(draft: Draft, node: Node, fact: UsageReported) -> None:
    """A handler used something. A number that was counted under this ticket does not count again."""
    state = draft[node.position]
    if fact.n < state.reports:
        return
    draft.changed[node.position] = replace(state, reports=fact.n + 1)
    used = Usage(
        reports=1,
        input_tokens=max(0, fact.input_tokens),
        output_tokens=max(0, fact.output_tokens),
        usd_nano=max(0, fact.usd_nano),
    )
    models = draft.run.models
    model = fact.model[:NAME_LENGTH_MAX]
    if model not in models and len(models) >= USAGE_MODELS_MAX:
        model = OTHER_MODELS
    draft.run = replace(
        draft.run,
        usage=draft.run.usage + used,
        models={**models, model: models.get(model, NOTHING_USED) + used},
    )
    _count(draft, node, used)


def child_reported(draft: Draft, node: Node, fact: ChildReported) -> None:
    """A child used something: ``fact`` says how much in all. One that was given up may do so late."""
    state = draft[node.position]
    known = state.told.get(fact.ticket, NOTHING_USED)
    more = Usage(
        **{
            name: max(0, getattr(fact.usage, name) - getattr(known, name))
            for name in Usage.__struct_fields__
        }
    )
    if more != NOTHING_USED:
        told = {**state.told, fact.ticket: known + more}
        draft.changed[node.position] = replace(state, told=told)
        draft.run = replace(draft.run, elsewhere=draft.run.elsewhere + more)
        _count(draft, node, more)


def iterated(draft: Draft, node: Node, *, again: bool) -> None:
    """An agent loop has run once more; ``again``: it wants to go on."""
    if not node.step.loop:
        return
    if not (draft.run.cap or allowances(draft.run, draft.graph, draft, node.position)):
        return
    once = Usage(iterations=1)
    draft.run = replace(draft.run, usage=draft.run.usage + once)
    _count(draft, node, once)
    for allowance in allowances(draft.run, draft.graph, draft, node.position) if again else ():
        most = allowance.budget.iterations
        if most and allowance.used.iterations >= most:
            _exceed(draft, allowance.step, "iterations")


def _count(draft: Draft, node: Node, used: Usage) -> None:
    """Add to the step and to all that it belongs to; a budget may be exceeded then."""
    position = node.position
    while position != NOWHERE:
        state = draft[position]
        draft.changed[position] = replace(state, usage=state.usage + used)
        position = draft.graph.nodes[position].owner
    for allowance in allowances(draft.run, draft.graph, draft, node.position):
        what = exceeded(allowance.budget, allowance.used)
        if what:
            _exceed(draft, allowance.step, what)


# -- being over ------------------------------------------------------------------------------------


def _exceed(draft: Draft, step: str, what: str, gate: str = "", reason: str = "") -> None:
    if draft.run.over is None and draft.run.saga is None:
        over = Over(step, what, draft.at_ms + BUDGET_GRACE_MS, gate, reason)
        draft.run = replace(draft.run, over=over)


def shared_spent(draft: Draft, fact: BudgetSpent) -> None:
    """A budget that the run shares with others is used up, whoever used it."""
    what = "usd_nano" if fact.kind == "usd" else "tokens"
    _exceed(draft, "", what, fact.gate, fact.reason)


def timed(draft: Draft) -> None:
    """The timer fired: the time of a budget may be over, and so may the time to finish."""
    run = draft.run
    if run.wall_due_ms and draft.at_ms >= run.wall_due_ms:
        draft.run = replace(run, wall_due_ms=0)
        _exceed(draft, "", "wall_ms")
    for node, state in zip(draft.graph.nodes, run.steps, strict=True):
        if state.wall_due_ms and state.deadline_ms and draft.at_ms >= state.wall_due_ms:
            draft.changed[node.position] = replace(draft[node.position], wall_due_ms=0)
            _exceed(draft, node.step.id, "wall_ms")
    over = draft.run.over
    if over is not None and draft.at_ms >= over.until_ms:
        _end(draft, over)


def settled(draft: Draft) -> None:
    """The run is over its budget: it ends when nothing is under way any more."""
    over = draft.run.over
    if over is None or draft.run.saga is not None:
        return
    if not any(draft[node.position].status == QUEUED for node in draft.graph.nodes):
        _end(draft, over)


def _end(draft: Draft, over: Over) -> None:
    draft.end(BUDGET_EXCEEDED, StepError(reason(draft, over), BUDGET_EXCEEDED))


def reason(draft: Draft, over: Over) -> str:
    """Which budget is exceeded, and what can be done about it."""
    run = draft.run
    if over.gate:
        return f"{over.reason}; {_cure(run.id, over.gate)}"
    position = draft.graph.index[over.step] if over.step else NOWHERE
    own = raised_by(run.budget, run.raised.get("")) if run.budget else None
    used = run.spent
    if over.step:
        own, used = loop_budget(draft.graph.nodes[position].step, run.raised), draft[position].usage
    most = getattr(own, over.what, 0)
    of = f' of step "{over.step}"' if over.step else ""
    if over.what == "wall_ms":
        spent = f"{words_of(over.what, most)} are over"
    else:
        spent = (
            f"{words_of(over.what, getattr(used, over.what))} used of {words_of(over.what, most)}"
        )
    return f"the budget{of} is used up: {spent}; raise it with `dagnats run raise {run.id}`"


def _cure(run_id: str, gate: str) -> str:
    kind, name = gate_name(gate)
    raising = f"`dagnats gate raise {kind}:{name}`"
    return f"`dagnats run retry {run_id}` goes on when there is more ({raising})"


# -- raising ---------------------------------------------------------------------------------------


def refusal(run: Run, step: str) -> str:
    """Why a run's budget, or that of its loop at ``step``, cannot be raised; empty when it can."""
    if run.closed and run.over is not None and run.over.gate:
        return f"run {run.id} was ended by a budget that it shares; {_cure(run.id, run.over.gate)}"
    if run.graph is None or (run.closed and run.status != BUDGET_EXCEEDED):
        return f"run {run.id} is {run.status}; a budget counts while a run goes on"
    if not step:
        return "" if run.budget else f"run {run.id} has no budget of its own"
    position = run.graph.index.get(step)
    if position is None or loop_budget(run.graph.nodes[position].step, {}) is None:
        return f'run {run.id} has no loop "{step}" with a budget'
    return ""


def raised(run: Run, fact: BudgetRaised) -> Run:
    """The run with more to use, as far as it has such a budget."""
    if refusal(run, fact.step):
        return run
    more = {**run.raised, fact.step: together(run.raised.get(fact.step), fact.more)}
    return replace(run, raised=more)


def raised_under_way(draft: Draft, fact: BudgetRaised) -> None:
    """Somebody gives more before the run has ended: what waits in line may go on."""
    before = draft.run
    after = (
        before if fact.epoch else raised(before, fact)
    )  # with an epoch it was to open a run that had ended
    if after is before:
        return
    draft.run = after
    own = after.over is not None and not after.over.gate and after.over.step == fact.step
    over = after.over if own else None
    more = fact.more.wall_ms
    if more:
        _prolong(
            draft, fact.step, more, since_ms=draft.at_ms if over and over.what == "wall_ms" else 0
        )
    if over is not None and (more > 0 if over.what == "wall_ms" else missing(after, over) <= 0):
        draft.run = replace(draft.run, over=None)


def _prolong(draft: Draft, step: str, more_ms: int, since_ms: int) -> None:
    """The time of a budget ends later: counted from now if it was over, else from when it would have been."""
    if not step:
        due_ms = since_ms or draft.run.wall_due_ms
        draft.run = replace(draft.run, wall_due_ms=due_ms + more_ms if due_ms else 0)
        return
    position = draft.graph.index[step]
    due_ms = since_ms or draft[position].wall_due_ms
    if due_ms:
        draft.changed[position] = replace(draft[position], wall_due_ms=due_ms + more_ms)


def missing(run: Run, over: Over) -> int:
    """How much more there must be for the run to go on, where its budget was exceeded; 0 or less: it can."""
    if run.graph is None or over.what == "wall_ms":
        return 0
    position = run.graph.index[over.step] if over.step else NOWHERE
    for allowance in allowances(run, run.graph, run.steps, position):
        if allowance.step == over.step:
            short = getattr(allowance.used, over.what) - getattr(allowance.budget, over.what)
            return short + (over.what == "iterations")  # the next one must be within it
    return 0


# -- telling ---------------------------------------------------------------------------------------


def told(before: Run, after: Run) -> Iterator[TellUsage | ChargeGate]:
    """The parent, and the gate, whose budgets count it, are told what the run has used since."""
    if before.usage is not after.usage or before.elsewhere is not after.elsewhere:
        yield from tells(after)


def tells(run: Run) -> Iterator[TellUsage | ChargeGate]:
    """What a run has used is told to whom it concerns."""
    if run.cap is not None:
        yield TellUsage(run.id, run.spent)
    charged = charge(run)
    if charged is not None:
        yield charged
