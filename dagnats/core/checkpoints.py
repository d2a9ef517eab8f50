"""Checkpoints that are stored by themselves: above a size they live once, and only as long as a ticket needs them.

A step's state then holds a reference whose name begins with ``checkpoint-``; nothing else refers to it.
"""

from __future__ import annotations

from typing import Final

from dagnats.core.state import COMPLETED, HELD, QUEUED, WAITING, StepState

PREFIX: Final = "checkpoint-"
_REFERENCE: Final = b'{"$dagnats.blob":"checkpoint-'


def superseded(before: StepState, after: StepState) -> bytes:
    """The reference that is not needed any more: another took its place, or its step is done."""
    old = bytes(before.checkpoint)
    gone = after.status == COMPLETED or (
        after.status in (HELD, QUEUED, WAITING) and bytes(after.checkpoint) != old
    )
    return old if gone and old.startswith(_REFERENCE) else b""
