"""Every problem of a definition's meaning."""

from __future__ import annotations

import pytest

from dagnats.core.model import Condition, RetryPolicy, Step, Workflow
from dagnats.core.validate import advice_on, name_problems, problems_of
from tests.support.builders import a_loop, a_step, a_workflow


def problems(*steps: Step | str, **options: object) -> list[str]:
    """The problems of a workflow as people see them."""
    return [str(problem) for problem in problems_of(a_workflow(*steps, **options))]


def nested(depth: int) -> object:
    """A template with so many objects one in the other."""
    item: object = {"$input": ""}
    for _ in range(depth):
        item = {"in": item}
    return item


def test_a_valid_workflow_has_none():
    """Tasks, loops, handlers, conditions and templates that fit together are no problem."""
    assert not problems(
        a_step("a", on_failure="h", retry=RetryPolicy(attempts=3), input={"x": {"$input": "a.b"}}),
        a_step("b", "a", skip_if=Condition("a", "n", "<", 3), input={"$step": "a"}),
        a_loop("c", "a", "b", when=Condition("", "go", "==", True)),
        a_step("h"),
        output={"$step": "c"},
        timeout_ms=1,
        idempotency_key="order.id",
    )


LONG = "x" * 129
CASES = {
    "no steps": ([], {}, "workflow.steps: there are no steps"),
    "no name": (["a"], {"name": ""}, "workflow.name: the name is missing"),
    "long name": (["a"], {"name": LONG}, "workflow.name: the name is too long"),
    "odd name": (["a"], {"name": "a\nb"}, "workflow.name: the name holds control characters"),
    "long run": (
        ["a"],
        {"timeout_ms": 10**12},
        "workflow.timeout: 277777h46m40s is too long; write at most 8760h",
    ),
    "negative": (["a"], {"timeout_ms": -1}, "workflow.timeout: is negative"),
    "key": (
        ["a"],
        {"idempotency_key": "a..b"},
        'workflow.idempotency_key: "a..b" is not a dot-path',
    ),
    "output": (["a"], {"output": {"$step": "z"}}, 'workflow.output: uses "z", which is no step'),
    "hole": (["a"], {"output": {"$input": 5}}, "workflow.output: 5 is not a path"),
    "deep": (["a"], {"output": nested(65)}, "workflow.output: it is nested more than 64 deep"),
    "deeper": (["a"], {"output": nested(5_000)}, "workflow.output: it is nested more than 64"),
    "deep literal": (
        ["a"],
        {"output": {"$literal": nested(5_000)}},
        "workflow.output: it is nested more than 64 deep",
    ),
    "twice": ([a_step("a"), a_step("a")], {}, 'step "a": 2 steps have this id'),
    "parent": ([a_step("a", "z")], {}, 'step "a": depends on "z", which is no step'),
    "same parent": ([a_step("z"), a_step("a", "z", "z")], {}, 'step "a": names a dependency twice'),
    "cycle": ([a_step("a", "b"), a_step("b", "a")], {}, "workflow.steps: there is a cycle: "),
    "itself": ([a_step("a", "a")], {}, "workflow.steps: there is a cycle: a → a"),
    "handler": ([a_step("a", on_failure="z")], {}, 'step "a": on_failure names "z", which is no'),
    "own handler": (
        [a_step("a", on_failure="a")],
        {},
        'step "a": on_failure names the step itself',
    ),
    "only handlers": (
        [a_step("a", on_failure="b"), a_step("b", on_failure="a")],
        {},
        "workflow.steps: every step runs only on failure or to undo another",
    ),
    "late handler": (
        [a_step("a", on_failure="h"), a_step("h", "a")],
        {},
        'step "h": it is an on_failure step and has depends_on',
    ),
    "on a handler": (
        [a_step("a", on_failure="h"), a_step("h"), a_step("b", "h")],
        {},
        'step "b": depends on "h", which runs only on failure',
    ),
    "no id": ([a_step("")], {}, "steps[0]: the id is missing"),
    "odd id": ([a_step("a/b")], {}, 'step "a/b": the id cannot be used'),
    "id line": ([a_step("a\n")], {}, "the id cannot be used"),
    "long id": ([a_step(LONG)], {}, "the id cannot be used"),
    "no task": ([a_step("a", task="")], {}, 'step "a": the task is missing'),
    "odd task": ([a_step("a", task="\0")], {}, 'step "a".task: the name holds control characters'),
    "group": ([a_step("a", group=LONG)], {}, 'step "a".worker_group: the name is too long'),
    "kind": ([a_step("a", kind="magic")], {}, 'step "a": unknown type "magic"'),
    "timeout": ([a_step("a", timeout_ms=86_400_001)], {}, 'step "a".timeout: 24h1ms is too long'),
    "metadata": (
        [a_step("a", metadata={str(n): "" for n in range(65)})],
        {},
        'step "a".metadata: too many entries',
    ),
    "no bound": ([a_step("a", kind="agent_loop")], {}, 'step "a".config.max_iterations: an agent'),
    "bound 0": ([a_loop("a", most=0)], {}, 'step "a".config.max_iterations: an agent loop needs'),
    "bound": ([a_loop("a", most=1_000_001)], {}, 'step "a".config.max_iterations: an agent loop'),
    "loop time": ([a_loop("a", max_duration_ms=-1)], {}, 'step "a".config.max_duration: is neg'),
    "loop delay": ([a_loop("a", loop_delay_ms=10**12)], {}, 'step "a".config.loop_delay: 277777h'),
    "not a parent": (
        [a_step("a"), a_step("b", skip_if=Condition("a", "n", "==", 1))],
        {},
        'step "b".skip_if: looks at "a", which is not in depends_on',
    ),
    "operator": (
        [a_step("a", when=Condition("", "n", "~", 1))],
        {},
        'step "a".when.op: unknown operator "~"',
    ),
    "condition path": (
        [a_step("a", when=Condition("", 5, "==", 1))],
        {},
        'step "a".when.field: 5 is not a path',
    ),
    "input": (
        [a_step("a", input={"$step": "z"})],
        {},
        'step "a".input: uses "z", which is no step',
    ),
    "input of no parent": (
        [a_step("a"), a_step("b", input=[{"$step": "a"}])],
        {},
        'step "b".input: uses "a", which is not in depends_on',
    ),
    "literal": ([a_step("a", input={"$literal": 1, "x": 2})], {}, "'$literal' stands alone"),
}


@pytest.mark.parametrize(("steps", "options", "problem"), CASES.values(), ids=CASES)
def test_the_catalogue(steps, options, problem):
    """Each mistake is found, at its place, with a cure."""
    found = [text for text in problems(*steps, **options) if problem in text]

    assert len(found) == 1
    assert found[0].partition("; ")[2]


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        (RetryPolicy(attempts=0), ".max_attempts: -1 retries"),
        (RetryPolicy(attempts=100_002), ".max_attempts: 100001 retries"),
        (RetryPolicy(strategy="random"), '.strategy: unknown strategy "random"'),
        (RetryPolicy(initial_ms=0), ": a delay is negative or zero"),
        (RetryPolicy(max_ms=-1), ": a delay is negative or zero"),
        (RetryPolicy(multiplier=0.0), ".multiplier: 0.0"),
        (RetryPolicy(multiplier=float("nan")), ".multiplier: nan"),
        (RetryPolicy(multiplier=1e7), ".multiplier: 10000000.0"),
        (RetryPolicy(jitter=1.5), ".jitter: 1.5"),
        (RetryPolicy(jitter=-0.1), ".jitter: -0.1"),
    ],
)
def test_retry_policies(policy, problem):
    """A policy's mistakes are found in a step and in the default."""
    found = problems(a_step("a", retry=policy), default_retry=policy)

    assert len(found) == 2
    assert found[0].startswith(f"workflow.default_retry{problem}")
    assert found[1].startswith(f'step "a".retry{problem}')


def test_too_many_steps():
    """A workflow has at most 10,000 steps."""
    steps = tuple(a_step(f"s{number}") for number in range(10_001))
    found = problems_of(Workflow(name="w", steps=steps))

    assert [problem.what for problem in found] == ["10001 steps"]


def test_every_problem_at_once():
    """Problems do not hide each other."""
    assert len(problems(a_step("a", "z", task="", timeout_ms=-1), name="")) == 4


def test_names_may_be_words_of_any_language():
    """A name is free text without control characters, counted in bytes."""
    assert not list(name_problems("x", "überprüfen 検査"))
    assert list(name_problems("x", "検" * 43))


@pytest.mark.parametrize("key", ["input_schema", "output_schema"])
def test_schemas_that_cannot_be_used(key):
    """A schema is judged where it is written, not where the first value meets it."""
    for wrong in ({"type": "text"}, {"$ref": "https://example.com/s.json"}, {"type": {1}}):
        found = problems_of(a_workflow_of_one(**{key: wrong}))

        assert [problem.where for problem in found] == [f"workflow.{key}"]
    assert not problems_of(a_workflow_of_one(**{key: {"type": "object"}}))


def a_workflow_of_one(**more):
    """The smallest valid workflow."""
    return Workflow(name="w", steps=(Step(id="a", task="a"),), **more)


def test_sticky_runs():
    """Hard needs an end to its waiting; one worker cannot be of a step's group as well."""
    assert not problems("a", sticky="soft")
    assert not problems("a", sticky="hard", timeout_ms=1)
    [endless] = problems("a", sticky="hard")
    assert "a run would wait for ever for a worker that is gone; give the workflow" in endless
    [grouped] = problems("a", a_step("b", group="gpu"), sticky="soft")
    assert 'step "b" needs one of group "gpu"' in grouped
    [unknown] = problems("a", sticky="often")
    assert 'unknown mode "often"' in unknown


def test_advice_on_singletons():
    """The hint of a step is for its workers to keep."""
    [advice] = advice_on(a_workflow(a_step("a", task="t", singleton=True)))

    assert advice.kind == "singleton"
    assert "register task t with singleton=True" in advice.message
