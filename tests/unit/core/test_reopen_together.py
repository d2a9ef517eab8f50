"""Opening a run again of which several steps failed in the same moment."""

from __future__ import annotations

from dagnats.core.events import RetryRequested
from dagnats.core.state import COMPLETED
from tests.support.builders import Story, a_loop


def test_steps_that_ran_out_of_time_together_begin_again_together():
    """One of them ended the run; the other must not be left behind."""
    story = Story(a_loop("a", max_duration_ms=1_000), a_loop("b", max_duration_ms=1_000))
    story.fire().tell(RetryRequested(epoch=1))

    story.succeed("a").succeed("b")

    assert story.run.status == COMPLETED
