"""Where the steps of a workflow are drawn."""

from dagnats.cli.layout import lines_of, mermaid
from dagnats.core.model import LoopConfig, Step, Workflow


def drawn(*steps):
    """The drawing as text; a step is (id, parents) or a ``Step``."""
    made = [
        s if isinstance(s, Step) else Step(id=s[0], task="t", depends_on=tuple(s[1])) for s in steps
    ]
    return [line.prefix + line.step.id for line in lines_of(Workflow(name="w", steps=tuple(made)))]


def test_a_chain_goes_straight_down():
    """No staircase."""
    assert drawn(("a", ""), ("b", "a"), ("c", "b")) == ["a", "b", "c"]


def test_branches_are_indented_and_joins_come_back():
    """The join stands at the level of the step where its branches parted."""
    found = drawn(("a", ""), ("b", "a"), ("b2", "b"), ("c", "a"), ("d", ["b2", "c"]), ("e", "d"))

    assert found == ["a", "├─b", "│ b2", "└─c", "d", "e"]


def test_several_roots():
    """Each at the left; what joins them, too."""
    assert drawn(("a", ""), ("b", ""), ("c", "ab")) == ["a", "b", "c"]


def test_nested_branches():
    """A branch within a branch."""
    found = drawn(("a", ""), ("b", "a"), ("c", "a"), ("d", "b"), ("e", "b"), ("f", ["d", "e"]))

    assert found == ["a", "├─b", "│ ├─d", "│ └─e", "│ f", "└─c"]


def test_a_step_for_failures_stands_below_its_step():
    """Whichever comes first in the file."""
    handled = Step(id="a", task="t", on_failure="h")

    assert drawn(("h", ""), handled, ("b", "a")) == ["a", "└╌h", "b"]


def test_every_step_is_drawn_once_in_an_order_that_may_run():
    """Ten thousand in a chain, and a ladder of joins: no recursion, nothing lost."""
    chain = [(f"s{n}", [f"s{n - 1}"] if n else []) for n in range(10_000)]
    ladder = [(f"s{n}", [f"s{k}" for k in (n - 1, n - 2) if k >= 0]) for n in range(300)]

    assert len(drawn(*chain)) == 10_000
    assert [text.lstrip("├└│─ ") for text in drawn(*ladder)] == [f"s{n}" for n in range(300)]


def test_mermaid():
    """A node for each step, an edge for each dependency; quotes cannot break it."""
    workflow = Workflow(
        name="w",
        steps=(
            Step(id="a", task='say "hi"', on_failure="h"),
            Step(
                id="b",
                task="b",
                kind="agent_loop",
                config=LoopConfig(max_iterations=2),
                depends_on=("a",),
            ),
            Step(id="h", task="t"),
        ),
    )

    assert mermaid(workflow).splitlines() == [
        "flowchart TD",
        '    s0["a<br/>say #quot;hi#quot;"]',
        '    s1(["b"])',
        '    s2["h<br/>t"]',
        "    s0 -. fails .-> s2",
        "    s0 --> s1",
    ]
