"""What a run was told, as its log says: answers, decisions, payloads, ends of children, and what came late.

The oracle plays a workflow with it; ``story`` reads it from the log.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, field

from dagnats.core.events import Answer, ApprovalDecided, ChildClosed, ChildStarted, StepParked


class Missing(Exception):
    """A step is given up; or a template asks for what is not there."""


class Unknown(Exception):
    """What the run needs to go on has not been said."""


class Told(Struct):
    """By ticket: what was said while it was in force. ``late``: time was over before anybody said enough.

    ``depth`` is how many runs are above it, ``restarts`` the iteration and the attempt that a step (by its id) had come
    to whenever the run was opened again before it was done.
    """

    answers: dict[str, Answer] = field(default_factory=dict)
    decisions: dict[str, list[ApprovalDecided]] = field(default_factory=dict)
    payloads: dict[str, Any] = field(default_factory=dict)
    children: dict[str, ChildStarted | ChildClosed] = field(default_factory=dict)
    late: set[str] = field(default_factory=set)
    depth: int = 0
    restarts: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def answer(self, ticket: str) -> Answer:
        """How a ticket was answered, by whoever entered it last.

        Raises:
            Unknown: it was not, yet.
        """
        entered, resume = ticket, 0
        while isinstance(got := self.answers.get(entered), StepParked):
            resume += 1
            entered = f"{ticket}/{resume}"
        if got is None:
            raise Unknown
        return got

    def chapters(self, step: str) -> list[tuple[int, int]]:
        """From which iteration, after which attempt, a step was begun: at first, and whenever it was begun anew."""
        return [(0, 0), *self.restarts.get(step, ())]

    def question(self, step: str) -> str:
        """The ticket of a step that is entered once in each chapter, in the last one."""
        return f"{step}/{self.chapters(step)[-1][1] + 1}/0"

    def approved(self, ticket: str, quorum: int) -> Any:
        """What a question's step gives.

        Raises:
            Missing: somebody said no, or nobody said enough in time.
            Unknown: the question is open.
        """
        people: set[str] = set()
        for decision in self.decisions.get(ticket, ()):
            if not decision.approved:
                raise Missing
            if quorum > 1 and not decision.by:
                continue
            people.add(decision.by)
            if len(people) == quorum:
                said = {"approved": True, "comment": decision.comment, "by": decision.by}
                return {key: value for key, value in said.items() if value}
        self.over(ticket)
        raise Unknown

    def over(self, ticket: str) -> None:
        """Raise when time was over for it.

        Raises:
            Missing: it was.
        """
        if ticket in self.late:
            raise Missing

    def payload(self, ticket: str) -> Any:
        """What a wait was given.

        Raises:
            Missing: time was over.
            Unknown: it waits.
        """
        if ticket in self.payloads:
            return self.payloads[ticket]
        self.over(ticket)
        raise Unknown


def decoded(raw: msgspec.Raw) -> Any:
    """A JSON value; of what is not there, null."""
    return msgspec.json.decode(raw) if raw else None
