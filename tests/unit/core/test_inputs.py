"""What a step receives, and what a run gives back."""

from __future__ import annotations

import msgspec

from dagnats.core.inputs import step_input
from dagnats.core.model import Condition
from tests.support.builders import Story, a_step, retries


def given_to(story: Story, name: str) -> object:
    """The input of a step, decoded."""
    node = story.graph.nodes[story.graph.index[name]]
    return msgspec.json.decode(step_input(story.graph, node, story.run.steps, story.run.input))


def output(story: Story) -> object:
    """The output of a run that completed, decoded."""
    assert story.run.status == "completed"
    return msgspec.json.decode(story.run.output)


def test_a_root_gets_the_run_input():
    """A step without parents is given the run's input."""
    assert given_to(Story("a", value={"x": 1}), "a") == {"x": 1}


def test_one_parent_passes_its_output_on():
    """A step with one parent is given that parent's output as it is."""
    assert given_to(Story("a", "b").succeed("a", [1, 2]), "b") == [1, 2]


def test_several_parents_make_an_object():
    """A step with several parents is given an object of their outputs."""
    story = Story(a_step("a"), a_step("b"), a_step("c", "a", "b"))
    story.succeed("a", 1).succeed("b", {"y": 2})

    assert given_to(story, "c") == {"a": 1, "b": {"y": 2}}


def test_a_template_says_it_exactly():
    """A template replaces the rule."""
    template = {"first": {"$step": "a", "path": "n"}, "run": {"$input": ""}}
    story = Story(a_step("a"), a_step("b", "a", input=template), value="hello")

    assert given_to(story.succeed("a", {"n": 7}), "b") == {"first": 7, "run": "hello"}


def test_a_handler_is_told_what_failed():
    """An on_failure step is given the failed step and its error."""
    story = Story(a_step("a", on_failure="h"), a_step("h")).fail("a", "no disk")

    assert given_to(story, "h") == {"failed_step": "a", "error": "no disk"}


def test_a_shared_handler_is_told_of_the_one_that_failed():
    """A step that only waits for its retry is not the one that failed for good."""
    story = Story(
        a_step("a", on_failure="h", retry=retries(2)), a_step("b", on_failure="h"), a_step("h")
    )
    story.fail("a", "busy").fail("b", "broken")

    assert given_to(story, "h") == {"failed_step": "b", "error": "broken"}


def test_the_last_step_is_the_output():
    """A run with one last step gives that step's output."""
    assert output(Story("a", "b").succeed("a", 1).succeed("b", 2)) == 2


def test_several_last_steps_make_an_object():
    """Several last steps give an object; those that were skipped are left out of it."""
    skipped = a_step("c", skip_if=Condition("", "n", "==", 1))
    story = Story(a_step("a"), a_step("b"), skipped, value={"n": 1})

    assert output(story.succeed("a", 1).succeed("b", None)) == {"a": 1, "b": None}


def test_an_output_template():
    """A workflow's template says what the run gives back."""
    template = {"text": {"$step": "a", "path": "t"}, "of": {"$input": "n"}}
    story = Story("a", "b", output=template, value={"n": 1})

    assert output(story.succeed("a", {"t": "x"}).succeed("b")) == {"text": "x", "of": 1}


def test_an_output_template_that_leads_nowhere():
    """A run whose output cannot be made fails and says so."""
    story = Story("a", output={"$step": "a", "path": "gone"}).succeed("a", {})

    assert story.run.status == "failed"
    assert story.run.error.failure == "invalid_output"
    assert story.run.error.message == "output of the run: output of step \"a\" has no 'gone'"


def test_a_handler_stands_in_for_a_recovered_last_step():
    """The output of a run whose last step was recovered is its handler's."""
    story = Story(a_step("a", on_failure="h"), a_step("h")).fail("a").succeed("h", "mended")

    assert output(story) == "mended"


def test_a_handler_of_a_handler_stands_in_for_both():
    """When the handler was itself recovered, the one that made up for it counts."""
    story = Story(a_step("a", on_failure="h"), a_step("h", on_failure="g"), a_step("g"))
    story.fail("a").fail("h").succeed("g", "at last")

    assert output(story) == "at last"


def test_a_handler_does_not_stand_in_for_a_step_that_was_skipped():
    """A last step that never ran gives null, even when its handler ran for another step."""
    story = Story(a_step("a", on_failure="h"), a_step("b", "a", on_failure="h"), a_step("h"))
    story.fail("a").succeed("h", "mended")

    assert story.statuses == {"a": "recovered", "b": "skipped", "h": "completed"}
    assert output(story) is None
