"""L16: a derived schema accepts whatever the worker accepts; and hardly anything else."""

from __future__ import annotations

from typing import Any, Union

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import Raw

from dagnats import convert
from dagnats.context import Context
from dagnats.convert import Signature
from dagnats.core.schemas import schema_problem, schema_violation
from dagnats.errors import DefinitionError, InvalidInput
from dagnats.outcome import Continue
from dagnats.schemas import input_schema_of, schema_of
from tests.support.typed import JSON, KINDS, Page, fitting, function_of, raw, spoiled


def taken(signature: Signature, value: Raw) -> bool:
    """Whether the worker calls the handler with it."""
    try:
        signature.check(value)
    except InvalidInput:
        return False
    return True


@st.composite
def handlers(draw: st.DrawFn, kinds_of: st.SearchStrategy[Any] = KINDS) -> Signature:
    """A handler with up to three parameters, some with a default."""
    names = ["a", "b", "c"][: draw(st.integers(0, 3))]
    kinds = {name: draw(kinds_of) for name in names}
    defaults = {name: draw(JSON) for name in names if draw(st.booleans())}
    try:
        return Signature(function_of(kinds, defaults, draw(KINDS)), (Context,), (Continue,))
    except DefinitionError:  # such as a tuple of two structs with the same tag
        return Signature(function_of({}, {}), (Context,), (Continue,))


@st.composite
def inputs(draw: st.DrawFn, signature: Signature) -> Raw:
    """JSON for a handler: what fits, or something near it."""
    kinds = signature.types
    if len(kinds) == 1:
        good: Any = draw(st.none() | fitting(next(iter(kinds.values()))))
    else:
        needed = {p.name for p in signature.parameters if p.default is p.empty}
        kept = {name for name in kinds if name in needed or draw(st.booleans())}
        good = {name: draw(fitting(kinds[name])) for name in sorted(kept)}
    return raw(draw(spoiled(good)))


@given(st.data())
def test_what_the_worker_takes_the_schema_accepts(data: st.DataObject):
    """No input is refused at the door that a handler would have been called with."""
    signature = data.draw(handlers())
    schema = input_schema_of(signature)
    value = data.draw(inputs(signature))
    if taken(signature, value):
        assert not schema_violation(schema, value), (schema, bytes(value))


@given(st.data())
def test_what_a_handler_may_return_the_schema_accepts(data: st.DataObject):
    """No run fails because of a result that the worker let pass; nor a result that is of the type."""
    kind = data.draw(KINDS)
    promise, schema = convert.Promise(kind), schema_of(kind)
    value = raw(data.draw(fitting(kind).flatmap(spoiled)))
    if promise.broken(value):
        return
    assert not schema_violation(schema, value), (schema, bytes(value))
    if convert.readable(kind):
        again = convert.encode(convert.decoder(kind)(value))
        assert not promise.broken(again)
        assert not schema_violation(schema, again), (schema, bytes(again))


STRICT = st.recursive(
    st.sampled_from([int, str, bool, None, Page]),
    lambda inner: inner.map(lambda kind: list[kind]) | inner.map(lambda kind: Union[kind, None]),  # noqa: UP007
    max_leaves=3,
)


@given(st.data())
def test_what_the_schema_accepts_the_worker_takes(data: st.DataObject):
    """Of types whose values have one form in JSON, a schema tells as much as the worker would."""
    signature = data.draw(handlers(STRICT))
    value = data.draw(inputs(signature))
    assume(b".0" not in bytes(value))  # JSON Schema's integers may be written as 2.0
    if not schema_violation(input_schema_of(signature), value):
        assert taken(signature, value), bytes(value)


@given(KINDS)
def test_schemas_stand_alone(kind: Any):
    """A schema is JSON, can be used, and refers to nothing outside itself."""
    schema = schema_of(kind)
    assert not schema_problem(schema)
    assert msgspec.json.decode(msgspec.json.encode(schema)) == schema
