"""Everything goes on under credentials that have no more rights than they need."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from dagnats.errors import NotPermitted
from dagnats.limits import OFFLOAD_SIZE_BYTES
from dagnats.wire import subjects
from tests.security.app import app
from tests.security.support import Guarded, environment
from tests.support import leaving
from tests.support.deployment import eventually
from tests.support.processes import Fleet, fleet

_APP = "tests.security.app"


def command(roles: Guarded, creds: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the command line, with a credential."""
    return subprocess.run(
        [sys.executable, "-m", "dagnats", *arguments],
        env={**environment(roles), "DAGNATS_CREDS": roles.creds(creds)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


async def at_work(roles: Guarded, made: Fleet, *workers: str) -> None:
    """A scheduler, what the app defines, and workers of their own tasks."""
    programs = [made._start("scheduler", "--creds", roles.creds("scheduler"))]
    await programs[0].ready()
    async with roles.client("api") as client:
        for definition in app.workflows().values():
            await client.register(definition)
    served = {"loops": ("turns", "asks")}
    for name in workers:
        tasks = served.get(name, (name.removeprefix("worker-"),))
        options = [part for task in tasks for part in ("--task", task)]
        programs.append(made.start_worker("--creds", roles.creds(name), *options))
    for program in programs[1:]:
        await program.ready()


def nothing_refused(made: Fleet) -> None:
    """No process met a right that it lacks, but the registration that is not a worker's."""
    for program in made.everybody:
        refused = [line for line in program.text.splitlines() if "Permissions Violation" in line]
        surplus = [line for line in refused if "definitions" not in line and "handover" not in line]
        assert not surplus, f"{program}: {surplus}"


async def test_runs_under_roles(roles: Guarded, tmp_path: Path):
    """Tasks, limits, loops, streams, questions, calls, large payloads: each process with its own credential."""
    async with fleet(roles.broker, tmp_path, app=_APP, schedulers=0, workers=0) as made:
        await at_work(roles, made, "worker-add", "worker-shout", "worker-large", "loops")
        async with roles.client() as client:
            handle = await client.start("everything", 4)
            await eventually(client.approvals, 30)
            await handle.approve("approval")
            assert await handle.result(30) == 8
            chunks = [chunk.data async for chunk in handle.stream()]
            assert chunks == ["turn 0", "turn 1", "turn 2"]
            assert await (await client.start("asks", 7)).result(30) == 8
            size = OFFLOAD_SIZE_BYTES + 1
            assert len(await (await client.start("large", size)).result(30)) == size
            assert (await handle.status()).status == "completed"
        nothing_refused(made)
        watched = command(roles, "client", "run", "watch", handle.run_id)
        assert watched.returncode == 0, watched.stderr
        found = command(roles, "api", "doctor", "--json")
        checks = {each["check"]: each for each in json.loads(found.stdout)["checks"]}
        assert checks["schedulers"]["state"] == "ok", found.stdout
        assert checks["workers"]["state"] == "ok", found.stdout


async def test_triggers_under_roles(roles: Guarded, tmp_path: Path):
    """Schedules, messages of others and events start runs; each is made by the api's credential."""
    async with fleet(roles.broker, tmp_path, app=_APP, schedulers=0, workers=0) as made:
        await at_work(roles, made, "worker-add")
        create = ("trigger", "create", "add", "--input", '{"a": 1, "b": 1}')
        for each in (
            ("--id", "ticks", "--cron", "@every 1s"),
            ("--id", "orders", "--subject", "orders.new"),
            ("--id", "paid", "--event", "order.paid"),
        ):
            done = command(roles, "api", *create, *each)
            assert done.returncode == 0, done.stderr
        async with roles.client() as client, roles.link("client") as link:
            told = command(roles, "client", "event", "publish", "order.paid", "{}")
            assert told.returncode == 0, told.stderr

            async def fired(trigger: str) -> bool:
                if (
                    trigger == "orders"
                ):  # which is captured as soon as the scheduler sees the trigger
                    link.publish("orders.new", b"{}")
                history = await client.trigger_history(trigger, limit=5)
                return any(fire.run_id for _, fire in history)

            for trigger in ("ticks", "orders", "paid"):
                await eventually(lambda trigger=trigger: fired(trigger), 30)
        nothing_refused(made)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_finished_run_leaves_under_roles(roles: Guarded, tmp_path: Path):
    """The scheduler's credential moves it, the client's finds it in the archive, and it is gone in the end."""
    made = fleet(roles.broker, tmp_path, app=_APP, schedulers=0, workers=0, **leaving.SETTINGS)
    async with made as processes:
        await at_work(roles, processes, "worker-add")
        async with roles.client() as client:
            handle = await client.start("add", {"a": 1, "b": 2})
            assert await handle.result(30) == 3
            found = {**environment(roles), "DAGNATS_CREDS": roles.creds("client")}
            await leaving.leaves(client, found, handle.run_id, 3)
        nothing_refused(processes)


async def test_a_ticket_that_comes_again(roles: Guarded, tmp_path: Path):
    """A worker dies; the next one asks schedulers whether its ticket was answered, and runs it."""
    async with fleet(roles.broker, tmp_path, app=_APP, schedulers=0, workers=0) as made:
        await at_work(roles, made, "worker-dies_once")
        creds = ("--creds", roles.creds("worker-dies_once"), "--task", "dies_once")
        async with roles.client() as client:
            handle = await client.start("dies_once", str(tmp_path / "died"))
            await made.everybody[-1].ended()
            await made.start_worker(*creds).ready()
            assert await handle.result(30) == "again"
        refused = "$JS.API.DIRECT.GET.DAGNATS_EVENTS"
        assert refused in made.everybody[-1].text, "it read the log itself"


async def test_a_worker_that_registers(roles: Guarded, tmp_path: Path):
    """With the rights of the api it makes its app's workflows known when it starts."""
    async with fleet(roles.broker, tmp_path, app=_APP, schedulers=0, workers=0) as made:
        await made._start("scheduler", "--creds", roles.creds("scheduler")).ready()
        await made.start_worker("--creds", roles.creds("registrar"), "--task", "add").ready()
        assert "not registered" not in made.everybody[-1].text
        async with roles.client() as client:
            handle = await client.start("add", {"a": 1, "b": 2})
            assert await handle.result(30) == 3


async def test_workers_that_hand_over_are_answered(roles: Guarded):
    """Offers are heard, and may be answered where the question says, by those who may hand over."""
    async with roles.outside("stuck") as one, roles.outside("stuck") as other:
        answers: list[asyncio.Task[None]] = []

        def offered(_subject: str, _payload: bytes, reply: str) -> None:
            answers.append(asyncio.ensure_future(one.notices.tell(reply, b"yes")))

        await one.notices.listen(subjects.handover("w"), offered)
        assert await other.notices.ask(subjects.handover("w"), b"?", 5_000, enough=1) == [b"yes"]
    async with roles.outside("worker-shout") as stranger:
        with pytest.raises(NotPermitted):
            await stranger.notices.listen(subjects.handover("w"), lambda *_: None)
