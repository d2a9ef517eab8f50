"""The table of step kinds. Adding a kind is a file in this folder and a row here.

Each kind is a module with the same functions:

* ``enter(scope)``: the step has become ready; its first state, perhaps with steps of its own (``Growth``),
* ``on_fact(scope, fact)``: an answer to the ticket in force; the next state,
* ``on_due(scope)``: the step's own deadline has come; the next state,
* ``on_owned(scope, position)``: a step that this one owns is done or has failed; the next state,
* ``in_force(scope)``: what must be in force given the state: the commands,

and what they look like in workflow files: ``CONFIG_KEYS``, ``read``, ``write`` (kinds with settings),
``problems`` and ``NEEDS_TASK``.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from dagnats.core.kinds import (
    agent,
    agent_loop,
    approval,
    control,
    planner,
    respond,
    sleep,
    sub_workflow,
    task,
    wait_for_event,
    wait_for_signal,
)
from dagnats.core.kinds import map as map_kind

KINDS: Final[dict[str, ModuleType]] = {
    "task": task,
    "agent_loop": agent_loop,
    "planner": planner,
    "map": map_kind,
    "approval": approval,
    "sleep": sleep,
    "wait_for_event": wait_for_event,
    "wait_for_signal": wait_for_signal,
    "sub_workflow": sub_workflow,
    "respond": respond,
    "agent": agent,
    "control": control,
}

# Names that handlers may call, and those in workflow files; "normal" is what the Go system calls a task.
CALL_NAMES: Final = {"normal": "task", **{name: name for name in KINDS}}
FILE_NAMES: Final = {name: kind for name, kind in CALL_NAMES.items() if kind != "control"}
