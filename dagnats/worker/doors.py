"""What a handler's context reaches outside: checkpoints and notices."""

from __future__ import annotations

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from dagnats import payloads
from dagnats.context import SavedCheckpoint
from dagnats.core.events import UsageReported
from dagnats.ports import Append, Outside
from dagnats.signalling import send_signal
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import StartedNotice, TaskMessage
from dagnats.worker.calls import Callers, outlast

_saved = msgspec.json.Decoder(SavedCheckpoint)


class WorkerDoors:
    """``context.Doors`` on a deployment."""

    def __init__(self, outside: Outside, worker: str, callers: Callers) -> None:
        self.call = callers.call
        self._outside = outside
        self._worker = worker
        self._checkpoints = outside.documents(subjects.CHECKPOINTS)

    async def save_checkpoint(self, run: str, step: str, saved: SavedCheckpoint) -> None:
        """Store, replacing what was stored for this step."""
        state = await payloads.offload(
            self._outside.blobs, saved.state, f"checkpoint of step {step}"
        )
        body = msgspec.json.encode(SavedCheckpoint(saved.iteration, state))
        await self._checkpoints.put(f"{run}.{subjects.token(step)}", body)

    async def load_checkpoint(self, run: str, step: str) -> SavedCheckpoint | None:
        """What was stored for this step."""
        found = await self._checkpoints.get(f"{run}.{subjects.token(step)}")
        if found is None:
            return None
        saved = _saved.decode(found[0])
        return SavedCheckpoint(
            saved.iteration, await payloads.restore(self._outside.blobs, saved.state)
        )

    async def send_signal(self, run: str, name: str, payload: Raw) -> None:
        """Send data to a run."""
        await send_signal(self._outside, run, name, payload)

    async def report_usage(self, message: TaskMessage, fact: UsageReported) -> None:
        """Store, however long it takes: it was used, and must be counted."""
        name = f"{message.run}/{message.ticket}:used:{fact.n}"
        append = Append(message.answer_to, encode(replace(fact, worker=self._worker)), name)
        await outlast(lambda: self._outside.log.append([append]))

    async def heartbeat(self, message: TaskMessage, detail: Raw) -> None:
        """Tell watchers that the handler is still at it."""
        notice = StartedNotice(
            type="step.heartbeat", ticket=message.ticket, worker=self._worker, detail=detail
        )
        await self._outside.notices.tell(subjects.live(message.run), encode(notice))
