"""``dagnats doctor`` on real servers: it sees what is wrong, and says what to do."""

from __future__ import annotations

import msgspec
import pytest

from dagnats.cli import checks, stream_checks
from dagnats.cli.verdicts import ERROR, OK, WARNING, Check
from dagnats.jetstream.outside import JetStream
from dagnats.ports import Append
from dagnats.settings import Settings
from dagnats.wire import subjects
from dagnats.wire.messages import WorkerRecord
from tests.support.broker import Broker
from tests.support.cluster import Cluster
from tests.support.deployment import eventually


async def looked(url: str) -> dict[str, Check]:
    """Every check by its name."""
    return {each.check: each for each in await checks.of_server(Settings(url=url))}


async def test_a_new_deployment(broker: Broker):
    """Nothing is wrong but that nobody is there."""
    outside = await JetStream.open(broker.url, name="test")
    found = await looked(broker.url)
    good = ("server", "jetstream", "clock", "streams", "replicas", "limits", "lag", "versions")
    assert {found[name].state for name in good} == {OK}
    assert found["schedulers"].state == ERROR
    assert found["workers"].state == WARNING
    await outside.close()


async def test_faults_are_seen(broker: Broker, monkeypatch: pytest.MonkeyPatch):
    """Facts that nobody reads, a stream that is nearly full, a worker of another version."""
    monkeypatch.setattr(stream_checks, "_FACTS_BEHIND", 3)
    outside = await JetStream.open(broker.url, name="test", partitions=2)
    await (await outside.feed(1)).close()
    facts = [Append(subjects.fact(1, f"r{n}", "client"), b"{}") for n in range(5)]
    await outside.log.append(facts)
    old = WorkerRecord(worker="old", tasks=("a",), version="0.0.1", seen_ms=2**45)
    await outside.documents(subjects.WORKERS).put("old", msgspec.json.encode(old))
    dead = (await outside.link.api(f"STREAM.INFO.{subjects.DEAD}"))["config"]
    await outside.link.api(f"STREAM.UPDATE.{subjects.DEAD}", {**dead, "max_bytes": 1_000})
    await outside.log.append([Append(subjects.dead("t", "r", "s"), b"x" * 880)])

    found = await looked(broker.url)
    assert found["lag"].state == WARNING
    assert "partition 1" in found["lag"].detail
    assert found["limits"].state == WARNING
    assert subjects.DEAD in found["limits"].detail
    assert found["versions"].state == WARNING
    await outside.close()


async def test_a_cluster_that_lost_a_server():
    """Three copies are good; one server less is a fault that has its name."""
    cluster = Cluster().start()
    try:
        await cluster.ready()

        async def copies(state: str, word: str) -> bool:
            """While leaders are chosen, the server itself is what is wrong."""
            found = (await looked(cluster.nodes["n0"].url)).get("replicas")
            return found is not None and found.state == state and word in found.detail

        await eventually(lambda: copies(OK, "3 copies"), 60)
        cluster.nodes["n2"].kill()
        await eventually(lambda: copies(ERROR, "n2"), 60)
    finally:
        cluster.remove()
