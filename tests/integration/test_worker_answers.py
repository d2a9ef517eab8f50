"""What a worker takes for an answer, and what it says when time is over."""

import asyncio
import threading

import pytest

from dagnats import App, Context, DefinitionError, Fail, RunFailed
from dagnats.wire import subjects
from tests.support.deployment import deployment, eventually


async def test_a_forged_answer_does_not_settle_a_ticket():
    """A ticket comes again after its worker died, although somebody wrote an answer with a wrong nonce."""
    app, ran = App("forged"), []

    @app.task
    async def work() -> str:
        ran.append(1)
        if len(ran) == 1:
            await asyncio.sleep(60)
        return "done"

    async with deployment(app, lease_ms=1_000) as d:
        handle = await work.start(id="forged-1")
        await eventually(lambda: ran)
        await d.workers[0].kill()
        forged = {
            "type": "step.succeeded",
            "ticket": "work/1/0",
            "nonce": "0" * 16,
            "output": "evil",
        }
        await d.forge("forged-1", "worker", forged)
        await d.add_worker(lease_ms=1_000)

        assert await handle.result(15) == "done"
        assert [letter.subject for letter in await d.dead()] == [
            subjects.dead("poison", "forged-1", "worker")
        ]


async def test_a_timeout_of_the_decorator_is_named_with_its_length():
    """A step whose definition has no time limit gets that of its task, and the error says how long it was."""
    app = App("limit")

    @app.task(timeout="200ms")
    async def slow() -> None:
        await asyncio.sleep(30)
        raise Fail("it was not stopped")

    async with deployment(app) as d:
        await d.register({"name": "bare", "steps": [{"id": "only", "task": "slow"}]})
        handle = await d.client.start("bare")
        try:
            await handle.result(10)
        except RunFailed as error:
            failed = error
        assert failed.failure == "timeout"
        assert "took longer than 0.2 s" in failed.reason


class Speechless(Exception):
    """An error that cannot even say what it is."""

    def __str__(self):
        raise ValueError("no words")

    def __bool__(self):
        raise ValueError("neither true nor false")


@pytest.mark.parametrize("error", [Speechless(), ValueError("half a character: \ud800")])
async def test_errors_that_cannot_be_told_are_still_told_once(error):
    """Whatever an exception is made of, it is one failed attempt, not a ticket that comes again and again."""
    app, calls = App("speechless"), []

    @app.task
    async def work() -> None:
        calls.append(1)
        raise error

    async with deployment(app) as d:
        handle = await work.start()
        with pytest.raises(RunFailed, match=type(error).__name__):
            await handle.result(10)
        assert calls == [1]
        assert len(await d.dead()) == 1


async def test_a_handler_stopped_while_it_saves_has_timed_out():
    """Its time is over in the middle of a checkpoint: that is the outcome, and it comes at once."""
    app = App("saving")

    @app.task(timeout="200ms")
    async def busy(ctx: Context[int]) -> None:
        while True:
            await ctx.save_checkpoint(1)

    async with deployment(app) as d:
        handle = await busy.start()
        with pytest.raises(RunFailed, match="took longer") as caught:
            await handle.result(10)

        assert caught.value.failure == "timeout"
        assert d.workers[0].service.tickets.skipped == 0


def test_parameters_that_cannot_be_named_are_refused_at_import():
    """Handlers are called by name, so a positional-only parameter would fail each run."""
    app = App("positional")
    with pytest.raises(DefinitionError, match="remove the /"):

        @app.task
        def work(a: int, /) -> int:
            return a


def test_the_sync_door_opens_again_after_a_fork(monkeypatch):
    """The thread of the parent's loop is not in the child, where nothing would ever be answered."""
    app = App("forked")

    async def pid() -> int:
        return threading.get_ident()

    first, again = app.run_sync(pid), app.run_sync(pid)
    monkeypatch.setattr("os.getpid", lambda: -1)
    child = app.run_sync(pid)

    assert first == again != child
