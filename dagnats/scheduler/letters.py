"""Dead letters: work that was given up, and messages that nobody can use, kept for a person to look at."""

from __future__ import annotations

from collections.abc import Iterable

from dagnats.core.commands import DeadLetter
from dagnats.core.run import Run
from dagnats.limits import MESSAGE_SIZE_MIN_BYTES, SIGNALS_KEPT_MAX
from dagnats.ports import Append, Delivery, Entry
from dagnats.wire import subjects
from dagnats.wire.messages import TaskMessage

BODY_SIZE_MAX_BYTES = MESSAGE_SIZE_MIN_BYTES - 16 * 1024  # with headers, what every server takes


def dead_letter(
    run: Run, command: DeadLetter, partition: int, message: TaskMessage, body: bytes
) -> Append:
    """The letter of a step that was given up: its ticket, and why. A step without a task goes by its kind."""
    state = run.steps[command.position]
    group = run.graph.nodes[command.position].step.group if run.graph else ""
    task = message.task or message.kind
    headers = {
        "Run-Id": run.id,
        "Step-Id": message.step,
        "Task": task,
        "Kind": message.kind,
        "Workflow": run.workflow,
        "Ticket": command.ticket,
        "Attempts": str(message.attempt),
        "Delivery-Count": str(message.attempt),  # each attempt is a message of its own
        "Error": header_text(state.error.message if state.error else ""),
        "Failure": state.error.failure if state.error else "",
        "Event-Type": "step.failed",
    }
    if message.task:
        headers["Task-Subject"] = subjects.task(partition, run.id, message.task, group)
        headers["Consumer"] = subjects.worker_consumer(message.task, group)
    # A step that fails before it begins has the same ticket again when its run was re-opened.
    again = f":{run.opened}" if run.opened else ""
    return Append(
        subjects.dead(task, run.id, message.step),
        body,
        command.id + again,
        headers=_prefixed(headers),
    )


def poison_letter(subject: str, run: str, payload: bytes, seq: int, reason: str) -> Append:
    """A dead letter for a message that could not be folded, with everything needed to look at it."""
    headers = {
        "Run-Id": run,
        "Subject": subject,
        "Sequence": str(seq),
        "Size": str(len(payload)),
        "Error": header_text(reason),
        "Failure": subjects.POISON,
    }
    return Append(
        subjects.dead(subjects.POISON, run or "unknown", subject.rsplit(".", 1)[-1]),
        payload,
        f"poison:{seq}",
        headers=_prefixed(headers),
    )


def refused_letters(run: str, refused: Iterable[Delivery | Entry]) -> list[Append]:
    """Signals that a run has no room for, so that they are not lost in silence."""
    reason = (
        f"the run keeps {SIGNALS_KEPT_MAX:,} signals that nobody has consumed, and takes no more; "
        "wait for them with ctx.wait_for_signal, or send fewer"
    )
    return [poison_letter(each.subject, run, each.payload, each.seq, reason) for each in refused]


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
        "Failure": subjects.TOO_LARGE,
    }
    return Append(
        subjects.dead(subjects.POISON, run, "too_large"),
        beginning,
        f"{message.msg_id}:too-large" if message.msg_id else "",
        headers=_prefixed(headers),
    )


def _prefixed(headers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((subjects.DLQ_PREFIX + name, value) for name, value in headers.items())


def header_text(text: str) -> str:
    """A text that fits into one header line."""
    return " ".join(text.split())[:500]
