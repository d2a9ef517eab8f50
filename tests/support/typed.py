"""Random annotations, and JSON that fits them, nearly fits them, or does not."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import inspect as python
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, Union

import attrs
import msgspec
from hypothesis import strategies as st
from msgspec import Meta, Raw, Struct, inspect
from pydantic import BaseModel

JSON = st.recursive(
    st.sampled_from([None, True, False, 0, 1, -3, 2.5, 2.0, 10**30, "", "a", "red", "Cat", "1.5", "2020-01-02"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "b", "type", "1"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


class Colour(enum.Enum):
    """Two words."""

    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    """Two numbers."""

    S = 1
    L = 3


class Rights(enum.IntFlag):
    """Numbers that add up to others."""

    READ = 1
    WRITE = 2


class Lenient(enum.Enum):
    """Reads whatever it is given."""

    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> Lenient:
        return cls.A


class Cat(Struct, tag=True):
    """One of two."""

    a: int
    b: str = "x"


class Dog(Struct, tag=True, forbid_unknown_fields=True):
    """The other."""

    a: int | None = None


class Row(Struct, array_like=True):
    """An array in JSON."""

    a: int
    b: decimal.Decimal = decimal.Decimal(1)


class Renamed(Struct, rename={"a": "b"}, omit_defaults=True):
    """Another name in JSON."""

    a: list[int] = []


@dataclasses.dataclass
class Page:
    """A plain dataclass, with one in itself."""

    a: str
    b: list[Page] = dataclasses.field(default_factory=list)


@attrs.define
class Classic:
    """An attrs class."""

    a: float
    b: frozenset[int] = frozenset()


class Partial(TypedDict, total=False):
    """Members that may be missing."""

    a: bool
    b: dict[str, int]


class Pair(NamedTuple):
    """An array in JSON, too."""

    a: int
    b: str = "y"


class Model(BaseModel):
    """A Pydantic model."""

    a: str
    b: list[Model] = []


LEAVES: tuple[Any, ...] = (
    int, float, str, bool, None, bytes, dt.datetime, dt.date, dt.time,
    dt.timedelta, decimal.Decimal, uuid.UUID, Any, object, Raw, Colour, Size, Rights, Lenient,
    Literal["a", 1] | None, Literal["red", "blue"], Annotated[int, Meta(ge=0, lt=5)],
    Annotated[str, Meta(min_length=1, max_length=3)], Annotated[str, Meta(pattern=r"^(?P<first>a)")],
    Cat, Dog, Cat | Dog, Cat | None, Row, Renamed, Page, Classic, Partial, Pair, Model,
)  # fmt: skip

KINDS = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        inner.map(lambda kind: list[kind]),
        inner.map(lambda kind: dict[str, kind]),
        inner.map(lambda kind: Union[kind, None]),  # noqa: UP007
        st.tuples(inner, inner).map(lambda kinds: tuple[kinds]),
        st.just(set[int]),
        st.just(dict[int, str]),
        st.just(dict[Colour, int]),
    ),
    max_leaves=3,
)

_TEXTS = {
    inspect.StrType: st.sampled_from(["", "a", "ab", "abc", "1.5", "é"]),
    inspect.BytesType: st.sampled_from(["", "YQ=="]),
    inspect.DateTimeType: st.sampled_from(["2020-01-02T03:04:05", "2020-01-02T03:04:05Z"]),
    inspect.DateType: st.just("2020-01-02"),
    inspect.TimeType: st.sampled_from(["03:04:05", "03:04:05+01:00"]),
    inspect.TimeDeltaType: st.sampled_from(["P1D", "PT1.5S"]),
    inspect.UUIDType: st.just("00000000-0000-4000-8000-000000000001"),
}
_PLAIN = {
    **_TEXTS,
    inspect.IntType: st.integers(-5, 5) | st.just(10**25),
    inspect.FloatType: st.integers(-5, 5) | st.sampled_from([0.5, 1e300]),
    inspect.BoolType: st.booleans(),
    inspect.NoneType: st.none(),
    inspect.DecimalType: st.sampled_from(["1.5", 1.5, 2]),
    inspect.AnyType: JSON,
    inspect.RawType: JSON,
}


def fitting(kind: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """JSON (as builtins) that mostly fits a type: what msgspec's own description of it says."""
    part = kind if isinstance(kind, inspect.Type) else inspect.type_info(kind)
    if type(part) in _PLAIN:
        return _PLAIN[type(part)]
    make = _MADE.get(type(part))
    return make(part, depth) if make and depth < 4 else JSON


def _object(part: Any, depth: int) -> st.SearchStrategy[Any]:
    fields = {f.encode_name: fitting(f.type, depth + 1) for f in part.fields}
    needed = {f.encode_name for f in part.fields if f.required}
    tag = getattr(part, "tag", None)
    if tag is not None:
        fields[part.tag_field] = st.sampled_from([tag, tag, "Bird"])
    return st.fixed_dictionaries(
        {name: fields[name] for name in needed},
        optional={name: made for name, made in fields.items() if name not in needed},
    )


def _row(part: Any, depth: int) -> st.SearchStrategy[Any]:
    return st.tuples(*(fitting(f.type, depth + 1) for f in part.fields)).flatmap(
        lambda row: st.integers(1, len(row)).map(lambda size: list(row[:size]))
    )


def _list(part: Any, depth: int) -> st.SearchStrategy[Any]:
    return st.lists(fitting(part.item_type, depth + 1), max_size=3)


def _dict(part: Any, depth: int) -> st.SearchStrategy[Any]:
    keys = fitting(part.key_type, depth + 1).map(str)
    return st.dictionaries(keys, fitting(part.value_type, depth + 1), max_size=2)


def _tuple(part: Any, depth: int) -> st.SearchStrategy[Any]:
    return st.tuples(*(fitting(item, depth + 1) for item in part.item_types)).map(list)


def _union(part: Any, depth: int) -> st.SearchStrategy[Any]:
    return st.one_of([fitting(item, depth + 1) for item in part.types])


def _enum(part: Any, _depth: int) -> st.SearchStrategy[Any]:
    return st.sampled_from([member.value for member in part.cls]) | JSON


def _custom(part: Any, depth: int) -> st.SearchStrategy[Any]:
    if part.cls is not Model:
        return JSON
    kids = st.lists(_custom(part, depth + 1), max_size=1) if depth < 3 else st.just([])
    return st.fixed_dictionaries({"a": st.sampled_from(["", "a"])}, optional={"b": kids})


_MADE: dict[type, Callable[[Any, int], st.SearchStrategy[Any]]] = {
    inspect.StructType: lambda p, d: (_row if p.array_like else _object)(p, d),
    inspect.DataclassType: _object,
    inspect.TypedDictType: _object,
    inspect.NamedTupleType: _row,
    inspect.ListType: _list,
    inspect.SetType: _list,
    inspect.FrozenSetType: _list,
    inspect.DictType: _dict,
    inspect.TupleType: _tuple,
    inspect.UnionType: _union,
    inspect.EnumType: _enum,
    inspect.LiteralType: lambda p, _: st.sampled_from(list(p.values)),
    inspect.CustomType: _custom,
}


def raw(value: Any) -> Raw:
    """A value as JSON."""
    return Raw(msgspec.json.encode(value))


def spoiled(value: Any) -> st.SearchStrategy[Any]:
    """The value, or one with a part of it replaced, removed or added."""
    if isinstance(value, dict) and value:
        keys = sorted(value)
        changed = st.sampled_from(keys).flatmap(
            lambda key: spoiled(value[key]).map(lambda part: {**value, key: part})
        )
        less = st.sampled_from(keys).map(lambda key: {k: v for k, v in value.items() if k != key})
        return st.one_of(
            st.just(value), changed, less, JSON.map(lambda v: {**value, "more": v}), JSON
        )
    if isinstance(value, list) and value:
        first = spoiled(value[0]).map(lambda part: [part, *value[1:]])
        return st.one_of(
            st.just(value), first, st.just(value[1:]), st.just([*value, value[0]]), JSON
        )
    return st.just(value) | JSON


def function_of(
    kinds: dict[str, Any], defaults: dict[str, Any], returns: Any = Any
) -> Callable[..., Any]:
    """A function with these parameters and annotations."""

    def handler(**_: Any) -> None: ...

    empty = python.Parameter.empty
    handler.__annotations__ = {**kinds, "return": returns}
    handler.__signature__ = python.Signature(  # type: ignore[attr-defined]
        [
            python.Parameter(n, python.Parameter.KEYWORD_ONLY, default=defaults.get(n, empty))
            for n in kinds
        ]
    )
    return handler
