"""What a worker tells about its tasks: names, schemas, defaults and where the code is."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from dagnats.core.model import LoopConfig, RetryPolicy
from dagnats.errors import NotPermitted
from dagnats.ports import Documents
from dagnats.task import Task
from dagnats.wire import subjects

log = logging.getLogger("dagnats.worker")


class TaskRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task in the catalogue. Schemas are JSON Schema, None where anything is taken or may be given."""

    name: str
    app: str
    signature: str = ""
    description: str = ""
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None
    group: str = ""
    retry: RetryPolicy | None = None
    timeout_ms: int = 0
    loop: LoopConfig | None = None
    singleton: bool = False
    metadata: dict[str, str] = {}
    source: str = ""


async def publish_tasks(documents: Documents, app: str, tasks: Iterable[Task[Any, Any]]) -> None:
    """Write the record of each task that differs from what is there."""
    known = await documents.all()
    for task in tasks:
        key = subjects.token(task.name)
        body = msgspec.json.encode(record_of(app, task))
        if key not in known or known[key][0] != body:
            try:
                await documents.put(key, body)
            except NotPermitted as refused:
                log.warning("task %s is not put into the catalogue: %s", task.name, refused.message)


def record_of(app: str, task: Task[Any, Any]) -> TaskRecord:
    """What there is to say about a task."""
    function = inspect.unwrap(task.function)
    return TaskRecord(
        name=task.name,
        app=app,
        signature=f"{task.name}{task.signature.text()}",
        description=(inspect.getdoc(function) or "").partition("\n")[0],
        input_schema=task.definition().input_schema,
        output_schema=task.definition().output_schema,
        group=task.options.group,
        retry=task.options.retry,
        timeout_ms=task.options.timeout_ms,
        loop=task.options.loop,
        singleton=task.options.singleton,
        metadata=task.options.metadata,
        source=_source(function),
    )


def _source(function: Any) -> str:
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    file = Path(code.co_filename)
    here = Path.cwd()
    shown = file.relative_to(here) if file.is_relative_to(here) else file
    return f"{shown}:{code.co_firstlineno}"
