"""Decisions of the control plane that a crash cuts short, and requests of steps that may not ask."""

import msgspec
import pytest
from msgspec import Raw

from dagnats.clock import SystemClock
from dagnats.core.control import Tree
from dagnats.core.definition import read_workflow
from dagnats.core.events import Event, RunStarted, StepCalled
from dagnats.core.graph import compile_graph
from dagnats.core.machine import advance, new_run
from dagnats.core.state import ticket_text
from dagnats.errors import DagNatsError
from dagnats.memory.clock import VirtualClock
from dagnats.memory.mischief import Fault, Harmless
from dagnats.memory.outside import Memory
from dagnats.memory.world import World
from dagnats.policies import Policies
from dagnats.ports import Append
from dagnats.registry import Registry
from dagnats.scheduler.control import ControlPlane
from dagnats.scheduler.partition import Partition
from dagnats.scheduler.relatives import Relatives
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import nonce

MADE = {"name": "made", "steps": [{"id": "x", "task": "t"}]}
REGISTER = {"action": "register", "name": "made"}
PROMOTE = {**REGISTER, "promote": True}
START = {"action": "start", "name": "agent.r1.made"}


class Scene:
    """A run whose handler asks, and a control plane; nothing that it decides is stored unless told."""

    def __init__(self, *, capable: bool = True) -> None:
        self.outside = Memory(World(SystemClock(), 1), "test")
        self.registry = Registry(self.outside.documents(subjects.DEFINITIONS))
        self.policies = Policies(self.outside.documents(subjects.CONTROL))
        relatives = Relatives(0, 1, self.registry, self.outside.blobs)
        self.plane = ControlPlane(0, self.outside, self.registry, relatives)
        step = {"id": "a", "task": "t"}
        if capable:
            step["required_capabilities"] = ["control-plane"]
        workflow, _ = read_workflow({"name": "maker", "steps": [step]})
        assert workflow is not None
        begun = RunStarted(workflow="maker", definition="d")
        self.run, _ = advance(
            new_run("r1", compile_graph(workflow, "d")), Event(1, 1_000_000, begun)
        )

    async def ask(self, n: int, config: dict, given: object = None) -> dict:
        """Ask, and decide; the fact that tells the run."""
        ticket = ticket_text("a", self.run.steps[0])
        fact = StepCalled(
            ticket=ticket,
            n=n,
            step=Raw(msgspec.json.encode({"type": "control", "config": config})),
            input=Raw(msgspec.json.encode(given)),
        )
        seq = self.run.seq + 1
        self.run, self.commands = advance(self.run, Event(seq, 1_000_000 + seq, fact))
        return await self.again()

    async def again(self) -> dict:
        """Decide what was asked last, as whoever takes over does."""
        [command] = self.commands
        self.appends = await self.plane.decided(self.run, command)
        return msgspec.json.decode(self.appends[-1].payload)


async def test_what_was_let_pass_stays_let_pass():
    """A decision whose storing was cut off is made again, and is the same, though the policy has changed."""
    scene = Scene()
    await scene.policies.grant("maker")
    told = await scene.ask(0, REGISTER, MADE)
    assert told["output"] == "agent.r1.made"
    await scene.policies.revoke("maker")
    assert await scene.again() == told
    tree = await scene.plane._trees.read("r1")
    assert (tree.definitions, len(tree.recent)) == (("agent.r1.made",), 1)

    await scene.policies.grant("maker")
    told = await scene.ask(1, START, 5)
    first = scene.appends
    await scene.policies.revoke("maker")
    assert await scene.again() == told
    assert scene.appends == first
    assert len((await scene.plane._trees.read("r1")).runs) == 1

    refused = await scene.ask(2, START, 5)
    assert refused["kind"] == "denied"


async def test_a_step_without_the_capability_may_not_ask():
    """Whatever the policy says of its workflow, and though its nonce is right."""
    scene = Scene(capable=False)
    await scene.policies.grant("maker", promote=True)
    for n, config in enumerate((REGISTER, PROMOTE, START, {"action": "budget"})):
        assert (await scene.ask(n, config, MADE))["kind"] == "denied"
    assert await scene.plane._trees.read("r1") == Tree()
    assert await scene.registry.names() == []


async def test_a_definition_that_cannot_be_read_is_refused():
    """Nested too deeply, too large, or no object."""
    scene = Scene()
    await scene.policies.grant("maker")
    large = {**MADE, "steps": [{"id": "x", "task": "t", "input": "x" * 2_000_000}]}
    deep: object = 1
    for _ in range(900):
        deep = [deep]
    for n, given in enumerate((large, [], 7, {**MADE, "output": deep})):
        assert (await scene.ask(n, REGISTER, given))["kind"] == "invalid_def"


async def test_a_policy_that_cannot_be_read_grants_nothing():
    """And is replaced by the next change."""
    scene = Scene()
    documents = scene.outside.documents(subjects.CONTROL)
    await documents.put("policy", b"[]")
    assert (await scene.ask(0, {"action": "budget"}))["kind"] == "denied"
    await scene.policies.grant("maker")
    assert (await scene.again())["output"]["active_runs"] == 0


class Refused(Harmless):
    """The first message of some subjects is not stored, and neither its writer nor the rest stops."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self.refused: list[str] = []

    def fail_append(self, message: Append) -> Fault:
        """Once."""
        if self.refused or self.wanted not in message.subject:
            return ""
        self.refused.append(message.subject)
        return "before"


@pytest.mark.parametrize("wanted", [".child-", ".control", ".scheduler"])
async def test_an_answer_implies_that_the_rest_is_stored(wanted):
    """A child's start, or the mark, that a server refuses in a pipeline: the run is not told before they are there."""
    clock, mischief = VirtualClock(), Refused(wanted)
    world = World(clock, 1, mischief)
    outside = Memory(world, "owner")
    registry = Registry(outside.documents(subjects.DEFINITIONS))
    step = {"id": "a", "task": "t", "required_capabilities": ["control-plane"]}
    digests = {}
    for name in ("maker", "made"):
        workflow, _ = read_workflow({"name": name, "steps": [step]})
        assert workflow is not None
        digests[name] = await registry.register(workflow)
    await Policies(outside.documents(subjects.CONTROL)).grant("maker")
    partition = Partition(0, outside, registry, b"secret", clock, lambda: True)
    feed = await outside.feed(0)
    await partition.forget()

    async def tell(author: str, fact: object, name: str) -> None:
        message = Append(subjects.fact(0, "r1", author), encode(fact), name)
        await outside.log.append([message])

    async def settle() -> None:
        while deliveries := await feed.next(10):
            try:
                batch = await partition.fold(deliveries)
                await partition.store(batch)
                await partition.acknowledge(batch, feed)
            except DagNatsError:
                await partition.forget()
                await feed.rewind()

    await tell("client", RunStarted(workflow="maker", definition=digests["maker"]), "r1:start")
    await settle()
    config = {"type": "control", "config": {"action": "start", "name": "made"}}
    asked = StepCalled(
        ticket="a/1/0",
        nonce=nonce(b"secret", "r1", "a/1/0"),
        n=0,
        step=Raw(msgspec.json.encode(config)),
    )
    await tell("worker", asked, "r1/a/1/0:call:0")
    await settle()

    history = [msgspec.json.decode(entry.payload) for entry in await outside.log.history("r1")]
    [decided] = [each for each in history if each.get("type") == "control.decided"]
    kinds = {each.get("type") for each in history}
    assert mischief.refused
    assert {"grant.control_plane", "runtime.spawn"} <= kinds
    started = await outside.log.last(subjects.fact(0, decided["output"], "client"))
    assert started is not None
