"""Messages from one run to another: to its children, its parent, and the run that continues it.

They go straight into the other run's own history, by whoever owns this one. Their ids say what they mean, so
that writing one again changes nothing.
"""

from __future__ import annotations

from msgspec import Raw

from dagnats import payloads
from dagnats.core import admission, budgets
from dagnats.core.commands import CancelChild, StartChild, StartSuccessor, TellParent, TellUsage
from dagnats.core.control import foreign
from dagnats.core.events import (
    CancelRequested,
    ChildClosed,
    ChildReported,
    ChildStarted,
    RunStarted,
)
from dagnats.core.inputs import NULL, step_input
from dagnats.core.model import ABSENT, Budget, ChildConfig
from dagnats.core.run import Run
from dagnats.core.state import FAILED, step_of_ticket
from dagnats.core.templates import PathMissing
from dagnats.core.triggers.model import is_trigger
from dagnats.errors import InvariantBroken
from dagnats.ports import Append, Blobs
from dagnats.registry import Registry
from dagnats.wire import subjects
from dagnats.wire.codec import encode


class Relatives:
    """Writes for the runs of one partition to the runs they belong to."""

    def __init__(self, partition: int, partitions: int, registry: Registry, blobs: Blobs) -> None:
        self._partition = partition
        self._partitions = partitions
        self._registry = registry
        self._blobs = blobs

    def _subject(self, run: str, author: str) -> str:
        return subjects.fact(subjects.partition_of(run, self._partitions), run, author)

    async def message(
        self, run: Run, command: StartChild | CancelChild | TellParent | TellUsage | StartSuccessor
    ) -> Append:
        """The fact that another run is to have."""
        match command:
            case StartChild():
                return await self._start(run, command)
            case CancelChild():
                fact = CancelRequested(reason=f"run {run.id} no longer waits for it")
                return Append(self._subject(command.child, "client"), encode(fact), command.id)
            case TellParent():
                return await self._tell_parent(run, command)
            case TellUsage():
                told = ChildReported(ticket=run.parent_ticket, child=run.id, usage=command.usage)
                return Append(self._subject(run.parent, "scheduler"), encode(told), command.id)
            case StartSuccessor():
                return await self._continue(run, command)

    async def _start(self, run: Run, command: StartChild) -> Append:
        """The child's first fact; or, when there is no such workflow, the news of it to this run itself."""
        if run.graph is None:
            raise InvariantBroken(f"run {run.id} starts a child without a definition")
        node = run.graph.nodes[command.position]
        config = node.step.config
        if not isinstance(config, ChildConfig):
            raise InvariantBroken(f"step {node.step.id} of run {run.id} names no workflow")
        elsewhere = foreign(run.root or run.id, config.workflow)
        current = None if elsewhere else await self._registry.current(config.workflow)
        if current is None:
            unknown = f'no workflow "{config.workflow}" is registered'
            text = elsewhere.message if elsewhere else unknown
            fact = ChildClosed(ticket=command.ticket, status=FAILED, error=text)
            subject = subjects.fact(self._partition, run.id, "scheduler")
            return Append(subject, encode(fact), f"{command.id}:unknown")
        try:
            given = step_input(run.graph, node, run.steps, run.input)
        except PathMissing:
            given = NULL
        return await self.begun(
            run, command.child, command.ticket, config.workflow, current.definition, given,
            detached=config.detach,
        )  # fmt: skip

    async def begun(
        self, run: Run, child: str, ticket: str, workflow: str, definition: str, given: Raw, *, detached: bool
    ) -> Append:  # fmt: skip
        """The first fact of a run that a ticket of this run starts."""
        started = RunStarted(
            workflow=workflow,
            definition=definition,
            input=await payloads.offload(self._blobs, given, f"input of run {child}"),
            metadata=run.metadata,
            tags=run.tags,
            parent=run.id,
            parent_ticket=ticket,
            detached=detached,
            root=run.root or run.id,
            depth=run.depth + 1,
            cap=self._cap(run, ticket),
            accounts=() if detached else admission.accounts(run),
        )
        return Append(self._subject(child, "client"), encode(started), f"{child}:start")

    def _cap(self, run: Run, ticket: str) -> Budget | None:
        """What is left of the budgets of the step that starts a run."""
        if run.graph is None:
            return None
        position = run.graph.index[step_of_ticket(ticket)]
        return budgets.cap_of(run, run.graph, position, run.steps[position].began_ms)

    async def _tell_parent(self, run: Run, command: TellParent) -> Append:
        subject = self._subject(run.parent, "scheduler")
        if command.started:
            begun = ChildStarted(ticket=run.parent_ticket, child=run.id)
            return Append(subject, encode(begun), command.id)
        output = ABSENT if is_trigger(run.parent) else run.output  # a trigger has no use for it
        if output:
            output = await payloads.offload(self._blobs, output, f"output of run {run.id}")
        ended = ChildClosed(
            ticket=run.parent_ticket,
            child=run.id,
            status=run.status,
            output=output,
            error=run.error.message if run.error else "",
        )
        return Append(subject, encode(ended), command.id)

    async def _continue(self, run: Run, command: StartSuccessor) -> Append:
        """The successor's first fact: the workflow as it is registered now, else as this run had it."""
        current = await self._registry.current(run.workflow)
        budget, used = budgets.carried(run)
        started = RunStarted(
            workflow=run.workflow,
            definition=current.definition if current else run.definition,
            input=await payloads.offload(
                self._blobs, run.next_input or NULL, f"input of run {command.successor}"
            ),
            metadata=run.metadata,
            tags=run.tags,
            parent=run.parent,
            parent_ticket=run.parent_ticket,
            detached=run.detached,
            root=run.root,
            depth=run.depth,
            previous=run.id,
            chain=run.chain + 1,
            budget=budget,
            cap=run.cap,
            used=used,
            raised=run.raised,
            accounts=run.accounts,
        )
        return Append(self._subject(command.successor, "client"), encode(started), command.id)
