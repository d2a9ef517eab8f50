"""Whether a trigger can be: by itself, with its workflow, beside the others, and for the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from dagnats.core.model import Workflow
from dagnats.core.triggers.model import External, Http, Subject, Trigger, Webhook
from dagnats.core.triggers.validate import singleton_problems, trigger_problems
from dagnats.errors import DefinitionError, NotPermitted, RequestError, WorkflowNotFound
from dagnats.limits import TRIGGERS_MAX
from dagnats.ports import Outside
from dagnats.registry import Registry
from dagnats.trigger_types import check_config
from dagnats.wire import subjects


async def check_trigger(
    outside: Outside,
    registry: Registry,
    trigger: Trigger,
    others: Sequence[Trigger],
    workflows: Mapping[str, Workflow] = MappingProxyType({}),
) -> None:
    """Check one; its subject is captured from now on. ``workflows`` are about to be registered.

    Raises:
        DefinitionError: with every problem.
        WorkflowNotFound.
        RequestError: another trigger has its path, or there are too many, or its kind does not take it.
        BrokerUnsuitable: its subject cannot be captured.
    """
    problems = list(trigger_problems(trigger))
    if problems:
        raise DefinitionError("\n".join(map(str, problems)), problems=problems)
    name = trigger.workflow
    workflow = workflows.get(name)
    if workflow is None:
        current = await registry.current(name)
        if current is None:
            text = f'trigger "{trigger.id}": no workflow "{name}" is registered'
            raise WorkflowNotFound(text, workflow=name)
        graph = await registry.graph(current.definition)
        workflow = graph.workflow if graph else None
    problems = list(singleton_problems(trigger, workflow.limits)) if workflow else []
    if problems:
        raise DefinitionError("\n".join(map(str, problems)), problems=problems)
    _refuse_conflicts(trigger, others)
    if isinstance(trigger.on, External):
        await check_config(outside.documents(subjects.TRIGGER_TYPES), trigger.on)
    if isinstance(trigger.on, Subject) and trigger.on.subject:
        with suppress(NotPermitted):  # then the scheduler is the first to see whether it can be
            await outside.inbox.capture(trigger.on.subject)


def _refuse_conflicts(trigger: Trigger, others: Sequence[Trigger]) -> None:
    if len(others) >= TRIGGERS_MAX:
        raise RequestError(f"there are {TRIGGERS_MAX} triggers already; delete one first")
    for other in others:
        if _route(other) is not None and _route(other) == _route(trigger):
            text = f'trigger "{other.id}" has this path already; choose another'
            raise RequestError(text, trigger=other.id)


def _route(trigger: Trigger) -> tuple[str, str] | None:
    match trigger.on:
        case Webhook():
            return "hook", trigger.on.path
        case Http():
            return trigger.on.method, trigger.on.path
        case _:
            return None
