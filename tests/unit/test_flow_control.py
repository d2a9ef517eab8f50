"""Limits as users write them: what each form means, and mistakes told where they are made, with the cure."""

from __future__ import annotations

import pytest

from dagnats import App, Concurrency, DefinitionError, Priority, Rate
from dagnats.core.limiting import write_limits


def a_task(**options):
    """A task with these options."""

    @App("limits").task(**options)
    def work(order: dict) -> int:
        return 1

    return work


def a_workflow(**options):
    """A workflow with these options."""
    app = App("limits")

    @app.task
    def work(order: dict) -> int:
        return 1

    @app.workflow(**options)
    def flow(order: dict):
        return work(order)

    return flow


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ({"concurrency": 3}, [{"concurrency": 3}]),
        ({"concurrency": 3, "key": "input.tenant"}, [{"concurrency": 3, "key": "tenant"}]),
        ({"rate": "5/10s"}, [{"rate": 5, "period": "10s"}]),
        ({"rate": Rate(9, per="1m", units="n", burst=2)}, [{"rate": 9, "period": "1m", "burst": 2, "units": "n"}]),
        ({"key": "model"}, [{"concurrency": 0, "key": "model"}]),
        (
            {"concurrency": [Concurrency(2, key="t", on_limit="refuse"), Concurrency(9, weight=3)]},
            [{"concurrency": 2, "key": "t", "on_limit": "refuse"}, {"concurrency": 9, "weight": 3}],
        ),
    ],
)  # fmt: skip
def test_limits_of_a_task(options, written):
    """The short forms and the long ones come to the canonical form of files."""
    [step] = a_task(**options).definition().steps

    assert write_limits(step.limits) == written


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Concurrency(0), "Concurrency: limit=0; give a whole number, at least 1"),
        (lambda: Concurrency(True), "limit=True; give a whole number"),
        (lambda: Concurrency(1, key=3), 'key=3; write a path into the input: "input.tenant"'),
        (lambda: Concurrency(1, on_limit="drop"), "on_limit='drop'; use one of wait, refuse"),
        (lambda: Rate("10"), "Rate('10'): write for example \"10/s\""),
        (lambda: Rate("10/s", per="1s"), "Rate('10/s'): write for example"),
        (lambda: Rate(10), 'Rate(10): in which time? write "10/s", or give per='),
        (lambda: Rate(None), "Rate: limit=None; give a whole number"),
        (lambda: Rate(10, per="soon"), "Rate: per: 'soon' is not a duration"),
        (lambda: Priority("plan", ["paid"]), "Priority: rules=['paid']; write {"),
        (lambda: Priority("plan", {"paid": "x"}), "'paid' is 'x'; write whole seconds"),
        (lambda: a_task(concurrency=0), "task work: concurrency=0: "),
        (lambda: a_task(concurrency="5"), "task work: concurrency='5'; write 5 or Concurrency(5"),
        (lambda: a_task(concurrency=[1, 2]), "2 concurrencies without a key; keep one"),
        (lambda: a_task(concurrency=2, key="input."), "key='input.'; write a path"),
        (lambda: a_task(rate="5/0s"), "period: 0"),
        (lambda: a_workflow(singleton=["x"]), "singleton=['x']; use True or one of"),
        (lambda: a_workflow(singleton=True, max_runs=3), "singleton= and max_runs= both say"),
        (lambda: a_workflow(key="x"), "key='x' says for what a limit holds; give max_runs="),
        (lambda: a_workflow(priority={"a": 1}), 'write Priority("input.plan"'),
        (lambda: a_workflow(priority=Priority("p", {"default_offset": 999})), "999 is out of"),
    ],
)
def test_mistakes(make, problem):
    """Each is one error that names what was written and what to write."""
    with pytest.raises(DefinitionError) as refused:
        make()

    assert problem in str(refused.value)


def test_a_singleton_for_each_key_among_few():
    """Limits that hold for different things go together."""
    flow = a_workflow(singleton=True, key="tenant", max_runs=[Concurrency(5)])

    assert [limit.key for limit in flow.definition().limits] == ["tenant", ""]
