"""The control plane: what granted handlers ask for is decided here, by the owner of the asking run.

A decision is a fact of that run, so it is made once; what a whole tree of runs has used up is one document,
changed by compare-and-swap, for its runs have different owners. A decision that a crash cut short is made
again, and finds what it had let pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from dagnats import archive
from dagnats.core import control
from dagnats.core.commands import AskControl, Dispatch, child_run_id
from dagnats.core.control import Refusal, Tree
from dagnats.core.definition import encode_workflow, read_workflow
from dagnats.core.events import ControlDecided, StepCalled
from dagnats.core.graph import Node
from dagnats.core.model import CONTROL_PLANE, ControlConfig, Workflow
from dagnats.core.run import Run
from dagnats.core.state import RUNNING
from dagnats.core.validate import problems_of
from dagnats.errors import InvariantBroken, NoRoom
from dagnats.limits import DEFINITION_SIZE_MAX_BYTES
from dagnats.policies import Policies
from dagnats.ports import Append, Outside
from dagnats.registry import Registry
from dagnats.scheduler.relatives import Relatives
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import ClosedMark, ControlMark

_tree = msgspec.json.Decoder(Tree)
_mark = msgspec.json.Decoder(ClosedMark)
_ACTIONS = {"register": "runtime.register", "start": "runtime.spawn", "budget": "runtime.budget"}


class ControlPlane:
    """Decides for the runs of one partition."""

    def __init__(
        self, partition: int, outside: Outside, registry: Registry, relatives: Relatives
    ) -> None:
        self._partition = partition
        self._registry = registry
        self._relatives = relatives
        self._policies = Policies(outside.documents(subjects.CONTROL))
        self._trees = Trees(outside)

    # -- who may -----------------------------------------------------------------------------------

    async def granted(self, run: Run, command: Dispatch) -> tuple[bool, list[Append]]:
        """Whether a ticket brings the control plane along, and the mark of that decision."""
        node = run.graph.nodes[command.position] if run.graph else None
        if node is None or CONTROL_PLANE not in node.step.capabilities:
            return False, []
        refusal = control.forbidden(
            await self._policies.read(), run.workflow, capable=True, promote=False
        )
        return refusal is None, [
            self._audit(run, command.id, "grant.control_plane", command.ticket, refusal)
        ]

    def _audit(
        self,
        run: Run,
        msg_id: str,
        action: str,
        ticket: str,
        refusal: Refusal | None,
        name: str = "",
    ) -> Append:
        mark = ControlMark(
            type=action,
            ticket=ticket,
            workflow=run.workflow,
            allowed=refusal is None,
            kind=refusal.kind if refusal else "",
            reason=refusal.message if refusal else "",
            name=name,
        )
        return Append(
            subjects.mark(self._partition, run.id, "control"), encode(mark), f"{msg_id}:audit"
        )

    def forged(self, run: Run, fact: StepCalled, seq: int) -> list[Append]:
        """The mark of a request without the nonce of its ticket; nothing for other calls."""
        action = _ACTIONS.get(_action_of(fact))
        if action is None:
            return []
        refusal = Refusal("denied", "the request does not return the nonce of its ticket")
        return [self._audit(run, f"{run.id}:forged:{seq}", action, fact.ticket, refusal)]

    # -- deciding ----------------------------------------------------------------------------------

    async def decided(self, run: Run, command: AskControl) -> list[Append]:
        """What a request comes to: the child's start, the mark for people; last the answer, which implies them."""
        if run.graph is None:
            raise InvariantBroken(f"run {run.id} asks the control plane without a definition")
        node = run.graph.nodes[command.position]
        asked = node.step.config
        if not isinstance(asked, ControlConfig):
            raise InvariantBroken(f"step {node.step.id} of run {run.id} asks for nothing")
        policy = await self._policies.read()
        capable = CONTROL_PLANE in run.graph.nodes[node.owner].step.capabilities
        refusal = control.forbidden(policy, run.workflow, capable=capable, promote=asked.promote)
        started: list[Append] = []
        answer: Raw | Refusal
        try:
            match asked.action:
                case "register":
                    answer = await self._register(run, command, node, asked, refusal)
                case "start":
                    answer, started = await self._start(run, command, asked, refusal)
                case _:
                    answer = refusal or await self._budget(run)
        except NoRoom as full:  # it must not hold up the other runs
            answer = Refusal("quota_exceeded", full.message)
        return [*started, *self._told(run, command, asked, answer)]

    def _told(
        self, run: Run, command: AskControl, asked: ControlConfig, answer: Raw | Refusal
    ) -> list[Append]:
        refusal = None
        if isinstance(answer, Refusal):
            refusal = answer
            fact = ControlDecided(ticket=command.ticket, kind=answer.kind, error=answer.message)
        else:
            fact = ControlDecided(ticket=command.ticket, output=answer)
        action = "runtime.promote" if asked.promote else _ACTIONS[asked.action]
        subject = subjects.fact(self._partition, run.id, "scheduler")
        return [
            self._audit(run, command.id, action, command.ticket, refusal, asked.name),
            Append(subject, encode(fact), command.id),
        ]

    async def _register(
        self,
        run: Run,
        command: AskControl,
        node: Node,
        asked: ControlConfig,
        refusal: Refusal | None,
    ) -> Raw | Refusal:
        root, state = run.root or run.id, run.steps[node.position]
        request = f"{run.id}/{command.ticket}"
        name = control.scoped_name(root, asked.name, promote=asked.promote)
        workflow = control.misnamed(asked.name) or _definition(state.input, name)
        if refusal is not None and not (await self._trees.read(root)).knows(request):
            return refusal
        if isinstance(workflow, Refusal):
            return workflow
        over = await self._trees.change(
            root, lambda tree: control.with_definition(tree, name, request, state.since_ms)
        )
        if over is not None:
            return over
        await self._registry.register(workflow)
        return _json(name)

    async def _start(
        self, run: Run, command: AskControl, asked: ControlConfig, refusal: Refusal | None
    ) -> tuple[Raw | Refusal, list[Append]]:
        root, child = run.root or run.id, child_run_id(run.id, command.ticket)
        tree = await self._trees.read(root)
        if refusal is not None and child not in tree.runs:
            return refusal, []
        elsewhere = control.foreign(root, asked.name)
        if elsewhere is not None:
            return elsewhere, []
        current = await self._registry.current(asked.name)
        if current is None:
            text = f'no workflow "{asked.name}" is registered; register it, and start the name that gives'
            return Refusal("unresolvable_name", text), []
        given = run.steps[command.position].input
        started = await self._relatives.begun(
            run, child, command.ticket, asked.name, current.definition, given, detached=True
        )
        if tree.full:
            await self._trees.settle(root)
        over = await self._trees.change(
            root, lambda tree: control.with_run(tree, child, run.depth + 1)
        )
        return (over, []) if over is not None else (_json(child), [started])

    async def _budget(self, run: Run) -> Raw:
        root = run.root or run.id
        await self._trees.settle(root)
        return _json(control.budget_of(await self._trees.read(root)))


class Latest(Struct, frozen=True):
    """The run that another goes on as, or is; ``ended_ms`` is when it ended (0: it has not)."""

    run: str
    ended_ms: int = 0


def _after(before: Latest, mark: ClosedMark | None) -> Latest:
    if mark is None or mark.status == RUNNING:
        return before
    return Latest(mark.successor) if mark.successor else Latest(before.run, mark.closed_ms)


class Trees:
    """What trees of runs have used up: a document for each root."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._documents = outside.documents(subjects.CONTROL)

    async def read(self, root: str) -> Tree:
        """The tree below a root."""
        return (await self._found(root))[0]

    async def roots(self) -> dict[str, Tree]:
        """Every tree, by its root."""
        entries = await self._documents.all(subjects.TREE_PREFIX)
        return {
            key.removeprefix(subjects.TREE_PREFIX): _tree.decode(value)
            for key, (value, _) in entries.items()
        }

    async def change(self, root: str, change: Callable[[Tree], Tree | Refusal]) -> Refusal | None:
        """Change a tree, unless that is refused."""
        while True:
            tree, revision = await self._found(root)
            after = change(tree)
            if isinstance(after, Refusal):
                return after
            if after == tree or await self._documents.swap(_key(root), encode(after), revision):
                return None

    async def settle(self, root: str) -> None:
        """Let go of runs that have ended; a run that goes on as another counts as that one."""
        now = await self.latest((await self.read(root)).runs)

        def settled(tree: Tree) -> Tree:
            kept = (now.get(run, Latest(run)) for run in tree.runs)
            return replace(tree, runs=tuple(each.run for each in kept if not each.ended_ms))

        await self.change(root, settled)

    async def latest(self, runs: Iterable[str]) -> dict[str, Latest]:
        """What each run has come to. One that is only about to start is under way."""
        found = {run: Latest(run) for run in runs}
        asked = set(found)
        while asked:
            marks = await self._marks(asked)
            found = {first: _after(each, marks.get(each.run)) for first, each in found.items()}
            asked = {mark.successor for mark in marks.values() if mark.successor}
        return found

    async def _marks(self, runs: Iterable[str]) -> dict[str, ClosedMark]:
        partitions = self._outside.log.partitions
        places = {
            subjects.mark(subjects.partition_of(run, partitions), run, "closed"): run
            for run in runs
        }
        entries = await archive.last_of(self._outside, [*places])
        return {places[entry.subject]: _mark.decode(entry.payload) for entry in entries}

    async def forget(self, root: str) -> None:
        """Remove a tree."""
        await self._documents.delete(_key(root))

    async def _found(self, root: str) -> tuple[Tree, int]:
        found = await self._documents.get(_key(root))
        return (_tree.decode(found[0]), found[1]) if found else (Tree(), 0)


def _key(root: str) -> str:
    return f"{subjects.TREE_PREFIX}{root}"


def _json(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))


def _action_of(fact: StepCalled) -> str:
    """What a call asks of the control plane; empty when it asks something else."""
    try:
        step = msgspec.json.decode(fact.step)
    except msgspec.DecodeError:
        return ""
    if not isinstance(step, dict) or step.get("type") != "control":
        return ""
    config = step.get("config")
    return str(config.get("action")) if isinstance(config, dict) else ""


def _definition(written: Raw, name: str) -> Workflow | Refusal:
    """The definition that a handler made, under its scoped name."""
    try:
        data = msgspec.json.decode(written)
    except (msgspec.DecodeError, RecursionError) as error:
        return Refusal("invalid_def", f"it cannot be read: {error}")
    workflow, problems = read_workflow(data)
    if workflow is not None:
        workflow = replace(workflow, name=name)
        problems = problems or problems_of(workflow)
    if workflow is None or problems:
        return Refusal("invalid_def", "; ".join(map(str, problems)))
    size = len(encode_workflow(workflow)[1])
    if size > DEFINITION_SIZE_MAX_BYTES:
        text = f"it is {size:,} bytes of JSON; at most {DEFINITION_SIZE_MAX_BYTES:,} can be stored"
        return Refusal("invalid_def", text)
    return workflow
