"""Python values and JSON: how handlers' arguments and results are written and read.

msgspec structs, dataclasses, attrs classes, TypedDicts and builtins work as they are; Pydantic models by
their own methods, when that is installed. Nothing is ever pickled, and a failed cast is an error.

The rule for arguments, the same for Python callers, workflow files and HTTP: a handler with one parameter
(besides its context) takes the whole input; with several, an object's members by name; with none, nothing.
"""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import msgspec.inspect
from msgspec import Raw

from dagnats.errors import DefinitionError, InvalidInput
from dagnats.filling import filler

NULL = Raw(b"null")
_QUOTED_MAX = 200
_UNION = type(int | str)


def _enc_hook(value: Any) -> Any:
    if hasattr(value, "model_dump"):  # a Pydantic model, under the names that it reads itself
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Raw):
        return value
    raise NotImplementedError(
        f"a value of type {type(value).__name__} cannot be written as JSON; "
        "return builtins, a msgspec struct, a dataclass, a TypedDict or a Pydantic model"
    )


def _hooked(kind: type) -> bool:
    """Whether ``_dec_hook`` can read it."""
    return hasattr(kind, "model_validate") or kind in (Raw, object)


def _dec_hook(kind: type, value: Any) -> Any:
    if hasattr(kind, "model_validate"):  # a Pydantic model
        return kind.model_validate(value)
    if kind in (Raw, object):
        return value
    raise NotImplementedError(f"values of type {kind!r} cannot be read from JSON")


_encoder = msgspec.json.Encoder(enc_hook=_enc_hook)


def encode(value: Any) -> Raw:
    """A value as JSON.

    Raises:
        InvalidInput: it holds something that JSON cannot carry.
    """
    try:
        return Raw(_encoder.encode(value))
    except (NotImplementedError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"cannot write a {type(value).__name__} as JSON: {error}") from error


def decoder(kind: Any) -> Callable[[Raw], Any]:
    """A function that reads JSON as a type; ``Any`` gives builtins.

    The function raises InvalidInput when the JSON does not fit.
    """
    built = msgspec.json.Decoder(kind, dec_hook=_dec_hook)
    fill = filler(part for part, _ in parts_of(kind))

    def read(raw: Raw) -> Any:
        try:
            value = built.decode(raw)
        except (NotImplementedError, TypeError, ValueError, RecursionError) as error:
            raise InvalidInput(str(error)) from error
        if fill is not None:
            fill(value)
        return value

    return read


def readable(kind: Any) -> bool:
    """Whether JSON can carry the type."""
    try:
        _known(kind)
    except Exception:  # noqa: BLE001  (whatever is wrong with a type that nobody has to read)
        return False
    return True


def reader(kind: Any) -> Callable[[Raw], Any]:
    """A decoder of a type; of builtins when JSON cannot carry the type."""
    return decoder(kind if readable(kind) else Any)


class Promise:
    """The type that a handler's answer is promised to have, checked on the JSON that would be stored.

    A type that says nothing (``Any``, none at all, one that JSON cannot carry) promises nothing.
    """

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        checked = kind not in (Any, object, Raw) and readable(kind)
        self._read = decoder(kind) if checked else None

    def broken(self, raw: Raw) -> str:
        """Which part of an answer is not of the type; empty when all of it is."""
        if self._read is None:
            return ""
        try:
            self._read(raw)
        except InvalidInput as error:
            return f"{quoted(raw)}, which is no {spelled(self.kind)}: {error.message}"
        return ""


def spelled(kind: Any) -> str:
    """A type as its author would write it, without modules."""
    origin, args = get_origin(kind), get_args(kind)
    if kind in (None, type(None)):
        return "None"
    if origin in (Union, _UNION):
        return " | ".join(spelled(part) for part in args)
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if origin is Annotated:
        return spelled(args[0])
    if origin is not None and args:
        return f"{spelled(origin)}[{', '.join(spelled(part) for part in args)}]"
    return "..." if kind is Ellipsis else str(getattr(kind, "__name__", kind))


def quoted(raw: Raw) -> str:
    """The beginning of a JSON value, for messages."""
    text = bytes(raw).decode(errors="replace")
    return text if len(text) <= _QUOTED_MAX else text[:_QUOTED_MAX] + "…"


def plain(raw: Raw | None) -> Any:
    """JSON as builtins; None for nothing."""
    return None if raw is None else msgspec.json.decode(raw)


class Signature:
    """What a handler takes and gives, read from its annotations once, at import.

    Raises:
        DefinitionError: it has ``*args`` or positional-only parameters, or annotations that cannot be
            resolved or carried by JSON.
    """

    def __init__(
        self, function: Callable[..., Any], contexts: tuple[type, ...], outcomes: tuple[type, ...]
    ) -> None:
        self.name = getattr(function, "__qualname__", repr(function))
        self.signature = inspect.signature(function)
        hints = _hints(function, self.name)
        parameters = list(self.signature.parameters.values())
        for parameter in parameters:
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise DefinitionError(
                    f"{self.name}: {parameter.name} is passed by name; remove the / behind it"
                )
        self.context: str | None = None
        self.checkpoint: Any = Any
        if parameters and self._takes_context(parameters[0], hints, contexts):
            self.context = parameters[0].name
            parameters = parameters[1:]
        for parameter in parameters:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise DefinitionError(
                    f"{self.name}: *{parameter.name} cannot be read from JSON; name the parameters"
                )
        self.parameters = parameters
        self.types = {p.name: hints.get(p.name, Any) for p in parameters}
        self.returns = _without(hints.get("return", Any), outcomes)
        self.result = Promise(self.returns)
        self.state = Promise(self.checkpoint)
        self._read = self._reader()

    def _takes_context(
        self, first: inspect.Parameter, hints: Mapping[str, Any], contexts: tuple[type, ...]
    ) -> bool:
        hint = hints.get(first.name)
        origin = get_origin(hint) or hint
        if isinstance(origin, type) and issubclass(origin, contexts):
            inner = get_args(hint)
            self.checkpoint = inner[0] if inner else Any
            return True
        return hint is None and first.name == "ctx"

    def _reader(self) -> Callable[[Raw], Any]:
        try:
            if not self.parameters:
                return lambda _: None
            if len(self.parameters) == 1:
                return _known(self.types[self.parameters[0].name])
            fields: list[Any] = []
            for p in self.parameters:
                kind = self.types[p.name]
                fields.append(
                    (p.name, kind) if p.default is p.empty else (p.name, kind, _default(p.default))
                )
            struct = msgspec.defstruct(
                f"{self.name}_input", fields, kw_only=True, forbid_unknown_fields=True
            )
            return _known(struct)
        except (TypeError, ValueError) as error:
            raise DefinitionError(
                f"{self.name}: its parameters cannot be read from JSON: {error}"
            ) from error

    def text(self) -> str:
        """What callers pass and get, as code: ``(url: str, words: int = 3) -> Page``."""
        shown: list[str] = []
        for p in self.parameters:
            kind = "" if p.annotation is p.empty else f": {spelled(self.types[p.name])}"
            default = (
                "" if p.default is p.empty else f" = {p.default!r}" if kind else f"={p.default!r}"
            )
            shown.append(f"{p.name}{kind}{default}")
        gives = "" if self.returns is Any else f" -> {spelled(self.returns)}"
        return f"({', '.join(shown)}){gives}"

    def arguments(self, raw: Raw) -> dict[str, Any]:
        """The keyword arguments for the handler from its input.

        Raises:
            InvalidInput: the input does not fit the annotations.
        """
        if not self.parameters:
            return {}
        if len(self.parameters) == 1:
            only = self.parameters[0]
            if bytes(raw) == b"null" and only.default is not only.empty:
                return {only.name: only.default}
            return {only.name: self._read(raw)}
        value = self._read(raw)
        return {p.name: getattr(value, p.name) for p in self.parameters}

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments of a call (without the context) by parameter name.

        Raises:
            InvalidInput: they do not fit the parameters.
        """
        names = inspect.Signature(self.parameters)
        takes = ", ".join(p.name for p in self.parameters) or "nothing"
        for name in [name for name in kwargs if name not in names.parameters]:
            # Told first: otherwise the message would name the parameter that is missing for it.
            close = difflib.get_close_matches(name, names.parameters, n=1)
            hint = f"; did you mean {close[0]}=?" if close else ""
            raise InvalidInput(f"{self.name} takes {takes}, and no {name}={hint}")
        try:
            return dict(names.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise InvalidInput(f"{self.name} takes {takes}: {error}") from error

    def defaults(self) -> dict[str, Any]:
        """The values of parameters that may be left out."""
        return {p.name: p.default for p in self.parameters if p.default is not p.empty}

    def encode_call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, fill: bool = False
    ) -> Raw:
        """The input that a call stands for, checked against the annotations.

        ``fill`` writes down the defaults of what is left out, for a reader that does not know them.

        Raises:
            InvalidInput: the arguments do not fit.
        """
        bound = self.bind(args, kwargs)
        if fill:
            bound = {**self.defaults(), **bound}
        if not self.parameters:
            return NULL
        if len(self.parameters) == 1:
            if not bound:
                return NULL
            raw = encode(bound[self.parameters[0].name])
        else:
            raw = encode(bound)
        self.check(raw)
        return raw

    def check(self, raw: Raw) -> None:
        """Whether an input fits.

        Raises:
            InvalidInput: it does not; the message names the handler and the place.
        """
        try:
            self.arguments(raw)
        except InvalidInput as error:
            raise InvalidInput(f"input of {self.name}: {error.message}") from error


def parts_of(kind: Any) -> Iterator[tuple[msgspec.inspect.Type, msgspec.inspect.Type | None]]:
    """Every type that a type is made of, each with the one that it stands in.

    Raises:
        TypeError: msgspec cannot look into it.
    """
    root = msgspec.inspect.type_info(kind)
    yield root, None
    pending: list[tuple[Any, msgspec.inspect.Type]] = [(root, root)]
    seen = {id(root)}
    while pending:
        part, owner = pending.pop()
        for child in part if isinstance(part, tuple) else _members(part):
            if isinstance(child, msgspec.inspect.Type):
                yield child, owner
            if isinstance(child, tuple) or id(child) not in seen:
                seen.add(id(child))
                inner = child if isinstance(child, msgspec.inspect.Type) else owner
                pending.append((child, inner))


def _members(part: Any) -> Iterator[Any]:
    if isinstance(part, msgspec.inspect.Type | msgspec.inspect.Field):
        yield from (getattr(part, name) for name in part.__struct_fields__)


def _known(kind: Any) -> Callable[[Raw], Any]:
    """A decoder of a type in which every part can be read: msgspec itself finds out only at a value."""
    for part, _ in parts_of(kind):
        if isinstance(part, msgspec.inspect.CustomType) and not _hooked(part.cls):
            raise TypeError(
                f"{part.cls.__qualname__} is neither a builtin, a dataclass, an attrs class, "
                "a TypedDict, a msgspec struct nor a Pydantic model"
            )
    return decoder(kind)


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise DefinitionError(
            f"{name}: an annotation cannot be resolved ({error}); import it at module level, outside TYPE_CHECKING"
        ) from error


def _default(value: Any) -> Any:
    if isinstance(value, list | dict | set):
        return msgspec.field(default_factory=lambda: type(value)(value))
    return value


def _without(hint: Any, outcomes: tuple[type, ...]) -> Any:
    """A return annotation without the outcomes that are not values."""
    if get_origin(hint) in (Union, _UNION):
        kept = tuple(part for part in get_args(hint) if not _is_outcome(part, outcomes))
        return Union[kept] if kept else Any  # noqa: UP007  (built from a tuple)
    return Any if _is_outcome(hint, outcomes) else hint


def _is_outcome(part: Any, outcomes: tuple[type, ...]) -> bool:
    origin = get_origin(part) or part
    return isinstance(origin, type) and issubclass(origin, outcomes)
