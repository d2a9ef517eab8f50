"""Scripts: what the handlers of a run do. All of it follows from a seed."""

from __future__ import annotations

import random
import zlib
from typing import Any

import msgspec
from msgspec import Raw, Struct

from dagnats.core.events import (
    Answer,
    RunContinued,
    StepContinued,
    StepFailed,
    StepPlanned,
    StepSucceeded,
)
from dagnats.core.state import step_of_ticket
from dagnats.wire.messages import TaskMessage
from tests.simulation import kinds

CALL = Raw(b'{"task":"%b","retries":1}' % kinds.TASK.encode())


class Script(Struct, frozen=True):
    """What the handlers of one run do. Moody steps answer anew each time they are executed."""

    seed: int

    def chance(self, *what: object) -> int:
        """A number below 1,000 that belongs to something."""
        return zlib.crc32(repr((self.seed, *what)).encode()) % 1_000

    def moody(self, step: str) -> bool:
        """Whether two executions of one ticket of this step may end differently."""
        return self.chance("mood", step) < 100

    def calls(self, ticket: str) -> int:
        """How many durable calls the handler of a ticket makes before it answers."""
        step, _, iteration = ticket.split("/")[:3]
        if "#" in step:
            return 0
        return max(0, self.chance("calls", step, iteration) // 70 - 12)

    def answer(self, message: TaskMessage, execution: int) -> Answer:
        """How an execution of a ticket ends, once its calls are done."""
        mood = execution if self.moody(message.step) else 0
        fate = self.chance(message.ticket, mood)
        about: dict[str, Any] = {"ticket": message.ticket, "nonce": message.nonce}
        if fate < 230:
            return failure(message, fate)
        if fate < 245 and not message.step.startswith("undo"):
            return RunContinued(**about, input=Raw(b'{"n":%d}' % (fate % 10)))
        if message.kind == "planner" and fate > 300:
            return StepPlanned(**about, plan=kinds.plan(random.Random(f"{self.seed} {fate}")))
        if message.loop and fate < 700:
            checkpoint = Raw(msgspec.json.encode({"turn": message.iteration + 1}))
            return StepContinued(**about, checkpoint=checkpoint)
        output = {
            "n": self.chance("n", message.ticket, mood) % 10,
            "from": message.step,
            "saw": print_of(msgspec.json.decode(message.input)),
        }
        return StepSucceeded(**about, output=Raw(msgspec.json.encode(output)))


def failure(message: TaskMessage, fate: int) -> StepFailed:
    """One of the ways in which a handler fails."""
    kind = "retriable"
    if fate < 30:
        kind = "non_retriable"
    elif fate < 60:
        kind = "retry_after"
    elif fate < 90:
        kind = "timeout"
    return StepFailed(
        ticket=message.ticket,
        nonce=message.nonce,
        error=f"{message.ticket} failed",
        failure=kind,
        retry_after_ms=fate * 20,
    )


def by_script(script: Script, message: TaskMessage, answer: Answer) -> bool:
    """Whether an answer is one that the script's handler may have given."""
    if script.moody(step_of_ticket(message.ticket)) or script.calls(message.ticket):
        return True
    return answer == script.answer(message, 0)


def print_of(value: Any) -> int:
    """A fingerprint of a JSON value; of a report of a failure, only whose it is."""
    if isinstance(value, dict):
        if "failed_step" in value:
            value = value["failed_step"]
        elif "original_step" in value:
            value = [value["original_step"], value["original_output"]]
    return zlib.crc32(msgspec.json.encode(value, order="deterministic"))
