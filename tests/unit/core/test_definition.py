"""Reading and writing workflow files."""

from __future__ import annotations

import msgspec
import pytest

from dagnats.core.definition import (
    encode_workflow,
    read_workflow,
    write_workflow,
)
from dagnats.core.model import Condition, LoopConfig, RetryPolicy, Step, Workflow

FULL = {
    "name": "review",
    "version": "7",
    "timeout": "1h30m",
    "default_retry": {"max_attempts": 2, "strategy": "linear", "initial_delay": "2s"},
    "idempotency_key": "order.id",
    "input_schema": {"type": "object"},
    "output_schema": {"type": "string"},
    "output": {"$step": "fix", "path": "text"},
    "steps": [
        {"id": "fetch", "task": "git.fetch", "worker_group": "gpu", "timeout": "30s"},
        {
            "id": "fix",
            "task": "fix",
            "type": "agent_loop",
            "depends_on": ["fetch"],
            "config": {
                "max_iterations": 5,
                "max_duration": "10m",
                "loop_delay": "1s",
                "budget_warn_at": 3,
                "budget_force_at": 4,
            },
            "retry": {
                "max_attempts": 4,
                "strategy": "exponential",
                "initial_delay": "250ms",
                "max_delay": "1m",
                "multiplier": 1.5,
                "jitter": 0.25,
            },
            "skip_if": {"step_id": "fetch", "field": "empty", "op": "==", "value": True},
            "when": {"step_id": "fetch", "field": "size", "op": ">", "value": 0},
            "on_failure": "mend",
            "metadata": {"role": "fixer"},
            "input": {"diff": {"$step": "fetch"}},
        },
        {"id": "mend", "task": "mend"},
    ],
}
MODEL = Workflow(
    name="review",
    version="7",
    timeout_ms=5_400_000,
    default_retry=RetryPolicy(attempts=3, strategy="linear", initial_ms=2_000),
    idempotency_key="order.id",
    input_schema={"type": "object"},
    output_schema={"type": "string"},
    output={"$step": "fix", "path": "text"},
    steps=(
        Step(id="fetch", task="git.fetch", group="gpu", timeout_ms=30_000),
        Step(
            id="fix",
            kind="agent_loop",
            task="fix",
            depends_on=("fetch",),
            config=LoopConfig(
                max_iterations=5,
                max_duration_ms=600_000,
                loop_delay_ms=1_000,
                budget_warn_at=3,
                budget_force_at=4,
            ),
            retry=RetryPolicy(
                attempts=5,
                strategy="exponential",
                initial_ms=250,
                max_ms=60_000,
                multiplier=1.5,
                jitter=0.25,
            ),
            skip_if=Condition("fetch", "empty", "==", True),
            when=Condition("fetch", "size", ">", 0),
            on_failure="mend",
            metadata={"role": "fixer"},
            input={"diff": {"$step": "fetch"}},
        ),
        Step(id="mend", task="mend"),
    ),
)


def read(data: object) -> tuple[Workflow, list[str]]:
    """A file's workflow and its problems as people see them."""
    workflow, problems = read_workflow(data)
    assert workflow is not None
    return workflow, [str(problem) for problem in problems]


def step(**keys: object) -> tuple[Step, list[str]]:
    """A step of a file with these keys, and the problems."""
    workflow, problems = read({"name": "w", "steps": [{"id": "a", "task": "t", **keys}]})
    return workflow.steps[0], problems


def test_every_key():
    """Every key of the format arrives in the model."""
    assert read(FULL) == (MODEL, [])


def test_the_canonical_file():
    """The model writes the file it was read from, when that was canonical."""
    assert write_workflow(MODEL) == FULL


def test_the_smallest_file():
    """What is left out has its default, and is left out again."""
    data = {"name": "w", "version": "1", "steps": [{"id": "a", "task": "t"}]}
    workflow, problems = read({"name": "w", "steps": [{"id": "a", "task": "t"}]})

    assert (workflow, problems) == (Workflow(name="w", steps=(Step(id="a", task="t"),)), [])
    assert write_workflow(workflow) == data


def test_the_hash_is_of_the_meaning():
    """Spelling and order do not change a definition's hash; meaning does."""
    respelled = dict(reversed(FULL.items())) | {"timeout": 5_400_000_000_000, "$schema": "x"}
    digest, body = encode_workflow(MODEL)

    assert encode_workflow(read(respelled)[0]) == (digest, body)
    assert encode_workflow(msgspec.structs.replace(MODEL, version="8"))[0] != digest
    assert len(digest) == 32
    assert msgspec.json.decode(body) == FULL


def test_nanoseconds():
    """Integers are nanoseconds, as the Go system writes them."""
    made, problems = step(
        timeout=30_000_000_000,
        type="agent_loop",
        config={"max_iterations": 1, "loop_delay": 1_500_000},
        retry={"max_attempts": 1, "initial_delay": 2_000_000_000, "max_delay": 1},
    )

    assert not problems
    assert made.timeout_ms == 30_000
    assert made.loop == LoopConfig(max_iterations=1, loop_delay_ms=2)
    assert made.retry == RetryPolicy(attempts=2, initial_ms=2_000, max_ms=1)


@pytest.mark.parametrize("key", ["loop", "config"])
def test_loop_settings_have_two_names(key):
    """Settings of an agent loop stand under either key."""
    made, problems = step(type="agent_loop", **{key: {"max_iterations": 3}})

    assert not problems
    assert made.loop == LoopConfig(max_iterations=3)


def test_both_names_at_once():
    """Giving both is a problem, because they mean the same."""
    _, problems = step(type="agent_loop", loop={"max_iterations": 3}, config={"max_iterations": 3})

    assert problems == [
        'step "a": both "loop" and "config" are given; keep one; they mean the same'
    ]


@pytest.mark.parametrize("key", ["loop", "config"])
def test_settings_of_a_plain_task(key):
    """A task has no settings; having some says that its type was forgotten."""
    _, problems = step(**{key: {"max_iterations": 3}})

    assert len(problems) == 1
    assert 'for example "type": "agent_loop"' in problems[0]


def test_retries_are_a_shorthand():
    """``retries`` are so many retries, five seconds apart."""
    assert step(retries=2)[0].retry == RetryPolicy(attempts=3, initial_ms=5_000)
    assert step(retries=0)[0].retry is None


def test_a_policy_outranks_the_shorthand():
    """``retry`` counts when both are given."""
    made, _ = step(retries=9, retry={"max_attempts": 1})

    assert made.retry == RetryPolicy(attempts=2)


@pytest.mark.parametrize("name", ["normal", "task", None])
def test_names_of_a_task(name):
    """A task is what a step is by default; "normal" is its name in the Go system."""
    assert step(type=name)[0].kind == "task"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"trigger": []}, 'workflow: unknown key "trigger"; did you mean "triggers"?'),
        ({"Name": "w"}, 'workflow: unknown key "Name"; did you mean "name"?'),
        (
            {"steps": [{"id": "a", "depend_on": []}]},
            'step "a": unknown key "depend_on"; did you mean "depends_on"?',
        ),
        (
            {"steps": [{"id": "a", "retry": {"max_atempts": 1}}]},
            'step "a".retry: unknown key "max_atempts"; did you mean "max_attempts"?',
        ),
        (
            {"steps": [{"id": "a", "type": "agent_loop", "loop": {"max_iteration": 1}}]},
            'step "a".loop: unknown key "max_iteration"; did you mean "max_iterations"?',
        ),
        (
            {"steps": [{"id": "a", "skip_if": {"step": "b"}}]},
            'step "a".skip_if: unknown key "step"; did you mean "step_id"?',
        ),
        (
            {"default_retry": {"delay": "1s"}},
            'workflow.default_retry: unknown key "delay"; did you mean "max_delay"?',
        ),
        (
            {"steps": [{"id": "a", "type": "agent_lop"}]},
            'step "a": unknown type "agent_lop"; did you mean "agent_loop"?',
        ),
        (
            {"steps": [{"id": "a", "type": "xyz"}]},
            (
                'step "a": unknown type "xyz"; types: normal, task, agent_loop, planner, map, approval, '
                "sleep, wait_for_event, wait_for_signal, sub_workflow, respond, agent"
            ),
        ),
    ],
)
def test_unknown_words(data, problem):
    """A word that is not known is refused at every level, with what was probably meant."""
    assert problem in read(data)[1]


def test_a_word_like_no_other():
    """Where nothing is close, the known keys are listed."""
    _, problems = read({"zzzzzz": 1})

    assert problems[0].startswith('workflow: unknown key "zzzzzz"; known keys: name, version')


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"task": 5}, 'step "a".task: 5 is not a string'),
        ({"depends_on": "b"}, "step \"a\".depends_on: 'b' is not an array"),
        ({"depends_on": [1]}, 'step "a".depends_on: 1 is not a step id'),
        ({"metadata": {"k": 1}}, 'step "a".metadata.k: metadata are strings'),
        ({"metadata": []}, 'step "a".metadata: [] is not an object'),
        ({"retries": True}, 'step "a".retries: True is not a whole number'),
        ({"retry": 3}, 'step "a".retry: a retry policy is an object'),
        ({"retry": {"strategy": "random"}}, 'step "a".retry: unknown strategy "random"'),
        ({"retry": {"multiplier": "2"}}, "step \"a\".retry.multiplier: '2' is not a number"),
        ({"retry": {"jitter": 10**400}}, 'step "a".retry.jitter: the number is too large'),
        ({"timeout": "soon"}, "step \"a\".timeout: 'soon' is not a duration"),
        ({"timeout": -1}, 'step "a".timeout: a duration cannot be negative (-1)'),
        ({"skip_if": []}, 'step "a".skip_if: a condition is an object'),
        ({"when": {"op": "=~"}}, 'step "a".when: unknown operator "=~"'),
        ({"type": "agent_loop", "loop": 3}, 'step "a".loop: 3 is not an object'),
    ],
)
def test_wrong_types(keys, problem):
    """A value of the wrong type is a problem at its place, and reading goes on."""
    _, problems = step(**keys)

    assert any(text.startswith(problem) for text in problems), problems


def test_a_file_that_is_none():
    """There is nothing to look at in what is not an object."""
    assert read_workflow([])[0] is None
    assert read_workflow([])[1][0].what == "a workflow is a JSON object"


def test_a_step_that_is_none():
    """A step that is not an object is named by its place."""
    workflow, problems = read({"name": "w", "steps": [3]})

    assert len(workflow.steps) == 1
    assert problems == ['steps[0]: a step is a JSON object; write {"id": …, "task": …}']


def test_every_problem_at_once():
    """Reading does not stop at the first problem."""
    _, problems = read({"nam": "w", "timeout": "x", "steps": [{"idd": 1}, {"tsk": 1}]})

    assert len(problems) == 4


def test_what_the_builder_of_the_go_system_adds():
    """``aux_steps`` and ``$schema`` are accepted and worked out anew or ignored."""
    data = {"name": "w", "$schema": "https://x", "aux_steps": {"a": True}, "steps": []}

    assert read(data) == (Workflow(name="w"), [])
