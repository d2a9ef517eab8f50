"""Commands into messages: what to store for each, nothing more. One payload builder for every dispatch."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Raw

from dagnats import payloads
from dagnats.core.commands import ArmTimer, CloseRun, Command, DeadLetter, Dispatch
from dagnats.core.events import TimerFired
from dagnats.core.graph import Node
from dagnats.core.inputs import NULL, step_input
from dagnats.core.run import Run
from dagnats.core.templates import PathMissing
from dagnats.errors import InvariantBroken
from dagnats.limits import MESSAGE_SIZE_MIN_BYTES
from dagnats.ports import Append, Blobs
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import ClosedMark, TaskMessage, nonce

_FIRED_COPY_TTL = "5m"
_BODY_SIZE_MAX_BYTES = MESSAGE_SIZE_MIN_BYTES - 16 * 1024  # with headers, what every server takes


class Performer:
    """Turns commands of runs into messages for one partition."""

    def __init__(self, partition: int, secret: bytes, blobs: Blobs) -> None:
        self._partition = partition
        self._secret = secret
        self._blobs = blobs

    async def message(self, run: Run, command: Command) -> Append:
        """The message that carries out a command."""
        match command:
            case Dispatch():
                return await self._dispatch(run, command)
            case ArmTimer():
                return self._timer(command)
            case DeadLetter():
                return await self._dead_letter(run, command)
            case CloseRun():
                return await self._mark(run, command)

    def ticket_message(self, run: Run, position: int, ticket: str) -> TaskMessage:
        """What a worker is given for a ticket."""
        if run.graph is None:
            raise InvariantBroken(
                f"run {run.id} dispatches {ticket} without a definition (seq {run.seq})"
            )
        node, state = run.graph.nodes[position], run.steps[position]
        step = node.step
        policy = step.retry or run.graph.workflow.default_retry
        timeout = step.timeout_ms
        if state.bound_ms:
            left = max(1, state.bound_ms - state.since_ms)
            timeout = min(timeout, left) if timeout else left
        return TaskMessage(
            ticket=ticket,
            run=run.id,
            step=step.id,
            task=step.task,
            workflow=run.workflow,
            answer_to=subjects.fact(self._partition, run.id, "worker"),
            nonce=nonce(self._secret, run.id, ticket),
            input=_input(run, node),
            attempt=state.attempt,
            attempts=policy.attempts if policy else 1,
            iteration=state.iteration,
            max_iterations=step.loop.max_iterations if step.loop else 0,
            loop=step.loop is not None,
            checkpoint=state.checkpoint,
            timeout_ms=timeout,
            metadata=step.metadata,
            run_metadata=run.metadata,
            sticky=run.graph.workflow.sticky,
            worker=run.worker,
            error=state.error.message if state.error else "",
            budget_warn_at=step.loop.budget_warn_at if step.loop else 0,
            budget_force_at=step.loop.budget_force_at if step.loop else 0,
        )

    async def _encoded(self, message: TaskMessage) -> bytes:
        """The message's bytes; when parents' outputs add up to too much, the input becomes a reference."""
        body = encode(message)
        if len(body) <= _BODY_SIZE_MAX_BYTES:
            return body
        what = f"input of step {message.step} in run {message.run}"
        from_store = await payloads.offload(self._blobs, message.input, what, threshold=0, most=0)
        fields = {name: getattr(message, name) for name in TaskMessage.__struct_fields__}
        return encode(TaskMessage(**{**fields, "input": from_store}))

    async def _dispatch(self, run: Run, command: Dispatch) -> Append:
        message = self.ticket_message(run, command.position, command.ticket)
        group = run.graph.nodes[command.position].step.group if run.graph else ""
        subject = subjects.task(self._partition, run.id, message.task, group)
        return Append(subject, await self._encoded(message), command.id)

    def _timer(self, command: ArmTimer) -> Append:
        due = datetime.fromtimestamp(command.due_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return Append(
            subjects.timer(self._partition, command.run),
            encode(TimerFired(due_ms=command.due_ms)),
            headers=(
                (subjects.SCHEDULE, f"@at {due.replace('+00:00', 'Z')}"),
                (subjects.SCHEDULE_TARGET, subjects.due(self._partition, command.run)),
                (subjects.SCHEDULE_TTL, _FIRED_COPY_TTL),
            ),
        )

    async def _dead_letter(self, run: Run, command: DeadLetter) -> Append:
        message = self.ticket_message(run, command.position, command.ticket)
        error = run.steps[command.position].error
        headers = {
            "Run-Id": run.id,
            "Step-Id": message.step,
            "Task": message.task,
            "Workflow": run.workflow,
            "Ticket": command.ticket,
            "Attempts": str(message.attempt),
            "Error": header_text(error.message if error else ""),
            "Failure": error.failure if error else "",
        }
        return Append(
            subjects.dead(message.task, run.id, message.step),
            await self._encoded(message),
            command.id,
            headers=tuple((subjects.DLQ_PREFIX + name, value) for name, value in headers.items()),
        )

    async def _mark(self, run: Run, command: CloseRun) -> Append:
        output = run.output
        if output:
            output = await payloads.offload(self._blobs, output, f"output of run {run.id}")
        mark = ClosedMark(
            status=run.status,
            workflow=run.workflow,
            output=output,
            error=run.error,
            started_ms=run.started_ms,
            closed_ms=run.closed_ms,
        )
        return Append(subjects.mark(self._partition, run.id, "closed"), encode(mark), command.id)


def _input(run: Run, node: Node) -> Raw:
    """A step's input; a step that failed because it has none is dead-lettered without."""
    if run.graph is None:
        return NULL
    try:
        return step_input(run.graph, node, run.steps, run.input)
    except PathMissing:
        return NULL


def poison_letter(subject: str, run: str, payload: bytes, seq: int, reason: str) -> Append:
    """A dead letter for a message that could not be folded, with everything needed to look at it."""
    headers = {
        "Run-Id": run,
        "Subject": subject,
        "Sequence": str(seq),
        "Size": str(len(payload)),
        "Error": header_text(reason),
        "Failure": "poison",
    }
    return Append(
        subjects.dead("poison", run or "unknown", subject.rsplit(".", 1)[-1]),
        payload,
        f"poison:{seq}",
        headers=tuple((subjects.DLQ_PREFIX + name, value) for name, value in headers.items()),
    )


def unsendable_letter(message: Append, run: str, reason: str) -> Append:
    """A dead letter in place of a message that is above the server's limit: its beginning.

    Of a dead letter that is itself too large, the original is in the log; its headers are kept.
    """
    beginning = message.payload[:_BODY_SIZE_MAX_BYTES]
    if message.subject.startswith(subjects.DEAD_PREFIX):
        return Append(message.subject, beginning, message.msg_id, headers=message.headers)
    headers = {
        "Run-Id": run,
        "Subject": message.subject,
        "Size": str(len(message.payload)),
        "Error": header_text(reason),
        "Failure": "too_large",
    }
    return Append(
        subjects.dead("poison", run, "too_large"),
        beginning,
        f"{message.msg_id}:too-large" if message.msg_id else "",
        headers=tuple((subjects.DLQ_PREFIX + name, value) for name, value in headers.items()),
    )


def header_text(text: str) -> str:
    """A text that fits into one header line."""
    return " ".join(text.split())[:500]
