"""Questions to people: what an approval step, or a planner that shows its plans first, asks and is answered.

``quorum`` different people must approve; one rejection is enough; silence until the time is over rejects.
A question's token (``wire.messages.approval_token``) is made from the deployment's secret, so that it is
nowhere stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from dagnats.core import durations
from dagnats.core.events import ApprovalDecided
from dagnats.core.model import ApprovalConfig, Problem
from dagnats.core.problems import count_problems, metadata_problems, required_duration
from dagnats.core.reader import Reader
from dagnats.core.schemas import schema_problem, schema_violation
from dagnats.core.scope import Scope, waiting
from dagnats.core.state import StepError, StepState
from dagnats.limits import APPROVAL_MAX_MS, QUORUM_MAX

QUESTION_KEYS: Final = ("subject", "timeout", "description", "metadata", "quorum", "form")


# -- in files --------------------------------------------------------------------------------------


def read_question(reader: Reader, where: str, settings: Mapping[str, Any]) -> ApprovalConfig:
    """A question in a step's settings."""
    given = settings.get("timeout") is not None
    return ApprovalConfig(
        subject=reader.get(where, settings, "subject", str, ""),
        timeout_ms=reader.duration(where, settings, "timeout") if given else APPROVAL_MAX_MS,
        description=reader.get(where, settings, "description", str, ""),
        metadata=reader.texts(where, settings, "metadata"),
        quorum=reader.get(where, settings, "quorum", int, 1),
        form=reader.get(where, settings, "form", dict, None),
    )


def write_question(question: ApprovalConfig) -> dict[str, Any]:
    """The canonical form."""
    data: dict[str, Any] = {"timeout": durations.text_of_ms(question.timeout_ms)}
    for key in ("subject", "description", "metadata", "form"):
        if getattr(question, key):
            data[key] = getattr(question, key)
    if question.quorum != 1:
        data["quorum"] = question.quorum
    return data


def question_problems(where: str, question: ApprovalConfig) -> Iterator[Problem]:
    """What is wrong with a question."""
    yield from required_duration(f"{where}.timeout", question.timeout_ms, APPROVAL_MAX_MS)
    yield from count_problems(f"{where}.quorum", question.quorum, 1, QUORUM_MAX)
    yield from metadata_problems(f"{where}.metadata", question.metadata)
    if question.subject and (
        set(" *>") & set(question.subject) or "" in question.subject.split(".")
    ):
        yield Problem(f"{where}.subject", "it is no subject", 'write for example "ops.approve"')
    if question.subject.startswith(("dagnats.", "$")):
        yield Problem(f"{where}.subject", "it is one of DagNats' own", "use a subject of yours")
    problem = schema_problem(question.form)
    if problem:
        yield Problem(f"{where}.form", problem, "correct the schema")


# -- in runs ---------------------------------------------------------------------------------------


class Verdict(msgspec.Struct, frozen=True):
    """What an answer comes to: ``None`` while others must answer, too."""

    state: StepState
    approved: bool | None = None
    error: StepError | None = None


def asked(scope: Scope, question: ApprovalConfig, attempt: int, **changes: Any) -> StepState:
    """The question is put; its time runs from here."""
    bound = scope.at_ms + question.timeout_ms
    return waiting(
        scope, attempt=attempt, resume=0, since_ms=scope.at_ms, bound_ms=bound, votes=(), error=None, **changes
    )  # fmt: skip


def judged(scope: Scope, question: ApprovalConfig, fact: ApprovalDecided) -> Verdict | None:
    """What an answer comes to; None when it is none: a second one of the same person, or not to the form."""
    if scope.at_ms >= scope.state.bound_ms:
        return Verdict(scope.state, approved=False, error=expired())
    if not fact.approved:
        words = f"approval rejected: {fact.comment}" if fact.comment else "approval rejected"
        return Verdict(scope.state, approved=False, error=StepError(words, "rejected"))
    if form_problem(question, fact.answer):
        return None
    votes = scope.state.votes
    if question.quorum > 1 and (not fact.by or fact.by in votes):
        return None
    state = replace(scope.state, votes=(*votes, fact.by))
    return Verdict(state, approved=True if len(state.votes) >= question.quorum else None)


def form_problem(question: ApprovalConfig, answer: Raw) -> str:
    """Why an approval's answer does not fit the question's form; empty when it does."""
    if question.form is None:
        return ""
    return schema_violation(question.form, answer or Raw(b"null"))


def expired() -> StepError:
    """Nobody answered in time."""
    return StepError("approval timed out", "timeout")


def came_too_late(before: StepState, after: StepState) -> bool:
    """Whether all that an answer did was to show that the time was over: the timer had not come yet."""
    return (
        after.error is not None and after.error != before.error and after.error.failure == "timeout"
    )


def output_of(fact: ApprovalDecided) -> Raw:
    """What an approval gives its step: the answer to its form, or who said yes."""
    if fact.answer:
        return fact.answer
    said: dict[str, Any] = {"approved": True}
    said |= {key: value for key, value in (("comment", fact.comment), ("by", fact.by)) if value}
    return Raw(msgspec.json.encode(said))
