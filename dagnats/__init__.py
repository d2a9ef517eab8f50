"""DagNats: a durable workflow engine for background jobs and agents, on NATS JetStream alone."""

from dagnats.app import App
from dagnats.builder import WorkflowBuilder
from dagnats.client import Client, Handle
from dagnats.context import AgentContext, Context, current
from dagnats.errors import (
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
)
from dagnats.outcome import Cancelled, Continue, Fail, Retry
from dagnats.task import Task

__version__ = "0.1.0"

__all__ = [
    "AgentContext",
    "App",
    "Cancelled",
    "Client",
    "Context",
    "Continue",
    "DagNatsError",
    "DefinitionError",
    "Fail",
    "Handle",
    "InvalidInput",
    "OutsideError",
    "RequestError",
    "ResultTimeout",
    "Retry",
    "RunAlreadyStarted",
    "RunCancelled",
    "RunError",
    "RunFailed",
    "RunNotFound",
    "Task",
    "WorkflowBuilder",
    "current",
]
