"""Traced workflows: the decorated function runs once, at import; calls make steps, values make edges."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn, ParamSpec, TypeVar

import msgspec

from dagnats import convert
from dagnats.core.model import Condition, RetryPolicy, Step, Sticky, Workflow
from dagnats.core.templates import holes, literal
from dagnats.core.validate import problems_of
from dagnats.errors import DefinitionError, InvalidInput
from dagnats.options import LATER, milliseconds, refuse_unknown
from dagnats.outcome import Retry
from dagnats.task import Home, Startable, Task, tracer

P = ParamSpec("P")
R = TypeVar("R")

CALL_OPTIONS: Final = (
    "after", "on_failure", "step_id", "skip_if", "when", "timeout", "retry", "group", "metadata",
)  # fmt: skip
_HOLE: Final = "\x00ref"


class Ref:
    """A value that will exist when the workflow runs: a step's output, the run's input, or a part of one.

    ``ref.field`` and ``ref["x"]`` select; comparing makes a condition for ``when=`` and ``skip_if=``.
    """

    def __init__(self, step: str, path: tuple[str, ...] = (), kind: Any = Any) -> None:
        self._step = step
        self._path = path
        self._kind = kind

    def __getattr__(self, name: str) -> Ref:
        if name.startswith("__"):
            raise AttributeError(name)
        return Ref(self._step, (*self._path, name))

    def __getitem__(self, key: str | int) -> Ref:
        return Ref(self._step, (*self._path, str(key)))

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return self._compare("==", other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return self._compare("!=", other)

    def __lt__(self, other: object) -> Condition:
        return self._compare("<", other)

    def __gt__(self, other: object) -> Condition:
        return self._compare(">", other)

    def __le__(self, other: object) -> Condition:
        return self._compare("<=", other)

    def __ge__(self, other: object) -> Condition:
        return self._compare(">=", other)

    __hash__ = None  # type: ignore[assignment]

    def _compare(self, op: Any, other: object) -> Condition:
        if isinstance(other, Ref):
            raise DefinitionError(
                f"{self!r} {op} {other!r}: compare with a constant; two values cannot be compared yet"
            )
        return Condition(self._step, ".".join(self._path), op, msgspec.to_builtins(other))

    def _no_value(self, what: str, instead: str) -> NoReturn:
        raise DefinitionError(
            f"{self!r} has no value while the workflow is traced, so it cannot be {what}; {instead}"
        )

    def __bool__(self) -> NoReturn:  # noqa: PLE0304
        self._no_value("used as a condition", "pass when= or skip_if= to the call")

    def __iter__(self) -> NoReturn:
        self._no_value("iterated over", "give it to a task that does")

    def __len__(self) -> NoReturn:  # noqa: PLE0303
        self._no_value("measured", "give it to a task that does")

    def __repr__(self) -> str:
        source = f"output of step {self._step}" if self._step else "workflow input"
        return f"<{source}{''.join('.' + key for key in self._path)}>"


def hole_of(ref: Ref) -> dict[str, Any]:
    """A reference as a part of a template."""
    source, keys = vars(ref)["_step"], vars(ref)["_path"]
    path: Any = list(keys) if any("." in key or not key for key in keys) else ".".join(keys)
    if not source:
        return {"$input": path}
    return {"$step": source, "path": path} if path else {"$step": source}


def template_of(value: Any) -> Any:
    """A value with references in it, as a template.

    Raises:
        InvalidInput: it holds something that JSON cannot carry.
    """
    found: list[Ref] = []

    def hook(item: Any) -> Any:
        if isinstance(item, Ref):
            found.append(item)
            return {_HOLE: len(found) - 1}
        return msgspec.json.decode(convert.encode(item))

    if isinstance(value, Ref):
        return hole_of(value)
    try:
        tree = msgspec.to_builtins(value, enc_hook=hook, str_keys=True)
    except (TypeError, NotImplementedError) as error:
        raise InvalidInput(str(error)) from error
    return _fill(tree, found)


def _fill(tree: Any, found: list[Ref]) -> Any:
    if isinstance(tree, dict):
        if _HOLE in tree:
            return hole_of(found[tree[_HOLE]])
        if any(key in tree for key in ("$input", "$step", "$literal")):
            return literal(tree)
        return {key: _fill(part, found) for key, part in tree.items()}
    if isinstance(tree, list | tuple):
        return [_fill(part, found) for part in tree]
    return tree


class Trace:
    """The steps of a workflow while its function runs for the first and only time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[Step] = []
        self._count: dict[str, int] = {}

    def add(self, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ref:
        """A call of a task: a step, and a reference to its output."""
        names = {p.name for p in task.signature.parameters}
        options = {
            key: kwargs.pop(key) for key in list(kwargs) if key in CALL_OPTIONS and key not in names
        }
        unknown = {key: value for key, value in kwargs.items() if key not in names}
        where = f"workflow {self.name}, call of {task.name}"
        refuse_unknown(
            where, {k: v for k, v in unknown.items() if k in LATER}, (*names, *CALL_OPTIONS)
        )
        step_id = self._step_id(options.pop("step_id", None) or task.name, where)
        try:
            template = self._input(task, args, kwargs)
        except InvalidInput as error:
            raise DefinitionError(f"{where}: {error.message}") from error
        after = _refs(options.pop("after", ()), where)
        conditions = [options[key] for key in ("skip_if", "when") if options.get(key) is not None]
        depends = _unique(
            [name for name, _ in holes(template) if name]
            + [vars(ref)["_step"] for ref in after]
            + [c.step for c in conditions if isinstance(c, Condition) and c.step]
        )
        step = task.step(
            step_id,
            depends_on=depends,
            input=_explicit(template, depends),
            **self._options(options, where),
        )
        self.steps.append(step)
        return Ref(step_id, kind=task.returns())

    def _step_id(self, wanted: str, where: str) -> str:
        base = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in wanted)
        if not base:
            raise DefinitionError(f"{where}: {wanted!r} cannot be a step id")
        number = self._count[base] = self._count.get(base, 0) + 1
        return base if number == 1 else f"{base}_{number}"

    def _input(self, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        signature = task.signature
        bound = signature.bind(args, kwargs)
        if not signature.parameters:
            return None
        if not any(True for value in bound.values() for _ in _refs_in(value)):
            signature.encode_call((), bound)  # constants are checked now
        if len(signature.parameters) == 1:
            return template_of(next(iter(bound.values()))) if bound else None
        return {name: template_of(value) for name, value in bound.items()}

    def _options(self, given: dict[str, Any], where: str) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for key, value in given.items():
            if value is None:
                continue
            if key in ("skip_if", "when"):
                if not isinstance(value, Condition):
                    raise DefinitionError(
                        f"{where}: {key}= takes a comparison of a reference, such as draft.score > 3"
                    )
                fields[key] = value
            elif key == "timeout":
                fields["timeout_ms"] = milliseconds(f"{where}: timeout", value)
            elif key == "retry":
                fields["retry"] = policy_of(value, where)
            elif key == "on_failure":
                fields["on_failure"] = self._handler(value, where)
            elif key == "group":
                fields["group"] = str(value)
            elif key == "metadata":
                fields["metadata"] = {str(k): str(v) for k, v in dict(value).items()}
        return fields

    def _handler(self, task: Any, where: str) -> str:
        if not isinstance(task, Task):
            raise DefinitionError(f"{where}: on_failure= takes a task, without calling it")
        step_id = self._step_id(task.name, where)
        self.steps.append(task.step(step_id))
        return step_id


def policy_of(value: Any, where: str) -> RetryPolicy:
    """A retry option: a ``Retry``, or a number of executions.

    Raises:
        DefinitionError: it is neither.
    """
    if isinstance(value, Retry):
        return value.policy
    if isinstance(value, int) and not isinstance(value, bool):
        return Retry(value).policy
    raise DefinitionError(
        f"{where}: retry= takes Retry(…) or a number of executions, not {value!r}"
    )


def _refs(after: Any, where: str) -> list[Ref]:
    refs = list(after) if isinstance(after, list | tuple) else [after]
    for ref in refs:
        if not isinstance(ref, Ref) or not vars(ref)["_step"]:
            raise DefinitionError(f"{where}: after= takes what another call returned, not {ref!r}")
    return refs


def _refs_in(value: Any) -> Iterable[Ref]:
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _refs_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _refs_in(part)
    elif hasattr(value, "__struct_fields__") or hasattr(value, "__dataclass_fields__"):
        for name in getattr(value, "__struct_fields__", None) or value.__dataclass_fields__:
            yield from _refs_in(getattr(value, name, None))


def _unique(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _explicit(template: Any, depends: tuple[str, ...]) -> Any:
    """The template, unless the default rule gives the same."""
    if template == {"$input": ""} and not depends:
        return None
    if len(depends) == 1 and template == {"$step": depends[0]}:
        return None
    return template


class Flow(Startable[P, R]):
    """A traced workflow: a definition with a name, and a signature that starts are checked against."""

    def __init__(
        self, home: Home, function: Callable[P, R], name: str, *, timeout_ms: int = 0, version: str = "1",
        retry: RetryPolicy | None = None, idempotency_key: str = "", sticky: Sticky = "",
    ) -> None:  # fmt: skip
        super().__init__(home, name, convert.Signature(function, (), ()))
        functools.update_wrapper(self, function)
        if self.signature.context:
            raise DefinitionError(
                f"workflow {name}: it takes no ctx; it runs once, at import, to be traced"
            )
        steps, output, self._returns = _trace(function, name, self.signature)
        self._definition = Workflow(
            name=name, version=version, steps=steps, timeout_ms=timeout_ms, default_retry=retry,
            idempotency_key=idempotency_key, sticky=sticky, output=output,
        )  # fmt: skip
        problems = problems_of(self._definition)
        if problems:
            text = "\n  ".join(str(problem) for problem in problems)
            raise DefinitionError(f"workflow {name} cannot run:\n  {text}", problems=problems)

    def __repr__(self) -> str:
        return f"<workflow {self.name}: {len(self._definition.steps)} steps>"

    def __call__(self, *_args: P.args, **_kwargs: P.kwargs) -> R:
        """Refused: a workflow is started, not called."""
        raise DefinitionError(
            f"workflow {self.name} is started, not called: `await {self.name}.start(…)`; "
            "calling one workflow in another arrives with sub-workflows"
        )

    def definition(self) -> Workflow:
        """The traced definition."""
        return self._definition

    def returns(self) -> Any:
        """The type of what the traced function returned."""
        return self._returns


def _trace(
    function: Callable[..., Any], name: str, signature: convert.Signature
) -> tuple[tuple[Step, ...], Any, Any]:
    """Run the function with references for its parameters: its steps, output template and output type."""
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
            f"workflow {name}: its function calls no task, so there is nothing to run"
        )
    if returned is None:
        return tuple(trace.steps), None, Any
    try:
        output = template_of(returned)
    except InvalidInput as error:
        raise DefinitionError(
            f"workflow {name}: what it returns cannot be its output: {error.message}"
        ) from error
    kind = vars(returned)["_kind"] if isinstance(returned, Ref) else Any
    children = {parent for step in trace.steps for parent in step.depends_on}
    handlers = {step.on_failure for step in trace.steps}
    sinks = [step.id for step in trace.steps if step.id not in children | handlers]
    default = len(sinks) == 1 and output == {"$step": sinks[0]}
    return tuple(trace.steps), None if default else output, kind
