"""L15: facts survive their encoding, and what cannot be a fact is refused, never raised as anything else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from dagnats.core.events import (
    AUTHORS,
    CancelRequested,
    RunStarted,
    StepContinued,
    StepFailed,
    StepSucceeded,
    TimerFired,
)
from dagnats.errors import CodecError
from dagnats.wire import subjects
from dagnats.wire.codec import decode_fact, encode

words = st.text(max_size=20)
small = st.integers(-(2**53), 2**53)
trees = st.recursive(
    st.none() | st.booleans() | small | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
payloads = trees.map(lambda value: Raw(msgspec.json.encode(value)))
answers = {"ticket": words, "nonce": words, "worker": words, "ran_ms": small}
facts = st.one_of(
    st.builds(
        RunStarted,
        workflow=words,
        definition=words,
        input=payloads,
        metadata=st.dictionaries(words, words, max_size=3),
        tags=st.lists(words, max_size=3).map(tuple),
        key=words,
        start=words,
    ),
    st.builds(CancelRequested, reason=words),
    st.builds(StepSucceeded, output=payloads, **answers),
    st.builds(StepFailed, error=words, failure=words, retry_after_ms=small, **answers),
    st.builds(StepContinued, checkpoint=payloads, **answers),
    st.builds(TimerFired, due_ms=small),
)


def subject_of(author: str) -> str:
    """Where an author's facts are written."""
    return subjects.fact(0, "r1", author)


@given(facts)
def test_a_fact_survives_its_encoding(fact):
    """Every fact reads back as it was written, from its author's subject."""
    assert decode_fact(subject_of(AUTHORS[type(fact)]), encode(fact)) == fact


@given(facts, st.sampled_from(sorted(set(AUTHORS.values()))))
def test_a_fact_has_one_author(fact, author):
    """What somebody else writes is refused."""
    if author == AUTHORS[type(fact)]:
        return
    with pytest.raises(CodecError, match="only a"):
        decode_fact(subject_of(author), encode(fact))


@given(facts, st.integers(0, 200), st.binary(max_size=4))
def test_damaged_bytes_are_a_codec_error(fact, place, noise):
    """Bytes that were cut and scribbled over are refused as such, or happen to be a fact."""
    body = encode(fact)
    damaged = body[: place % len(body)] + noise
    try:
        decode_fact(subject_of(AUTHORS[type(fact)]), damaged)
    except CodecError as refused:
        said = str(refused)
    else:
        return

    assert subject_of(AUTHORS[type(fact)]) in said


def test_json_nested_beyond_reason_is_a_codec_error():
    """A payload that is nested a hundred thousand deep is refused, and does not end the process."""
    deep = b'{"type":"step.succeeded","ticket":"a/1/0","output":' + b"[" * 100_000 + b"]" * 100_000

    with pytest.raises(CodecError):
        decode_fact(subject_of("worker"), deep + b"}")


def test_fields_of_a_newer_version_are_let_pass():
    """A field that this version does not know is not an error."""
    body = b'{"type":"run.cancel_requested","reason":"x","since":"tomorrow"}'

    assert decode_fact(subject_of("client"), body) == CancelRequested(reason="x")
