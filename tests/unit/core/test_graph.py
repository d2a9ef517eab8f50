"""A workflow compiled: positions, edges, roles."""

from __future__ import annotations

import pytest

from dagnats.core.model import Condition
from tests.support.builders import a_graph, a_step


def test_edges_in_both_directions():
    """Parents and children are positions, in the order they were written."""
    graph = a_graph(a_step("d", "b", "c"), a_step("b", "a"), a_step("c", "a"), a_step("a"))

    assert [node.parents for node in graph.nodes] == [(1, 2), (3,), (3,), ()]
    assert [node.children for node in graph.nodes] == [(), (0,), (0,), (1, 2)]
    assert graph.index == {"d": 0, "b": 1, "c": 2, "a": 3}
    assert (graph.roots, graph.sinks, graph.counted) == ((3,), (0,), 4)
    assert [state.blockers for state in graph.fresh] == [2, 1, 1, 0]


def test_handlers_stand_apart():
    """An on_failure step is no root, no sink and not counted until it is needed."""
    graph = a_graph(a_step("h"), a_step("a", on_failure="h"))

    assert [node.aux for node in graph.nodes] == [True, False]
    assert [node.handler for node in graph.nodes] == [-1, 0]
    assert (graph.roots, graph.sinks, graph.counted) == ((1,), (1,), 1)


@pytest.mark.parametrize(
    ("template", "fallible"),
    [
        (None, False),
        ({"$input": ""}, False),
        ([1, {"$step": "a"}], False),
        ({"$input": "n"}, True),
        ({"x": [{"$step": "a", "path": "n"}]}, True),
        ({"$literal": {"$input": "n"}}, False),
    ],
)
def test_inputs_that_can_fail(template, fallible):
    """Only a hole with a path can lead nowhere."""
    graph = a_graph(a_step("a"), a_step("b", "a", input=template))

    assert graph.nodes[1].fallible_input is fallible


def test_what_the_engine_looks_into():
    """Steps whose outputs decide something are known; "" is the run's input."""
    assert a_graph("a", a_step("b", "a", input={"$step": "a"})).inspected == frozenset()
    assert a_graph("a", a_step("b", "a", input={"$step": "a", "path": "n"})).inspected == {"a"}
    assert a_graph("a", a_step("b", "a", skip_if=Condition("a", "n", "==", 1))).inspected == {"a"}
    assert a_graph(a_step("a", when=Condition("", "n", "==", 1))).inspected == {""}
    assert a_graph("a", output={"$step": "a", "path": "n"}).inspected == {"a"}
