"""References: what stands for a value while a workflow is traced, and the templates that they become."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NoReturn

import msgspec

from dagnats import convert
from dagnats.core.model import Condition
from dagnats.core.templates import literal
from dagnats.errors import DefinitionError, InvalidInput

_HOLE: Final = "\x00ref"


class Ref:
    """A value that will exist when the workflow runs: a step's output, the run's input, or a part of one.

    ``ref.field`` and ``ref["x"]`` select; comparing makes a condition for ``when=`` and ``skip_if=``.
    """

    def __init__(self, step: str, path: tuple[str, ...] = ()) -> None:
        self._step = step
        self._path = path

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


def step_of(ref: Ref) -> str:
    """The step whose output a reference is a part of; empty for the run's input."""
    step: str = vars(ref)["_step"]
    return step


def keys_of(ref: Ref) -> tuple[str, ...]:
    """The path to the part that a reference stands for."""
    keys: tuple[str, ...] = vars(ref)["_path"]
    return keys


def hole_of(ref: Ref) -> dict[str, Any]:
    """A reference as a part of a template."""
    source, keys = step_of(ref), keys_of(ref)
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


def refs_in(value: Any) -> Iterable[Ref]:
    """Every reference in a value."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from refs_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from refs_in(part)
    elif hasattr(value, "__struct_fields__") or hasattr(value, "__dataclass_fields__"):
        for name in getattr(value, "__struct_fields__", None) or value.__dataclass_fields__:
            yield from refs_in(getattr(value, name, None))
