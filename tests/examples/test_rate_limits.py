"""The rate-limited API: a tenant's calls come at its rate, and rest together; in virtual time and on a server."""

from __future__ import annotations

import asyncio
from collections import Counter

from dagnats.testing import in_memory, virtual_time
from examples import rate_limits
from examples.rate_limits import TooManyRequests, app, fetch
from tests.support.deployment import deployment


class Api:
    """The other side: when each tenant called, and how often it is to be refused first."""

    def __init__(self, refuse: int = 0) -> None:
        self.times: dict[str, list[float]] = {}
        self._refuse = Counter(blue=refuse)

    async def call(self, request):
        """Answer, or refuse for a minute."""
        tenant = request["tenant"]
        self.times.setdefault(tenant, []).append(asyncio.get_running_loop().time())
        if self._refuse[tenant]:
            self._refuse[tenant] -= 1
            raise TooManyRequests(60)
        return f"{tenant}: page {request['page']}"

    def late(self, tenant: str) -> list[float]:
        """A tenant's calls in order, in seconds after its first."""
        first, *_ = times = sorted(self.times[tenant])
        return [time - first for time in times]


async def start(pages: int) -> list:
    """So many pages for each of two tenants."""
    return [
        await fetch.start({"tenant": tenant, "page": page})
        for page in range(pages)
        for tenant in ("blue", "green")
    ]


@virtual_time
async def test_a_tenants_calls_come_at_its_rate(monkeypatch):
    """Ten at once, then ten in a second: the last of 30 not before two seconds."""
    api = Api()
    monkeypatch.setattr(rate_limits, "call", api.call)
    async with in_memory(app) as sandbox:
        handles = await start(30)
        await sandbox.advance("10s")
        assert [await handle.output() for handle in handles][:2] == [
            "blue: page 0",
            "green: page 0",
        ]
    for tenant in ("blue", "green"):
        late = api.late(tenant)
        assert len(late) == 30
        assert late[29] >= 1.9
        for n in range(10, 30):
            assert late[n] >= (n - 9) / 10 - 0.1, f"call {n} of {tenant} after {late[n]} s"


@virtual_time
async def test_one_refusal_lets_a_tenant_rest(monkeypatch):
    """Blue is told to wait for a minute: none of its calls comes before; green's are not held up."""
    api = Api(refuse=1)
    monkeypatch.setattr(rate_limits, "call", api.call)
    async with in_memory(app) as sandbox:
        handles = await start(30)
        await sandbox.advance("30s")
        assert len(api.times["green"]) == 30
        assert len(api.times["blue"]) < 15
        await sandbox.advance("60s")
        assert {await handle.output() for handle in handles} == {
            f"{tenant}: page {page}" for tenant in ("blue", "green") for page in range(30)
        }


async def test_on_a_server(monkeypatch):
    """The same for real, without refusals."""
    api = Api()
    monkeypatch.setattr(rate_limits, "call", api.call)
    async with deployment(app):
        for handle in await start(13):
            assert "page" in await handle.result(20)
    assert len(api.times["blue"]) == len(api.times["green"]) == 13
