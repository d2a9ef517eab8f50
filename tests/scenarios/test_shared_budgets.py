"""Budgets that runs share, on a server: each tenant has its own, and a person gives more."""

from __future__ import annotations

import asyncio

import pytest

from dagnats import AgentContext, App, Budget, BudgetExceeded, Continue, RunCancelled
from dagnats.errors import InvalidInput, RequestError
from tests.scenarios.gates_support import reason_of, status_of
from tests.scenarios.test_budgets import cli, ended
from tests.support.deployment import deployment, eventually

BY_TENANT = Budget(tokens=100, usd=5, key="input.tenant")


class Work:
    """An app whose runs report what they are told, twice; those that are ``patient`` go on until it is enough.

    ``ran`` are the reports, with what was left before each.
    """

    def __init__(self) -> None:
        self.ran: list[tuple] = []
        self.enough = asyncio.Event()
        self.app = app = App("spending")

        @app.agent_loop(max_iterations=1_000)
        async def think(
            ctx: AgentContext[int], tenant: str, tokens: int, patient: bool
        ) -> int | Continue[int]:
            turn = ctx.checkpoint or 0
            if turn < 2:
                self.ran.append((tenant, tokens, ctx.budget.tokens))
                await ctx.report_usage(output_tokens=tokens, usd=tokens / 100)
                return Continue(turn + 1)
            if patient and not self.enough.is_set():
                await asyncio.sleep(0.01)
                return Continue(turn + 1)
            return tokens

        self.think = think
        self.research = self.flow("research", budget=BY_TENANT)

    def flow(self, name: str, **options):
        """A workflow that thinks."""

        @self.app.workflow(name=name, **options)
        def one(tenant: str, tokens: int, patient: bool = False):
            return self.think(tenant, tokens, patient)

        return one


async def used(d, kind: str, name: str, tokens: int) -> bool:
    """Whether so many tokens are used of the one budget of a gate that anything is used of."""
    view = await d.client.gate(kind, name)
    return [limit.used for limit in view.limits if limit.used and limit.kind == "tokens"] == [
        tokens
    ]


@pytest.mark.parametrize("schedulers", [1, 2])
async def test_a_tenant_uses_it_up_and_a_person_gives_more(schedulers, tmp_path):
    """Its runs end, others wait at the gate, another tenant's go on; more lets all of them go on."""
    work = Work()
    async with deployment(work.app, schedulers=schedulers) as d:
        spent = await work.research.start("acme", 60, patient=True)
        reason = await ended(spent)
        assert "shared budget of tenant acme is used up: 120 tokens used of 100 tokens" in reason
        assert "dagnats gate raise workflow:research" in reason
        waits = await work.research.start("acme", 1)
        other = await work.research.start("zoo", 50)
        assert await other.result(20) == 50
        why = await eventually(lambda: reason_of(waits, "gate"))
        assert "shared budget of tenant acme is used up" in why.text
        assert await status_of(waits) == "pending"
        assert "120 tokens used of 100" in await cli(d, tmp_path, "run", "explain", waits.run_id)
        shown = await cli(d, tmp_path, "gate", "show", "workflow:research")
        assert "100 tokens by tenant for tenant acme: 120 tokens used" in shown
        assert "100 tokens by tenant for tenant zoo: 100 tokens used" in shown

        with pytest.raises(RequestError, match=r"gate raise workflow:research"):
            await spent.raise_budget(tokens=50)
        given = await cli(
            d, tmp_path, "gate", "raise", "workflow:research", "--key", "acme", "--tokens", "80", "--by", "ada"
        )  # fmt: skip
        assert "120 tokens used, 80 tokens more given" in given
        assert await waits.result(20) == 1
        work.enough.set()
        every = ("run", "retry-all", "--workflow", "research", "--mode", "resume")
        assert "retried 1 run" in await cli(d, tmp_path, *every)
        assert await spent.result(20) == 60
        assert [tokens for tenant, tokens, _ in work.ran if tenant == "acme"] == [60, 60, 1, 1]
        view = await d.client.gate("workflow", "research")
        assert (view.holding, view.waiting) == (0, 0)
        assert {limit.key: limit.used for limit in view.limits if limit.kind == "usd" and limit.key} == {
            "acme": 1.22, "zoo": 1,
        }  # fmt: skip


async def test_what_is_left_is_told():
    """A handler knows what its tenant has left: as it was when its run was let in, less what the run has used."""
    work = Work()
    async with deployment(work.app) as d:
        for total in (40, 80):
            handle = await work.research.start("acme", 20)
            assert await handle.result(20) == 20
            await eventually(lambda total=total: used(d, "workflow", "research", total))
        assert [left for *_, left in work.ran] == [100, 80, 60, 40]


async def test_all_that_spend_are_stopped():
    """In every run of the tenant nothing new begins; those of others go on."""
    work = Work()
    async with deployment(work.app):
        mine = [await work.research.start("acme", 15, patient=True) for _ in range(4)]
        other = await work.research.start("zoo", 15, patient=True)
        for handle in mine:
            assert "tokens used of 100 tokens" in await ended(handle)
        assert sum(tokens for tenant, tokens, _ in work.ran if tenant == "acme") == 120
        assert await status_of(other) == "running"
        work.enough.set()
        assert await other.result(20) == 15


async def test_children_count_once_whoever_has_the_gate():
    """A child of another workflow counts for its parent's tenant; one that shares the gate does, too, and once."""
    work = Work()
    lone = work.flow("lone")
    same = work.flow("same", budget=BY_TENANT, gate="tenants")

    @work.app.workflow(budget=BY_TENANT, gate="tenants")
    def top(tenant: str, tokens: int):
        return same(tenant, tokens, after=[lone(tenant, tokens)])

    async with deployment(work.app) as d:
        for flow in (lone, same):
            await d.client.register(flow.definition())
        handle = await top.start("acme", 10)
        assert await handle.result(20) == 10
        await eventually(lambda: used(d, "shared", "tenants", 40))
        direct = await same.start("acme", 10)
        assert await direct.result(20) == 10
        await eventually(lambda: used(d, "shared", "tenants", 60))
        assert [left for *_, left in work.ran][:3] == [100, 90, 80]
        assert [left for *_, left in work.ran][4:] == [60, 50]


async def test_owners_die_and_nothing_is_counted_twice():
    """A scheduler that begins anew folds the gate from its log: the count is what it was."""
    work = Work()
    async with deployment(work.app) as d:
        first = await work.research.start("acme", 20)
        assert await first.result(20) == 20
        await d.schedulers[0].kill()
        await d.add_scheduler()
        second = await work.research.start("acme", 35, patient=True)
        assert "110 tokens used of 100" in await ended(second)


async def test_refused_and_wrong():
    """Where nobody waits, a run is refused; what cannot be is refused in one line."""
    work = Work()
    strict = work.flow("strict", budget=Budget(tokens=10, per="1h", on_limit="refuse"))
    async with deployment(work.app) as d:
        first = await strict.start("a", 6, patient=True)
        assert "12 tokens used of 10 tokens in 1h" in await ended(first)
        second = await strict.start("a", 1)
        with pytest.raises(RunCancelled, match="shared budget is used up"):
            await second.result(20)
        with pytest.raises(
            RequestError, match="no single budget in usd for all together; there is: tokens for all"
        ):
            await d.client.raise_gate("workflow", "strict", usd=1)
        with pytest.raises(
            RequestError, match="in tokens for a key; there is: tokens for all together"
        ):
            await d.client.raise_gate("workflow", "strict", tokens=1, key="a")
        with pytest.raises(InvalidInput, match="give usd or tokens"):
            await d.client.raise_gate("workflow", "strict")
        await d.client.raise_gate("workflow", "strict", tokens=10)
        with pytest.raises(BudgetExceeded):
            await first.result(1)
        work.enough.set()
        await first.retry()
        assert await first.result(20) == 6
