"""DagNats: a durable workflow engine for background jobs and agents, on NATS JetStream alone.

Names are imported on first use (PEP 562), so that ``dagnats --help`` does not wait for all of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagnats.app import App
    from dagnats.budgets import Budget
    from dagnats.builder import WorkflowBuilder
    from dagnats.client import Client, Handle
    from dagnats.configs import CancelOn
    from dagnats.context import AgentContext, Context, current
    from dagnats.errors import (
        AlreadyDecided,
        BudgetExceeded,
        CallFailed,
        ControlPlaneError,
        DagNatsError,
        DefinitionError,
        InvalidInput,
        OutsideError,
        RequestError,
        ResultTimeout,
        RunAlreadyStarted,
        RunCancelled,
        RunError,
        RunFailed,
        RunNotFound,
        SignalRefused,
        SignalTimeout,
    )
    from dagnats.flow_control import Concurrency, Priority, Rate
    from dagnats.holding import Batch, Debounce
    from dagnats.outcome import Cancelled, Continue, ContinueAsNew, Fail, Plan, Retry, Step
    from dagnats.steps import (
        agent,
        approval,
        respond,
        sleep,
        sub_workflow,
        wait_for_event,
        wait_for_signal,
    )
    from dagnats.streaming import ChunkView, Superseded
    from dagnats.task import Task

__version__ = "0.1.0"

__all__ = [
    "AgentContext",
    "AlreadyDecided",
    "App",
    "Batch",
    "Budget",
    "BudgetExceeded",
    "CallFailed",
    "CancelOn",
    "Cancelled",
    "ChunkView",
    "Client",
    "Concurrency",
    "Context",
    "Continue",
    "ContinueAsNew",
    "ControlPlaneError",
    "DagNatsError",
    "Debounce",
    "DefinitionError",
    "Fail",
    "Handle",
    "InvalidInput",
    "OutsideError",
    "Plan",
    "Priority",
    "Rate",
    "RequestError",
    "ResultTimeout",
    "Retry",
    "RunAlreadyStarted",
    "RunCancelled",
    "RunError",
    "RunFailed",
    "RunNotFound",
    "SignalRefused",
    "SignalTimeout",
    "Step",
    "Superseded",
    "Task",
    "WorkflowBuilder",
    "agent",
    "approval",
    "current",
    "respond",
    "sleep",
    "sub_workflow",
    "wait_for_event",
    "wait_for_signal",
]

_HOMES = {
    "AgentContext": "context",
    "App": "app",
    "Batch": "holding",
    "Budget": "budgets",
    "CancelOn": "configs",
    "Cancelled": "outcome",
    "ChunkView": "streaming",
    "Client": "client",
    "Concurrency": "flow_control",
    "Context": "context",
    "Continue": "outcome",
    "ContinueAsNew": "outcome",
    "Debounce": "holding",
    "Fail": "outcome",
    "Handle": "client",
    "Plan": "outcome",
    "Priority": "flow_control",
    "Rate": "flow_control",
    "Retry": "outcome",
    "Step": "outcome",
    "Superseded": "streaming",
    "Task": "task",
    "WorkflowBuilder": "builder",
    "agent": "steps",
    "approval": "steps",
    "current": "context",
    "respond": "steps",
    "sleep": "steps",
    "sub_workflow": "steps",
    "wait_for_event": "steps",
    "wait_for_signal": "steps",
}  # every other name is an error


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dagnats' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"dagnats.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
