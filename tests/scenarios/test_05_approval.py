"""Approvals: people are asked, one answer counts, and no is a failure like any other."""

import asyncio
import time
from datetime import datetime

import msgspec
import pytest

from dagnats import AlreadyDecided, App, InvalidInput, RequestError, RunFailed, approval
from tests.support.deployment import deployment, eventually


def shop() -> App:
    """An app whose workflow asks before it publishes."""
    app = App("shop")

    @app.task
    async def draft(text: str) -> str:
        return text.upper()

    @app.task
    async def publish(text: str) -> str:
        return f"published {text}"

    @app.task
    async def apologise(failure: dict[str, str]) -> str:
        return f"sorry: {failure['error']}"

    @app.workflow
    def asking(text: str):
        made = draft(text)
        ok = approval(
            "Publish?", timeout="1h", show=made, subject="ops.approve", metadata={"k": "v"}
        )
        return publish(made, after=ok)

    @app.workflow
    def mild(text: str):
        return approval("Publish?", timeout="1h", step_id="ok", on_failure=apologise)

    @app.workflow
    def strict(text: str):
        return approval("Both of you?", timeout="1h", quorum=2, step_id="ok")

    @app.workflow
    def quick(text: str):
        return approval("Quick?", timeout="300ms", step_id="ok")

    @app.workflow
    def form(text: str):
        return approval("How many?", timeout="1h", form=int, step_id="ok")

    return app


async def asked(client, run_id):
    """The run's open question, when it is there."""
    return next(iter(await client.approvals(run_id)), None)


async def test_s081_a_token_is_told_and_kept_nowhere():
    """The notification has the token; no message of the run has it; approving lets the run go on."""
    app, heard = shop(), []
    async with deployment(app) as d:
        await d.outside.notices.listen("ops.approve", lambda _s, p, _r: heard.append(p))
        handle = await app.flows["asking"].start("hello")
        question = await eventually(lambda: asked(d.client, handle.run_id))
        told = msgspec.json.decode(heard[0])

        assert len(told["token"]) == 64
        assert (told["run_id"], told["step_id"], told["show"]) == (
            handle.run_id,
            question.step,
            "HELLO",
        )
        assert told["metadata"] == {"k": "v"}
        assert question.show == "HELLO"
        await d.client.approve(handle.run_id, question.step, comment="fine", by="ada")
        assert await handle.result(10) == "published HELLO"
        entries = await d.outside.log.history(handle.run_id)
        assert not any(told["token"].encode() in entry.payload for entry in entries)


async def test_s083_a_rejection_fails_the_run_with_its_reason():
    """Nothing after the gate runs."""
    app = shop()
    async with deployment(app) as d:
        handle = await app.flows["asking"].start("hello")
        question = await eventually(lambda: asked(d.client, handle.run_id))
        await handle.reject(question.step, comment="too loud")
        with pytest.raises(RunFailed, match="approval rejected: too loud"):
            await handle.result(10)


async def test_s085_the_second_answer_is_told_that_it_does_not_count():
    """Many at once: exactly one counts, and each knows."""
    app = shop()
    async with deployment(app) as d:
        handle = await app.flows["mild"].start("hello")
        await eventually(lambda: asked(d.client, handle.run_id))
        answers = await asyncio.gather(
            *(handle.approve("ok", by=f"p{n}") for n in range(8)), return_exceptions=True
        )

        assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
        assert sum(isinstance(answer, AlreadyDecided) for answer in answers) == 7
        assert (await handle.result(10))["approved"] is True
        with pytest.raises(AlreadyDecided):
            await handle.approve("ok")
        with pytest.raises(RequestError, match="no step"):
            await handle.approve("nothing")


async def test_s091_a_rejection_goes_down_the_failure_path():
    """The on_failure step stands in."""
    app = shop()
    async with deployment(app) as d:
        handle = await app.flows["mild"].start("hello")
        await eventually(lambda: asked(d.client, handle.run_id))
        await handle.reject("ok", comment="no")
        assert await handle.result(10) == "sorry: approval rejected: no"


async def test_silence_rejects():
    """Nobody answers in time."""
    app = shop()
    async with deployment(app):
        handle = await app.flows["quick"].start("hello")
        with pytest.raises(RunFailed, match="approval timed out"):
            await handle.result(10)


async def test_a_quorum_needs_different_people():
    """The same person twice is one."""
    app = shop()
    async with deployment(app) as d:
        handle = await app.flows["strict"].start("hello")
        await eventually(lambda: asked(d.client, handle.run_id))
        with pytest.raises(InvalidInput, match="say who you are"):
            await handle.approve("ok")
        assert (await handle.approve("ok", by="ada")).missing == 1
        with pytest.raises(AlreadyDecided):
            await handle.approve("ok", by="ada")
        assert (await handle.approve("ok", by="bob")).status == "completed"
        await handle.result(10)


async def test_a_form_is_answered_or_refused():
    """What does not fit is refused before it is sent; what fits is the step's output."""
    app = shop()
    async with deployment(app) as d:
        handle = await app.flows["form"].start("hello")
        await eventually(lambda: asked(d.client, handle.run_id))
        with pytest.raises(InvalidInput, match="integer"):
            await handle.approve("ok", answer="many")
        await handle.approve("ok", answer=3)
        assert await handle.result(10) == 3


async def test_s089_an_answer_survives_the_schedulers_death():
    """It is given while no scheduler lives; the next one goes on."""
    app = shop()
    async with deployment(app) as d:
        handle = await app.flows["mild"].start("hello")
        await eventually(lambda: asked(d.client, handle.run_id))
        await d.schedulers[0].kill()
        await handle.approve("ok", by="ada")
        await d.add_scheduler()
        assert (await handle.result(15))["by"] == "ada"


async def test_s093_an_answer_that_races_with_the_end_of_the_time():
    """Whoever comes first: one outcome, recorded once, and who answered knows whether that was it."""
    app = shop()
    async with deployment(app, schedulers=2) as d:
        handles = [await app.flows["quick"].start(str(n)) for n in range(16)]

        async def answer(handle, late_ms: int) -> bool:
            question = await eventually(lambda: asked(d.client, handle.run_id))
            due = datetime.fromisoformat(question.expires_at).timestamp() + late_ms / 1000
            await asyncio.sleep(max(0, due - time.time()))
            try:
                await handle.approve("ok")
            except (AlreadyDecided, RequestError):
                return False
            return True

        counted = await asyncio.gather(*(answer(h, 4 * n - 40) for n, h in enumerate(handles)))
        for handle, yes in zip(handles, counted, strict=True):
            if yes:
                assert (await handle.result(10))["approved"] is True
            else:
                with pytest.raises(RunFailed, match="approval timed out"):
                    await handle.result(10)
            ends = [m for m in await d.messages("DAGNATS_EVENTS") if handle.run_id in m.subject]
            assert sum(m.subject.endswith(".closed") for m in ends) == 1
        assert counted[0]
        assert not counted[-1]


@pytest.mark.parametrize("first", ["answer", "timer", "late answer"])
async def test_s093_the_log_says_who_was_first(first):
    """Nobody folds meanwhile. An answer in time counts, though the time is over by then; one after it never does."""
    app = shop()
    async with deployment(app) as d:
        handle = await app.flows["quick"].start("hello")
        question = await eventually(lambda: asked(d.client, handle.run_id))
        await d.schedulers[0].kill()

        async def fired() -> bool:
            return any(event.type == "timer.fired" for event in await handle.history())

        if first == "answer":
            await handle.approve("ok", by="ada")
            await eventually(fired)
        else:
            if first == "timer":
                await eventually(fired)
            else:
                await d.outside.log.disarm(handle.run_id)
                over = datetime.fromisoformat(question.expires_at).timestamp()
                await eventually(lambda: time.time() > over)
            with pytest.raises(AlreadyDecided):
                await handle.approve("ok", by="ada")
            assert await fired() == (first == "timer")
        await d.add_scheduler()
        if first == "answer":
            assert (await handle.result(10))["by"] == "ada"
        else:
            with pytest.raises(RunFailed, match="approval timed out"):
                await handle.result(10)
