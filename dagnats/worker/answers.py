"""What a call ended with, as a fact: the closed set of outcomes, and nothing else."""

from __future__ import annotations

import traceback
from typing import Any, NamedTuple

from msgspec import Raw
from msgspec.structs import replace

from dagnats import convert, payloads
from dagnats.core.checkpoints import PREFIX
from dagnats.core.events import Answer as Outcome
from dagnats.core.events import (
    RunContinued,
    StepContinued,
    StepFailed,
    StepParked,
    StepPlanned,
    StepSucceeded,
)
from dagnats.core.model import ABSENT
from dagnats.core.state import BUDGET_EXCEEDED
from dagnats.errors import BudgetExceeded, InvalidInput, PayloadTooLarge
from dagnats.limits import CHECKPOINT_INLINE_BYTES, ERROR_SIZE_MAX_BYTES
from dagnats.outcome import UNSET, Continue, ContinueAsNew, Fail, Parked, Plan, Retry
from dagnats.ports import Blobs
from dagnats.task import Task
from dagnats.wire.messages import TaskMessage
from dagnats.worker.call import Abandoned, Died, Raised, Reason, Told


class _About(NamedTuple):
    """What every answer says of itself."""

    ticket: str
    nonce: str
    worker: str
    ran_ms: int

    def fields(self) -> dict[str, Any]:
        """As members of a fact."""
        return self._asdict()


class Answering:
    """Makes outcomes for one worker."""

    def __init__(self, worker: str, blobs: Blobs) -> None:
        self._worker = worker
        self._blobs = blobs

    async def of(
        self,
        message: TaskMessage,
        task: Task[Any, Any],
        ended: object,
        reason: Reason | None,
        ran_ms: int,
    ) -> Outcome | None:
        """The fact that reports how a call ended; None when there is nothing to report."""
        if isinstance(ended, Told):
            for name, data in ended.blobs.items():
                await self._blobs.put(name, data)
            return ended.outcome
        if isinstance(ended, Abandoned | Raised):
            return self._not_returned(message, task, ended, reason, ran_ms)
        try:
            return await self._returned(message, task, ended, ran_ms)
        except (InvalidInput, PayloadTooLarge) as error:
            return self.failed(
                message,
                f"{task.name} returned what cannot be kept: {error}",
                "non_retriable",
                ran_ms,
            )

    async def _returned(
        self, message: TaskMessage, task: Task[Any, Any], value: object, ran_ms: int
    ) -> Outcome:
        about = _About(message.ticket, message.nonce, self._worker, ran_ms)
        if isinstance(value, ContinueAsNew):
            given = await self._carried(convert.encode(value.input), "input of the next run")
            return RunContinued(**about.fields(), input=given)
        if message.kind == "planner" and not isinstance(value, Continue):
            plan = {"steps": value.steps} if isinstance(value, Plan) else value
            return StepPlanned(
                **about.fields(), plan=await self._carried(convert.encode(plan), "the plan")
            )
        if isinstance(value, Plan):
            text = f"{task.name} returned a Plan; only a planner may (@app.planner)"
            return self.failed(message, text, "non_retriable", ran_ms)
        if isinstance(value, Continue):
            return await self._continued(message, task, value, about)
        raw = convert.encode(value)
        broken = task.signature.result.broken(raw)
        if broken:
            text = f"{task.name} returned {broken}"
            return self.failed(message, text, "non_retriable", ran_ms)
        output = await self._carried(raw, f"output of {message.task}")
        return StepSucceeded(**about.fields(), output=output)

    async def _continued(
        self, message: TaskMessage, task: Task[Any, Any], value: Continue[Any], about: _About
    ) -> Outcome:
        checkpoint = ABSENT
        if value.checkpoint is not UNSET:
            raw = convert.encode(value.checkpoint)
            broken = task.signature.state.broken(raw)
            if broken:
                text = f"{task.name} continued with {broken}"
                return self.failed(message, text, "non_retriable", about.ran_ms)
            checkpoint = await self._kept(message, raw)
        return StepContinued(**about.fields(), checkpoint=checkpoint)

    async def _carried(self, raw: Raw, what: str) -> Raw:
        payloads.refuse_forged(raw, what)
        return await payloads.offload(self._blobs, raw, what)

    async def _kept(self, message: TaskMessage, raw: Raw) -> Raw:
        """A checkpoint as it travels; a large one lives by itself, until the next takes its place."""
        what = f"checkpoint of {message.task}"
        payloads.refuse_forged(raw, what)
        place = f"{PREFIX}{message.run}-{message.step}-{message.iteration}-"
        return await payloads.offload(self._blobs, raw, what, CHECKPOINT_INLINE_BYTES, prefix=place)

    def _not_returned(
        self,
        message: TaskMessage,
        task: Task[Any, Any],
        ended: Raised | Abandoned,
        reason: Reason | None,
        ran_ms: int,
    ) -> Outcome | None:
        if reason == "timeout":
            late = self.timed_out(message, ran_ms)
            return late if not isinstance(ended, Died) else replace(late, traceback=ended.where)
        if reason is None and isinstance(ended, Died):
            # Whatever the policy retries on: it is no exception.
            return replace(
                self.failed(message, ended.text, "retriable", ran_ms),
                error_type="ProcessDied",
                traceback=ended.where,
            )
        parked = _parked(ended.error) if isinstance(ended, Raised) else None
        if parked is not None:
            about = _About(message.ticket, message.nonce, self._worker, ran_ms)
            return StepParked(**about.fields(), n=parked.n)
        if reason is not None or isinstance(ended, Abandoned):
            return None  # cancelled: the run is over; drained: somebody else will run it
        return self._raised(message, task, ended.error, ran_ms)

    def timed_out(self, message: TaskMessage, ran_ms: int) -> StepFailed:
        """The execution took longer than it may."""
        text = f"timeout: step {message.step} took longer than {message.timeout_ms / 1000:g} s"
        return self.failed(message, text, "timeout", ran_ms)

    def _raised(
        self, message: TaskMessage, task: Task[Any, Any], error: BaseException, ran_ms: int
    ) -> StepFailed:
        name = type(error).__name__
        if isinstance(error, Fail):
            return self.failed(message, error.reason, "non_retriable", ran_ms, error)
        if isinstance(error, BudgetExceeded) and error.facts.get("run_id") == message.run:
            return self.failed(message, error.message, BUDGET_EXCEEDED, ran_ms, error)
        if isinstance(error, Retry):
            text = error.reason or "the handler asked to be tried again"
            if error.after_ms is None:
                return self.failed(message, text, "retriable", ran_ms, error)
            later = self.failed(message, text, "retry_after", ran_ms, error, error.after_ms)
            return replace(later, pause_key=error.pause_key)
        listed = task.options.retry_on
        kind = "non_retriable" if listed and not isinstance(error, listed) else "retriable"
        words = words_of(error)
        return self.failed(message, f"{name}: {words}" if words else name, kind, ran_ms, error)

    def failed(
        self, message: TaskMessage, text: str, failure: str, ran_ms: int = 0, error: BaseException | None = None,
        retry_after_ms: int = 0,
    ) -> StepFailed:  # fmt: skip
        """A failure of a kind, with what is known about it."""
        known = error is not None
        return StepFailed(
            ticket=message.ticket,
            nonce=message.nonce,
            worker=self._worker,
            ran_ms=ran_ms,
            error=_carriable(text, ERROR_SIZE_MAX_BYTES),
            failure=failure,
            error_type=type(error).__name__ if known else "",
            traceback=user_traceback(error) if known else "",
            retry_after_ms=retry_after_ms,
        )


def _parked(error: BaseException) -> Parked | None:
    """What a handler parked with; also out of a group of tasks, when nothing else went wrong in it."""
    if isinstance(error, Parked):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    parts = [_parked(part) for part in error.exceptions]
    return parts[0] if all(parts) else None


def words_of(error: BaseException) -> str:
    """What an exception says; one that cannot even say it says nothing."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001  (user code, like everything it raises)
        return ""


def _carriable(text: str, size: int) -> str:
    """The beginning of a text as JSON can carry it: without half characters."""
    return text[:size].encode("utf-8", "replace").decode()


def user_traceback(error: BaseException) -> str:
    """The end of an exception's traceback, without the frames of this package."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001  (an exception whose own __str__ raises is still an outcome)
        return type(error).__name__
    lines = text.split("\n")
    kept: list[str] = []
    ours = False
    for line in lines:
        if line.startswith('  File "'):
            ours = _CALL_FILE in line
        if not (ours and line.startswith("  ")):
            kept.append(line)
    return _carriable("\n".join(kept)[-ERROR_SIZE_MAX_BYTES // 2 :], ERROR_SIZE_MAX_BYTES)


_CALL_FILE = "dagnats/worker/call.py"
