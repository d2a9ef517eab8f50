"""Large payloads: references in their place, and what is gone."""

import msgspec
import pytest
from msgspec import Raw

from dagnats import payloads
from dagnats.core.events import Event, RunStarted
from dagnats.errors import InvalidInput, PayloadGone, PayloadTooLarge
from dagnats.limits import OFFLOAD_SIZE_BYTES
from dagnats.memory.clock import VirtualClock
from dagnats.memory.outside import Memory
from dagnats.memory.world import World

LARGE = Raw(msgspec.json.encode("x" * (OFFLOAD_SIZE_BYTES + 1)))


@pytest.fixture
def blobs():
    """An empty object store."""
    return Memory(World(VirtualClock()), "test").blobs


async def test_a_small_payload_stays_and_a_large_one_comes_back(blobs):
    """Nobody can tell afterwards which way a payload took."""
    small = Raw(b'{"a":1}')
    reference = await payloads.offload(blobs, LARGE, "it")

    assert await payloads.offload(blobs, small, "it") is small
    assert len(bytes(reference)) < 200
    assert bytes(await payloads.restore(blobs, reference)) == bytes(LARGE)


async def test_references_are_restored_at_any_depth(blobs):
    """In arrays, in objects, and inside of what another reference stands for."""
    inner = await payloads.offload(blobs, LARGE, "it")
    mixed = Raw(msgspec.json.encode({"a": [1, {"b": inner}], "c": inner}))
    outer = await payloads.offload(blobs, mixed, "it", threshold=0)
    whole = msgspec.json.decode(await payloads.restore(blobs, outer))

    assert whole == {
        "a": [1, {"b": msgspec.json.decode(LARGE)}],
        "c": msgspec.json.decode(LARGE),
    }


async def test_a_payload_that_is_gone_says_so(blobs):
    """A reference to nothing is an error of its own, which is not tried again."""
    reference = Raw(msgspec.json.encode({"$dagnats.blob": "0" * 64, "size": 5}))

    with pytest.raises(PayloadGone, match="no longer in the object store"):
        await payloads.restore(blobs, reference)


async def test_a_fact_whose_payload_is_gone_is_folded_with_its_reference(blobs):
    """The run fails where it looks into the payload; its partition goes on."""
    reference = Raw(msgspec.json.encode({"$dagnats.blob": "0" * 64, "size": 5}))
    event = Event(1, 1, RunStarted(workflow="w", definition="d", input=reference))

    assert await payloads.prepared(blobs, frozenset({""}), event) == event


async def test_above_the_limit_nothing_is_stored(blobs):
    """The error names what is too large, and the limit."""
    with pytest.raises(PayloadTooLarge, match="the input is"):
        await payloads.offload(blobs, LARGE, "the input", most=OFFLOAD_SIZE_BYTES)


@pytest.mark.parametrize("place", ["%s", '{"deep":[1,%s]}'])
def test_a_user_cannot_write_a_reference(place):
    """Wherever it stands, a value that looks like a reference is refused."""
    forged = Raw((place % '{"$dagnats.blob":"abc","size":1}').encode())

    with pytest.raises(InvalidInput, match="reserved key"):
        payloads.refuse_forged(forged, "the input")
    payloads.refuse_forged(Raw(b'"a text about $dagnats.blob"'), "the input")
