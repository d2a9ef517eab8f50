"""Dead letters: work that was given up, and messages that nobody can use, kept for a person to look at."""

from __future__ import annotations

from dagnats.core.run import Run
from dagnats.limits import MESSAGE_SIZE_MIN_BYTES
from dagnats.ports import Append
from dagnats.wire import subjects
from dagnats.wire.messages import TaskMessage

BODY_SIZE_MAX_BYTES = MESSAGE_SIZE_MIN_BYTES - 16 * 1024  # with headers, what every server takes


def dead_letter(run: Run, position: int, message: TaskMessage, body: bytes, msg_id: str) -> Append:
    """The letter of a step that was given up: its ticket, and why. A step without a task goes by its kind."""
    error = run.steps[position].error
    headers = {
        "Run-Id": run.id,
        "Step-Id": message.step,
        "Task": message.task,
        "Workflow": run.workflow,
        "Ticket": message.ticket,
        "Attempts": str(message.attempt),
        "Error": header_text(error.message if error else ""),
        "Failure": error.failure if error else "",
    }
    return Append(
        subjects.dead(message.task or message.kind, run.id, message.step),
        body,
        msg_id,
        headers=tuple((subjects.DLQ_PREFIX + name, value) for name, value in headers.items()),
    )


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
    beginning = message.payload[:BODY_SIZE_MAX_BYTES]
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
