"""The table of step kinds. Adding a kind is a file in this folder and a row here.

Each kind is a module with the same functions:

* ``enter(scope)``: the step has become ready; its first state,
* ``on_fact(scope, fact)``: a fact of the ticket in force; the next state,
* ``on_due(scope)``: the step's own deadline has come; the next state,
* ``in_force(scope)``: what must be in force given the state: the commands.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from dagnats.core.kinds import agent_loop, task

KINDS: Final[dict[str, ModuleType]] = {"task": task, "agent_loop": agent_loop}

# Names in workflow files; "normal" is what the Go system calls a task.
FILE_NAMES: Final = {"normal": "task", "task": "task", "agent_loop": "agent_loop"}
KINDS_LATER: Final = (
    "sub_workflow", "agent", "map", "sleep", "wait_for_event", "approval", "planner", "respond",
)  # fmt: skip
