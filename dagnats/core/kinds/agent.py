"""A step for an external agent runtime: a task whose tickets wait in a queue of their own.

Where such a step names no worker group, its group is ``agent`` (``model.AGENT_GROUP``): a fleet that need not
be ours pulls ``dagnats.queue.<task>.agent.>`` and answers as any worker does. Its metadata are the agent's
configuration. Everything else is as for a task, and stands in ``core.attempts``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dagnats.core.attempts import again as on_due
from dagnats.core.attempts import answered_once as on_fact
from dagnats.core.attempts import begun as enter
from dagnats.core.attempts import call_settled as on_owned
from dagnats.core.attempts import dispatches as in_force
from dagnats.core.model import Problem, Step
from dagnats.core.reader import Reader

CONFIG_KEYS: Final[tuple[str, ...]] = ()
NEEDS_TASK: Final = True

__all__ = [
    "CONFIG_KEYS", "NEEDS_TASK", "enter", "in_force", "on_due", "on_fact", "on_owned", "problems", "read",
]  # fmt: skip


def read(reader: Reader, where: str, settings: Mapping[str, Any]) -> None:
    """Its configuration is its metadata."""


def problems(where: str, step: Step) -> Iterator[Problem]:
    """Nothing beyond what every step must hold."""
    yield from ()
