"""Traced workflows: the decorated function runs once, at import; calls make steps, values make edges."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypedDict, TypeVar

import msgspec
from msgspec.structs import replace

from dagnats import convert
from dagnats.configs import child_config
from dagnats.core.model import (
    Budget,
    CancelOn,
    Limit,
    Priority,
    RetryPolicy,
    Step,
    Sticky,
    Workflow,
)
from dagnats.core.validate import problems_of
from dagnats.errors import DefinitionError, InvalidInput
from dagnats.references import Ref, template_of
from dagnats.schemas import Outputs, input_schema_of, schema_of
from dagnats.task import Home, Startable, tracer
from dagnats.tracing import CHILD_OPTIONS, Trace, current_trace, step_maker

P = ParamSpec("P")
R = TypeVar("R")


class Detached(TypedDict):
    """What a step that only starts another workflow gives."""

    child_run_id: str


class Flow(Startable[P, R]):
    """A traced workflow: a definition with a name, and a signature that starts are checked against."""

    fills_defaults = True  # the engine does not know them

    def __init__(
        self, home: Home, function: Callable[P, R], name: str, *, timeout_ms: int = 0, version: str = "1",
        retry: RetryPolicy | None = None, idempotency_key: str = "", cancel_on: tuple[CancelOn, ...] = (),
        sticky: Sticky = "", limits: tuple[Limit, ...] = (), max_steps: int = 0, priority: Priority | None = None,
        budget: Budget | None = None, gate: str = "", schemas_given: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(home, name, convert.Signature(function, (), ()))
        functools.update_wrapper(self, function)
        if self.signature.context:
            raise DefinitionError(
                f"workflow {name}: it takes no ctx; it runs once, at import, to be traced"
            )
        traced = _trace(function, name, self.signature)
        definition = Workflow(
            name=name, version=version, steps=traced.steps, timeout_ms=timeout_ms, default_retry=retry,
            idempotency_key=idempotency_key, cancel_on=cancel_on, sticky=sticky, output=traced.output,
            limits=limits, max_steps=max_steps, priority=priority, budget=budget, gate=gate,
        )  # fmt: skip
        outputs = Outputs(definition, traced.kinds, self.signature.returns)
        self._returns = outputs.kind() if traced.one or outputs.declared is not Any else Any
        derived = {
            "input_schema": input_schema_of(self.signature, optional=False),
            "output_schema": schema_of(outputs.kind()),
        }
        self._definition = replace(definition, **{**derived, **(schemas_given or {})})
        problems = problems_of(self._definition)
        if problems:
            text = "\n  ".join(str(problem) for problem in problems)
            raise DefinitionError(f"workflow {name} cannot run:\n  {text}", problems=problems)

    def __repr__(self) -> str:
        return f"<workflow {self.name}: {len(self._definition.steps)} steps>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """In a traced workflow: run this one as a child, and refer to its output. Refused anywhere else.

        Takes what calls of tasks take (``after=``, ``retry=`` …), and ``detach=True``.
        """
        options: dict[str, Any] = dict(kwargs)
        takes_it = any(p.name == "detach" for p in self.signature.parameters)
        detach = bool(not takes_it and options.pop("detach", False))
        child: Any = self._child(args, options, detach=detach)
        return child  # type: ignore[no-any-return]  (it stands for one)

    def detached(self, *args: Any, **kwargs: Any) -> Detached:
        """In a traced workflow: start this one and go on; the step gives ``{"child_run_id": …}``."""
        child: Any = self._child(args, kwargs, detach=True)
        return child  # type: ignore[no-any-return]

    def _child(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, detach: bool) -> Ref:
        if tracer.get() is None:
            raise DefinitionError(
                f"workflow {self.name} is started, not called: `await {self.name}.start(…)`; "
                "a call makes a step in another function decorated with @app.workflow"
            )
        make = step_maker("sub_workflow", child_config(self.name, detach=detach))
        gives = Detached if detach else self.returns()
        trace = current_trace(self.name)
        return trace.call(self, args, kwargs, CHILD_OPTIONS, make, gives)

    def definition(self) -> Workflow:
        """The traced definition."""
        return self._definition

    def returns(self) -> Any:
        """The type of what the traced function returned, or declares."""
        return self._returns


class Traced(msgspec.Struct, frozen=True):
    """What the function made: its steps, the types of their outputs, and the run's output.

    ``output`` is None where it is what the engine gives anyway; ``one`` says that it is a single value,
    and not a structure of several.
    """

    steps: tuple[Step, ...]
    kinds: dict[str, Any]
    output: Any = None
    one: bool = False


def _trace(function: Callable[..., Any], name: str, signature: convert.Signature) -> Traced:
    """Run the function with references for its parameters."""
    trace = Trace(name)
    several = len(signature.parameters) > 1
    refs = {p.name: Ref("", (p.name,) if several else ()) for p in signature.parameters}
    context = contextvars.copy_context()

    def traced() -> Any:
        tracer.set(trace)
        return function(**refs)

    returned = context.run(traced)
    if hasattr(returned, "__await__"):
        returned.close()
        raise DefinitionError(
            f"workflow {name}: write `def`, not `async def`; it is traced, its tasks do the waiting"
        )
    if not trace.steps:
        raise DefinitionError(
            f"workflow {name}: its function makes no step, so there is nothing to run; call a task in it"
        )
    if returned is None:
        return Traced(tuple(trace.steps), trace.kinds)
    try:
        output = template_of(returned)
    except InvalidInput as error:
        raise DefinitionError(
            f"workflow {name}: what it returns cannot be its output: {error.message}"
        ) from error
    children = {parent for step in trace.steps for parent in step.depends_on}
    handlers = {name for step in trace.steps for name in (step.on_failure, step.compensate)}
    sinks = [step.id for step in trace.steps if step.id not in children | handlers]
    default = len(sinks) == 1 and output == {"$step": sinks[0]}
    one = isinstance(returned, Ref)
    return Traced(tuple(trace.steps), trace.kinds, None if default else output, one)
