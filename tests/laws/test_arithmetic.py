"""Laws of the small parts: back-off, durations, tables, ownership, definitions."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from dagnats.core import durations
from dagnats.core.definition import encode_workflow, read_workflow, write_workflow
from dagnats.core.model import STRATEGIES, RetryPolicy
from dagnats.core.ownership import moves
from dagnats.core.retry import clamped_retry_after_ms, delay_ms
from dagnats.core.table import Table
from dagnats.core.templates import hole, literal, render
from dagnats.limits import DURATION_MAX_MS
from tests.laws.test_codec import trees
from tests.support.builders import raw
from tests.support.strategies import Choices, workflow_of

HOUR_MS = 3_600_000

policies = st.builds(
    RetryPolicy,
    attempts=st.just(100_001),
    strategy=st.sampled_from(STRATEGIES),
    initial_ms=st.integers(1, 10**9) | st.just(10**400),
    max_ms=st.integers(0, 10**9),
    multiplier=st.floats(1e-6, 1e6),
    jitter=st.floats(0, 1),
)
retry_numbers = st.integers(1, 100_000)
tickets = st.text(max_size=30)


@given(policies, retry_numbers, tickets)
def test_a_delay_is_bounded(policy, retry, ticket):
    """From 1 ms to an hour and the policy's cap, for every policy and every retry."""
    delay = delay_ms(policy, retry, ticket)

    assert isinstance(delay, int)
    assert 1 <= delay <= min(HOUR_MS, policy.max_ms or HOUR_MS)


@given(policies, retry_numbers, tickets)
def test_jitter_is_a_function_of_the_ticket(policy, retry, ticket):
    """Jitter only takes away, its part at the most, and the same every time."""
    plain = delay_ms(RetryPolicy(**{**fields(policy), "jitter": 0.0}), retry, ticket)
    delay = delay_ms(policy, retry, ticket)

    assert delay == delay_ms(policy, retry, ticket)
    assert max(1, int(plain * (1 - policy.jitter)) - 1) <= delay <= plain


def fields(policy: RetryPolicy) -> dict[str, object]:
    """A policy's fields."""
    return {name: getattr(policy, name) for name in policy.__struct_fields__}


@given(policies.filter(lambda policy: policy.multiplier >= 1), st.integers(1, 5_000))
def test_delays_do_not_shrink(policy, retry):
    """Without jitter, a later retry waits at least as long."""
    plain = RetryPolicy(**{**fields(policy), "jitter": 0.0})

    assert delay_ms(plain, retry, "t") <= delay_ms(plain, retry + 1, "t")


@given(st.integers())
def test_retry_after_is_clamped(asked_ms):
    """What a handler asks for is kept between 100 ms and an hour."""
    assert clamped_retry_after_ms(asked_ms) == min(max(asked_ms, 100), HOUR_MS)


@given(st.integers(0, DURATION_MAX_MS))
def test_a_duration_survives_its_text(ms):
    """The canonical text of a duration reads as the same duration, here and in a file."""
    text = durations.text_of_ms(ms)

    assert durations.parse_ms(text) == durations.from_file_ms(text) == ms
    assert durations.to_ms(timedelta(milliseconds=ms)) == ms
    assert durations.from_file_ms(ms * 1_000_000) == ms


@given(st.text(max_size=12) | st.text("0123456789.smhd ", max_size=400))
def test_any_text_is_a_duration_or_a_value_error(text):
    """Whatever people write is a duration that is not negative, or refused."""
    try:
        assert durations.parse_ms(text) >= 0
    except ValueError as refused:
        said = str(refused)
    else:
        return

    assert "duration" in said


@given(st.lists(st.integers(), max_size=200), st.data())
def test_a_table_is_a_list(items, data):
    """Replacing entries of a table is replacing them in a list; the old table stays as it was."""
    table = Table.of(items)
    places = st.integers(0, max(0, len(items) - 1))
    changes = data.draw(st.dictionaries(places, st.integers(), max_size=8)) if items else {}
    changed = table.replace(changes)

    assert list(table) == items
    assert list(changed) == [changes.get(place, item) for place, item in enumerate(items)]
    assert [changed[place] for place in range(len(changed))] == list(changed)
    assert changed == Table.of(list(changed))


@given(trees)
def test_a_literal_renders_as_itself(value):
    """A plain value made into a template gives that value, even when it looks like a hole."""
    guarded = literal({"$input": value, "list": [value]})

    assert render(literal(value), lambda _: raw(None)) == raw(value)
    assert hole(guarded) is None
    assert render(guarded, lambda _: raw(None)) == raw({"$input": value, "list": [value]})


@given(st.binary(min_size=120, max_size=200))
def test_a_definition_survives_its_file(data):
    """The canonical file of a workflow registers again, as a workflow with the same file."""
    file = write_workflow(workflow_of(Choices(data)))
    again, problems = read_workflow(file)

    assert not problems
    assert again is not None
    assert write_workflow(again) == file
    assert encode_workflow(again) == encode_workflow(workflow_of(Choices(data)))


@given(trees | st.dictionaries(st.sampled_from(["name", "steps", "timeout", "output"]), trees))
def test_any_json_is_a_definition_or_problems(data):
    """Whatever a file holds, reading it gives a workflow or says what is wrong; it never raises."""
    workflow, problems = read_workflow(data)

    assert workflow is not None or problems


@given(st.integers(1, 64), st.integers(1, 6), st.integers(0, 3))
def test_schedulers_agree_on_an_even_share(partitions, count, most):
    """Moving in turn, schedulers come to rest with every partition held once, and fair shares."""
    names = {f"scheduler-{number}" for number in range(count)}
    held: dict[str, set[int]] = {name: set() for name in names}
    for _ in range(3 * count):
        for name in sorted(names):
            owners = {p: owner for owner, mine in held.items() for p in mine}
            move = moves(name, held[name], names, owners, partitions, most)
            held[name] = (held[name] | set(move.claim)) - set(move.release)

    owned = [partition for mine in held.values() for partition in mine]
    assert len(owned) == len(set(owned))
    share = -(-partitions // count)
    assert len(owned) == min(partitions, count * min(share, most or share))
    assert all(len(mine) <= min(share, most or share) for mine in held.values())
