"""What a handler started through its context, at the handler's end."""

import asyncio

import pytest

from dagnats.context import Context
from dagnats.wire.messages import TaskMessage


class Doors:
    """Saving takes for ever, or fails."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem

    async def save_checkpoint(self, *_: object) -> None:
        """Never done."""
        if self.problem:
            raise self.problem
        await asyncio.Event().wait()


class Silent:
    """A stream that nothing was emitted on."""

    async def finish(self) -> None:
        """Nothing is to be stored."""


def context(doors: Doors) -> Context[int]:
    """A running ticket's context."""
    message = TaskMessage(ticket="a/1/0", run="r", step="a", task="t", workflow="w", answer_to="x")
    return Context(message, doors, asyncio.get_running_loop(), lambda raw: raw, Silent())  # type: ignore[arg-type]


async def test_what_a_handler_gave_up_does_not_end_its_ticket():
    """A handler that is stopped while it saves takes the saving along; its outcome is still to be reported."""
    ctx = context(Doors())

    async def handler() -> None:
        await ctx.save_checkpoint(1)

    running = asyncio.ensure_future(handler())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await ctx.finish()


async def test_what_a_handler_did_not_wait_for_still_counts():
    """A checkpoint that could not be stored fails the handler that asked for it."""
    ctx = context(Doors(OSError("full")))
    ctx.save_checkpoint(1)

    with pytest.raises(OSError, match="full"):
        await ctx.finish()
