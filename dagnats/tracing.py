"""A workflow while its function runs for the first and only time: calls become steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from dagnats import convert
from dagnats.configs import map_config
from dagnats.core.model import Condition, Config, Step
from dagnats.core.templates import holes
from dagnats.errors import DefinitionError, InvalidInput
from dagnats.options import milliseconds, policy_of, refuse_unknown, texts
from dagnats.references import Ref, refs_in, step_of, template_of
from dagnats.task import Startable, Task, tracer

# What every step takes, and what those take besides that others carry out.
PLACE_OPTIONS: Final = ("after", "on_failure", "step_id", "skip_if", "when")
CALL_OPTIONS: Final = (*PLACE_OPTIONS, "compensate", "timeout", "retry", "group", "metadata")
CHILD_OPTIONS: Final = tuple(name for name in CALL_OPTIONS if name != "group")
_MAP_OPTIONS: Final = ("concurrency", "tolerate", "max_items")

MakeStep = Callable[..., Step]


class Trace:
    """The steps of a workflow, as calls add them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps: list[Step] = []
        self.kinds: dict[str, Any] = {}  # the types of their outputs, by id
        self._count: dict[str, int] = {}

    def add(self, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ref:
        """A call of a task: a step, and a reference to its output."""
        return self.call(task, args, kwargs, CALL_OPTIONS, task.step, task.returns())

    def call(
        self, what: Startable[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any],
        options: Sequence[str], make: MakeStep, gives: Any,
    ) -> Ref:  # fmt: skip
        """A call with arguments: those that a parameter has the name of, and options of the step."""
        names = {p.name for p in what.signature.parameters}
        given = {
            key: kwargs.pop(key) for key in list(kwargs) if key in options and key not in names
        }
        where = f"workflow {self.name}, call of {what.name}"
        try:
            template = _input(what, args, kwargs)
        except InvalidInput as error:
            raise DefinitionError(f"{where}: {error.message}") from error
        return self.place(what.name, where, template, given, make, gives)

    def add_map(self, task: Task[Any, Any], items: Any, options: dict[str, Any]) -> Ref:
        """A map of a task over items."""
        where = f"workflow {self.name}, map of {task.name}"
        if task.kind == "planner":
            raise DefinitionError(f"{where}: a planner plans once; call it in a task of its own")
        known = (*CALL_OPTIONS, *_MAP_OPTIONS)
        refuse_unknown(where, {k: v for k, v in options.items() if k not in known}, known)
        settings = {key: options.pop(key) for key in _MAP_OPTIONS if key in options}
        config = map_config(where, loop=task.options.loop, **settings)

        def make(step_id: str, **fields: Any) -> Step:
            return task.step(step_id, **{**fields, "kind": "map", "config": config})

        template = _items(task, items, where)
        lossy = config.tolerate or config.tolerate_percent
        one: Any = (
            (task.returns() | None) if lossy and task.returns() is not Any else task.returns()
        )
        return self.place(task.name, where, template, options, make, list[one])

    def place(
        self, name: str, where: str, template: Any, options: dict[str, Any], make: MakeStep, gives: Any,
        *, uses: Any = None,
    ) -> Ref:  # fmt: skip
        """Add a step under an id of its own; a reference to its output.

        ``template`` is its input, ``uses`` another one that it reads, ``gives`` the type of its output.
        """
        step_id = self._step_id(options.pop("step_id", None) or name, where)
        after = _refs(options.pop("after", ()), where)
        conditions = [options[key] for key in ("skip_if", "when") if options.get(key) is not None]
        depends = _unique(
            [name for part in (template, uses) for name, _ in holes(part) if name]
            + [step_of(ref) for ref in after]
            + [c.step for c in conditions if isinstance(c, Condition) and c.step]
        )
        fields = self._options(options, where)
        step = make(step_id, depends_on=depends, input=template, **fields)
        if _implied(step):
            step = make(step_id, depends_on=depends, **fields)
        self.steps.append(step)
        self.kinds[step_id] = gives
        return Ref(step_id)

    def _step_id(self, wanted: str, where: str) -> str:
        base = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in wanted)
        if not base:
            raise DefinitionError(f"{where}: {wanted!r} cannot be a step id")
        number = self._count[base] = self._count.get(base, 0) + 1
        return base if number == 1 else f"{base}_{number}"

    def _options(self, given: dict[str, Any], where: str) -> dict[str, Any]:
        read: dict[str, Callable[[Any], tuple[str, Any]]] = {
            "skip_if": lambda value: ("skip_if", _condition(value, f"{where}: skip_if=")),
            "when": lambda value: ("when", _condition(value, f"{where}: when=")),
            "timeout": lambda value: ("timeout_ms", milliseconds(f"{where}: timeout", value)),
            "retry": lambda value: ("retry", policy_of(value, where)),
            "group": lambda value: ("group", str(value)),
            "metadata": lambda value: ("metadata", texts(value)),
            "on_failure": lambda value: ("on_failure", self._aside(value, f"{where}: on_failure=")),
            "compensate": lambda value: ("compensate", self._aside(value, f"{where}: compensate=")),
        }
        return dict(read[key](value) for key, value in given.items() if value is not None)

    def _aside(self, task: Any, where: str) -> str:
        """A step that runs only when another fails, or to undo it."""
        if not isinstance(task, Task):
            raise DefinitionError(f"{where} takes a task, without calling it, not {task!r}")
        step_id = self._step_id(task.name, where)
        self.steps.append(task.step(step_id))
        self.kinds[step_id] = task.returns()
        return step_id


def current_trace(call: str) -> Trace:
    """The workflow that is being traced.

    Raises:
        DefinitionError: there is none.
    """
    trace = tracer.get()
    if trace is None:
        raise DefinitionError(
            f"{call} makes a step: call it in a function decorated with @app.workflow, while that is "
            "traced; a handler waits with its ctx"
        )
    return cast("Trace", trace)


def step_maker(kind: str, config: Config | None = None, **always: Any) -> MakeStep:
    """What makes steps of a kind that no decorated function stands for."""

    def make(step_id: str, **fields: Any) -> Step:
        return Step(**{**always, **fields, "id": step_id, "kind": kind, "config": config})

    return make


def template_at(where: str, value: Any) -> Any:
    """A value with references, as a template that is not taken for "no input".

    Raises:
        DefinitionError: JSON cannot carry it.
    """
    try:
        template = template_of(value)
    except InvalidInput as error:
        raise DefinitionError(f"{where}: {error.message}") from error
    return {"$literal": None} if template is None else template


def _condition(value: Any, where: str) -> Condition:
    if not isinstance(value, Condition):
        raise DefinitionError(
            f"{where} takes a comparison of a reference, such as draft.score > 3, not {value!r}"
        )
    return value


def _refs(after: Any, where: str) -> list[Ref]:
    refs = list(after) if isinstance(after, list | tuple) else [after]
    for ref in refs:
        if not isinstance(ref, Ref) or not step_of(ref):
            raise DefinitionError(f"{where}: after= takes what another call returned, not {ref!r}")
    return refs


def _input(what: Startable[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The input that a call stands for, as a template; constants are checked now."""
    signature = what.signature
    bound = signature.bind(args, kwargs)
    if what.fills_defaults:
        bound = {**signature.defaults(), **bound}
    if not signature.parameters:
        return None
    if not any(True for value in bound.values() for _ in refs_in(value)):
        signature.encode_call((), bound)
    if len(signature.parameters) > 1:
        return {name: template_of(value) for name, value in bound.items()}
    if not bound:
        return None
    template = template_of(next(iter(bound.values())))
    return {"$literal": None} if template is None else template


def _items(task: Task[Any, Any], items: Any, where: str) -> Any:
    """What a map goes over; items without references are checked now."""
    if isinstance(items, Ref):
        return template_of(items)
    if not isinstance(items, list | tuple):
        raise DefinitionError(
            f"{where}: it goes over a reference to an array, or over a list, not over {items!r}"
        )
    try:
        for item in items:
            if not any(True for _ in refs_in(item)):
                task.signature.check(convert.encode(item))
        return [template_of(item) for item in items]
    except InvalidInput as error:
        raise DefinitionError(f"{where}: {error.message}") from error


def _unique(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _implied(step: Step) -> bool:
    """Whether the default rule gives a step the same input, so that it need not be written."""
    if step.kind == "map" and len(step.depends_on) != 1:
        return False
    if not step.depends_on:
        return bool(step.input == {"$input": ""})
    return len(step.depends_on) == 1 and bool(step.input == {"$step": step.depends_on[0]})
