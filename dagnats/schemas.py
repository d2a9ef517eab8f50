"""JSON Schemas of Python types: what a task or workflow takes and gives, for everybody who asks in JSON.

A schema accepts whatever the worker accepts (a law in ``tests/laws``): where msgspec's own schema is
stricter than its decoder, it is loosened. A type without a schema gives None, and never an error.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any, Final, Union, get_args

import msgspec
from msgspec import UNSET, Raw, UnsetType, inspect

from dagnats.convert import Signature, encode, parts_of, readable
from dagnats.core.model import Step, Workflow
from dagnats.core.schemas import schema_problem
from dagnats.core.templates import hole
from dagnats.errors import InvalidInput

Schema = dict[str, Any]

_REFS: Final = "#/$defs/{name}"


# -- types -----------------------------------------------------------------------------------------


def schema_of(kind: Any) -> Schema | None:
    """The self-contained schema of a type; None when it has none, or takes everything."""
    made = _joined([kind])
    return _usable(made[0][0], made[1]) if made else None


def _joined(kinds: list[Any]) -> tuple[list[Schema], dict[str, Schema]] | None:
    """The schemas of several types, and the definitions that they share."""
    hook = _Hook()
    try:
        schemas, found = msgspec.json.schema_components(kinds, schema_hook=hook, ref_template=_REFS)
        definitions = {str(name): made for name, made in found.items()}
        for name, made in hook.definitions.items():
            if definitions.setdefault(name, made) != made:
                raise TypeError(f"two types are named {name}")
        for kind in kinds:
            _loosen_types(kind, definitions)
    except Exception:  # noqa: BLE001  (it runs users' code: Pydantic's, and what their types add to it)
        return None
    return [_loosened(each) for each in schemas], _loosened(definitions)


def _usable(schema: Schema, definitions: dict[str, Schema]) -> Schema | None:
    """The two as one schema, if it says anything and can be used."""
    if not schema:
        return None
    whole = {**schema, "$defs": definitions} if definitions else schema
    return None if schema_problem(whole) else whole


class _Hook:
    """What msgspec does not know: Pydantic models say it themselves, raw JSON and objects are anything."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}

    def __call__(self, kind: type) -> Schema:
        """The schema of a type; its definitions are kept beside it."""
        if kind in (Raw, object):
            return {}
        schema: Schema = kind.model_json_schema()  # type: ignore[attr-defined]  (or there is none)
        for name, made in schema.pop("$defs", {}).items():
            if self.definitions.setdefault(name, made) != made:
                raise TypeError(f"two types are named {name}")
        return schema


def _loosen_types(kind: Any, definitions: dict[str, Schema]) -> None:
    """Take from definitions what msgspec does not ask for when it reads the type."""
    for part, owner in parts_of(kind):
        if isinstance(part, inspect.EnumType) and _takes_more(part.cls):
            for made in _named(part.cls, definitions):
                made.pop("enum", None)
        elif isinstance(part, inspect.StructType) and not _in_a_choice(owner):
            for made in _named(part.cls, definitions) if part.tag is not None else ():
                made["required"] = [n for n in made.get("required", ()) if n != part.tag_field]


def _takes_more(kind: type[enum.Enum]) -> bool:
    """Whether an enum reads values that are not among its members."""
    return issubclass(kind, enum.Flag) or "_missing_" in {
        name for base in kind.__mro__ if base.__module__ != "enum" for name in vars(base)
    }


def _in_a_choice(owner: inspect.Type | None) -> bool:
    """Whether a struct is one of several there, so that its tag is needed."""
    return (
        isinstance(owner, inspect.UnionType)
        and sum(isinstance(each, inspect.StructType) for each in owner.types) > 1
    )


def _named(kind: type, definitions: dict[str, Schema]) -> Iterator[Schema]:
    for made in definitions.values():
        if (
            str(made.get("title")).partition("[")[0] == kind.__name__
        ):  # without a generic's arguments
            yield made


def _loosened(part: Any) -> Any:
    """A schema without what its reader does not check, or checks by other rules."""
    if isinstance(part, list):
        return [_loosened(item) for item in part]
    if not isinstance(part, dict):
        return part
    kept = {key: _loosened(value) for key, value in part.items() if key != "default"}
    if "default" in part:
        kept["default"] = part["default"]
    if part.get("uniqueItems") is True:  # a set is read from any array
        del kept["uniqueItems"]
    if part.get("format") == "decimal" and part.get("type") == "string":
        kept["type"] = ["string", "number"]
    if isinstance(part.get("pattern"), str) and schema_problem({"pattern": part["pattern"]}):
        del kept["pattern"]  # Python's regular expressions can do more
    return kept


# -- inputs ----------------------------------------------------------------------------------------


def input_schema_of(signature: Signature, *, optional: bool = True) -> Schema | None:
    """What a handler takes, by the rule of ``convert``; None when that is anything.

    ``optional``: whether a parameter with a default may be left out. In a workflow's input it may not:
    the caller fills it in.
    """
    parameters = signature.parameters
    if not parameters:
        return None
    made = _joined([signature.types[p.name] for p in parameters])
    if made is None:
        return None
    schemas, definitions = made
    if len(parameters) > 1:
        return _usable(_members(signature, schemas, optional=optional), definitions)
    only = parameters[0]
    if not schemas[0] or not optional or only.default is only.empty:
        return _usable(schemas[0], definitions)
    null: Schema = {"type": "null"}
    has_null = null == schemas[0] or null in schemas[0].get("anyOf", ())
    taken = schemas[0] if has_null else {"anyOf": [schemas[0], null]}
    return _usable({**taken, **_default(only.default)}, definitions)


def _members(signature: Signature, schemas: list[Schema], *, optional: bool) -> Schema:
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for parameter, schema in zip(signature.parameters, schemas, strict=True):
        if optional and parameter.default is not parameter.empty:
            properties[parameter.name] = {**schema, **_default(parameter.default)}
        else:
            properties[parameter.name] = schema
            required.append(parameter.name)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _default(value: Any) -> Schema:
    try:
        return {"default": msgspec.json.decode(encode(value))}
    except InvalidInput:
        return {}


# -- outputs ---------------------------------------------------------------------------------------


class Outputs:
    """The types of what runs of a workflow give back, from those of its steps' outputs.

    A step may have no output: it was skipped, by a condition or because a failure before it was
    recovered. Its value is ``null`` then, and an object of last steps lacks it. ``declared`` is what the
    author says of the whole; it counts, but for such a ``null``. (``-> None`` says nothing.)
    """

    def __init__(self, workflow: Workflow, kinds: Mapping[str, Any], declared: Any = Any) -> None:
        known = declared is not type(None) and readable(declared)
        self.declared = declared if known else Any
        self._workflow = workflow
        self._steps = {step.id: step for step in workflow.steps}
        self._kinds = {
            step.id: kinds[step.id]
            for step in workflow.steps
            if step.id in kinds and readable(kinds[step.id])
        }
        self._bypassed = _bypassed(workflow)

    def kind(self) -> Any:
        """The type of the run's output; ``Any`` where nothing is known."""
        made = self._made()
        if self.declared is Any:
            return made
        return Union[self.declared, None] if type(None) in get_args(made) else self.declared  # noqa: UP007

    def _made(self) -> Any:
        if self._workflow.output is not None:
            return self._shape(self._workflow.output)
        sinks = self._sinks()
        if len(sinks) == 1:
            return self._or_null(self._settled(sinks[0]), sinks[0])
        return _object([(s.id, self._settled(s), self._skippable(s)) for s in sinks])

    def _shape(self, template: Any) -> Any:
        found = hole(template)
        if found is not None:
            step, path = found
            if path or not step:
                return Any
            return self._or_null(self._kinds.get(step, Any), self._steps[step], recovered=True)
        if isinstance(template, dict) and "$literal" not in template:
            return _object([(key, self._shape(part), False) for key, part in template.items()])
        if isinstance(template, list | tuple) and template:
            return tuple[tuple(self._shape(part) for part in template)]
        return Any

    def _sinks(self) -> list[Step]:
        parents = {name for step in self._workflow.steps for name in step.depends_on}
        steps = self._workflow.steps
        handlers = {name for step in steps for name in (step.on_failure, step.compensate)}
        return [step for step in self._workflow.steps if step.id not in parents | handlers]

    def _settled(self, step: Step) -> Any:
        """A last step's own output, or that of the handler that stood in for it."""
        kind = self._kinds.get(step.id, Any)
        if not step.on_failure:
            return kind
        either = Union[kind, self._kinds.get(step.on_failure, Any)]  # noqa: UP007
        return either if readable(either) else Any

    def _or_null(self, kind: Any, step: Step, *, recovered: bool = False) -> Any:
        # A step that failed has no output of its own, even when its handler went on from there.
        absent = self._skippable(step) or (recovered and step.on_failure)
        return Union[kind, None] if absent else kind  # noqa: UP007

    def _skippable(self, step: Step) -> bool:
        return step.skip_if is not None or step.when is not None or step.id in self._bypassed


def _bypassed(workflow: Workflow) -> set[str]:
    """The steps that are skipped when a step before them fails and is recovered."""
    children: dict[str, list[str]] = {}
    for step in workflow.steps:
        for name in step.depends_on:
            children.setdefault(name, []).append(step.id)
    found: set[str] = set()
    pending = [step.id for step in workflow.steps if step.on_failure]
    while pending:
        below = [name for name in children.get(pending.pop(), ()) if name not in found]
        found.update(below)
        pending.extend(below)
    return found


def _object(members: list[tuple[str, Any, bool]]) -> Any:
    """The type of an object with exactly these members; the third says that one may be missing."""
    fields: list[Any] = []
    for number, (_, kind, missing) in enumerate(members):
        field = f"member_{number}"
        fields.append((field, Union[kind, UnsetType], UNSET) if missing else (field, kind))  # noqa: UP007
    names = {f"member_{number}": name for number, (name, _, _) in enumerate(members)}
    return msgspec.defstruct(
        "output", fields, rename=names, kw_only=True, forbid_unknown_fields=True
    )
