"""How runs end that do not complete, as exceptions."""

from __future__ import annotations

from typing import Final

from dagnats.core.state import (
    BUDGET_EXCEEDED,
    CANCELLED,
    COMPENSATE_FAILED,
    COMPENSATED,
)
from dagnats.errors import BudgetExceeded, RunCancelled, RunError, RunFailed
from dagnats.wire.messages import ClosedMark

_WORDS: Final = {
    CANCELLED: "was cancelled",
    COMPENSATE_FAILED: "failed, and could not be undone",
    COMPENSATED: "failed, and was undone",
    BUDGET_EXCEEDED: "has ended",
}


def words_of(status: str) -> str:
    """How a run ended, as the end of a sentence that begins with it."""
    return _WORDS.get(status, status)


def ended_badly(run_id: str, mark: ClosedMark) -> RunError:
    """The exception for how a run ended: cancelled, out of budget, failed."""
    reason = mark.error.message if mark.error else mark.status
    if mark.status == CANCELLED:
        why = "" if reason == CANCELLED else f": {reason}"  # nobody said why
        return RunCancelled(
            f"run {run_id} {words_of(CANCELLED)}{why}", run_id=run_id, reason=reason
        )
    kind = BudgetExceeded if mark.status == BUDGET_EXCEEDED else RunFailed
    return kind(
        f"run {run_id} {words_of(mark.status)}: {reason}", run_id=run_id,
        reason=reason, failure=mark.error.failure if mark.error else "", status=mark.status,
    )  # fmt: skip
