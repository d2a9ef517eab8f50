"""Commands into messages and effects: what to store, tell and look out for, nothing more."""

from __future__ import annotations

from msgspec import Raw
from msgspec.structs import replace

from dagnats import payloads
from dagnats.core.commands import (
    Abandon,
    ArmTimer,
    AskApproval,
    AskControl,
    AskGate,
    AwaitEvent,
    CancelChild,
    ChargeGate,
    CloseRun,
    Command,
    DeadLetter,
    Dispatch,
    DropCheckpoint,
    ForgetEvent,
    LeaveGate,
    OpenRun,
    Respond,
    StartChild,
    StartSuccessor,
    TellCaller,
    TellParent,
    TellUsage,
)
from dagnats.core.inputs import NULL
from dagnats.core.model import ApprovalConfig, PlannerConfig, RespondConfig, Step
from dagnats.core.run import Run
from dagnats.core.state import CONTINUED, RUNNING, ticket_text
from dagnats.core.views import text_of_time
from dagnats.ports import Append, Outside
from dagnats.registry import Registry
from dagnats.scheduler.control import ControlPlane
from dagnats.scheduler.effects import Before, Drop, Effect, LookAway, LookOut, TakeBack, Tell
from dagnats.scheduler.gates import to_gate
from dagnats.scheduler.letters import BODY_SIZE_MAX_BYTES, dead_letter
from dagnats.scheduler.relatives import Relatives
from dagnats.scheduler.tickets import call_result, ticket_message
from dagnats.scheduler.timers import armed
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import (
    ApprovalNotice,
    Asked,
    ClosedMark,
    Response,
    SettledNotice,
    TaskMessage,
    approval_token,
)

Deeds = list[Append | Effect]


class Performer:
    """Turns commands of runs into messages and effects, for one partition."""

    def __init__(self, partition: int, outside: Outside, secret: bytes, registry: Registry) -> None:
        self._partition = partition
        self._secret = secret
        self._blobs = outside.blobs
        self._partitions = outside.log.partitions
        self._relatives = Relatives(partition, self._partitions, registry, outside.blobs)
        self.control = ControlPlane(partition, outside, registry, self._relatives)

    async def deeds(self, run: Run, command: Command) -> Deeds:
        """What carries out a command, in order."""
        match command:
            case Dispatch():
                return await self._dispatch(run, command)
            case ArmTimer() | AskGate() | ChargeGate() | LeaveGate():
                return [self._plain(run, command)]
            case DeadLetter():
                return [Before(await self._dead_letter(run, command))]
            case CloseRun() | OpenRun():
                return [await self._mark(run, command)]
            case AskApproval() | AskControl():
                return await self._asked(run, command)
            case Respond():
                return [Before(await self._response(run, command))]
            case StartChild() | CancelChild() | TellParent() | TellUsage() | StartSuccessor():
                return [Before(await self._relatives.message(run, command))]
            case Abandon() | AwaitEvent() | ForgetEvent() | DropCheckpoint() | TellCaller():
                return self._effects(run, command)

    def _plain(self, run: Run, command: ArmTimer | AskGate | ChargeGate | LeaveGate) -> Append:
        if isinstance(command, ArmTimer):
            subject = subjects.timer(self._partition, command.run)
            return armed(subject, self._partition, command.run, command.due_ms)
        return to_gate(run, command, self._partitions)

    def _effects(
        self, run: Run, command: Abandon | AwaitEvent | ForgetEvent | DropCheckpoint | TellCaller
    ) -> Deeds:
        match command:
            case DropCheckpoint():
                reference = payloads.reference(Raw(command.reference))
                return [Drop(reference.name)] if reference else []
            case AwaitEvent():
                return [LookOut(command)]
            case ForgetEvent():
                return [LookAway(command.run, command.ticket)]
            case Abandon():
                return [TakeBack(command.run, command.epoch - 1, "compensation begins")]
            case TellCaller():
                return self._settled(run, command)

    # -- tickets -----------------------------------------------------------------------------------

    def _ticket(self, run: Run, position: int) -> TaskMessage:
        return ticket_message(run, position, self._secret, self._partition)

    async def _encoded(self, message: TaskMessage) -> bytes:
        """The message's bytes; when parents' outputs add up to too much, the input becomes a reference."""
        body = encode(message)
        if len(body) <= BODY_SIZE_MAX_BYTES:
            return body
        what = f"input of step {message.step} in run {message.run}"
        from_store = await payloads.offload(self._blobs, message.input, what, threshold=0, most=0)
        fields = {name: getattr(message, name) for name in TaskMessage.__struct_fields__}
        smaller = {**fields, "input": from_store}
        body = encode(TaskMessage(**smaller))
        if len(body) > BODY_SIZE_MAX_BYTES and message.calls:
            # What was recorded of durable calls is looked up by the worker when it is not told.
            body = encode(TaskMessage(**{**smaller, "calls": ()}))
        return body

    async def _dispatch(self, run: Run, command: Dispatch) -> Deeds:
        message = self._ticket(run, command.position)
        granted, marks = await self.control.granted(run, command)
        if granted:
            message = replace(message, control=True)
        group = run.graph.nodes[command.position].step.group if run.graph else ""
        subject = subjects.task(self._partition, run.id, message.task, group)
        return [*map(Before, marks), Append(subject, await self._encoded(message), command.id)]

    async def _dead_letter(self, run: Run, command: DeadLetter) -> Append:
        message = self._ticket(run, command.position)
        body = await self._encoded(message)
        return dead_letter(run, command, self._partition, message, body)

    def _settled(self, run: Run, command: TellCaller) -> Deeds:
        if run.graph is None:
            return []
        node = run.graph.nodes[command.position]
        owner = run.graph.nodes[node.owner]
        state = run.steps[command.position]
        if not state.called_by:
            return []
        notice = SettledNotice(
            run=run.id,
            ticket=ticket_text(owner.step.id, run.steps[node.owner]),
            result=call_result(node, state),
        )
        return [Tell(subjects.settled(state.called_by), encode(notice))]

    # -- people and callers ------------------------------------------------------------------------

    async def _asked(self, run: Run, command: AskApproval | AskControl) -> Deeds:
        if isinstance(command, AskControl):
            *first, answer = await self.control.decided(run, command)
            return [*map(Before, first), answer]
        return self._question(run, command)

    def _question(self, run: Run, command: AskApproval) -> Deeds:
        """The notification with the token, told live; and the mark without it, which says that it was."""
        if run.graph is None:
            return []
        step, state = run.graph.nodes[command.position].step, run.steps[command.position]
        question = _question_of(step)
        expires = text_of_time(state.bound_ms)
        notice = ApprovalNotice(
            token=approval_token(self._secret, run.id, command.ticket),
            run_id=run.id,
            step_id=step.id,
            ticket=command.ticket,
            workflow=run.workflow,
            subject=question.subject,
            description=question.description,
            metadata={**run.metadata, **question.metadata},
            show=state.output
            if step.kind == "planner"
            else self._ticket(run, command.position).input,
            form=question.form,
            quorum=question.quorum,
            expires_at=expires,
        )
        asked = Asked(ticket=command.ticket, subject=question.subject, expires_at=expires)
        subject = subjects.mark(self._partition, run.id, "asked")
        return [
            Tell(question.subject or subjects.APPROVALS, encode(notice)),
            Append(subject, encode(asked), command.id),
        ]

    async def _response(self, run: Run, command: Respond) -> Append:
        state = run.steps[command.position]
        config = run.graph.nodes[command.position].step.config if run.graph else None
        settings = config if isinstance(config, RespondConfig) else RespondConfig()
        body = await payloads.offload(
            self._blobs, state.output or NULL, f"response of run {run.id}"
        )
        response = Response(
            ticket=command.ticket,
            status=settings.status,
            headers=settings.headers,
            content_type=settings.content_type,
            body=body,
        )
        subject = subjects.mark(self._partition, run.id, "response")
        return Append(subject, encode(response), command.id)

    async def closed_again(self, run: Run, seq: int) -> Append:
        """The closing mark once more: with it, what came up to a sequence follows the run into the archive."""
        mark = await self._mark(run, CloseRun(run.id, abandoned=False, epoch=run.epoch))
        return replace(mark, msg_id=f"{mark.msg_id}:{seq}")

    async def _mark(self, run: Run, command: CloseRun | OpenRun) -> Append:
        subject = subjects.mark(self._partition, run.id, "closed")
        if isinstance(command, OpenRun):
            opened = ClosedMark(
                status=RUNNING,
                workflow=run.workflow,
                epoch=command.epoch,
                started_ms=run.started_ms,
            )
            return Append(subject, encode(opened), command.id)
        output = run.output
        if output:
            output = await payloads.offload(self._blobs, output, f"output of run {run.id}")
        mark = ClosedMark(
            status=run.status,
            workflow=run.workflow,
            successor=StartSuccessor(run.id).successor if run.status == CONTINUED else "",
            epoch=run.epoch,
            output=output,
            error=run.error,
            started_ms=run.started_ms,
            closed_ms=run.closed_ms,
            usage=run.models,
        )
        return Append(subject, encode(mark), command.id)


def _question_of(step: Step) -> ApprovalConfig:
    config = step.config
    if isinstance(config, PlannerConfig):
        config = config.preview
    return config if isinstance(config, ApprovalConfig) else ApprovalConfig()
