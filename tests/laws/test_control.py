"""The control plane's bounds hold whatever is asked, and asking twice is asking once."""

from hypothesis import given
from hypothesis import strategies as st

from dagnats.core.control import (
    Policy,
    Refusal,
    Tree,
    bare_name,
    budget_of,
    forbidden,
    foreign,
    misnamed,
    policy_problem,
    reserved,
    scoped_name,
    with_definition,
    with_run,
)
from dagnats.limits import (
    DEFINITIONS_PER_TREE_MAX,
    GENERATIONS_MAX,
    REGISTRATIONS_PER_MINUTE_MAX,
    RUNS_PER_TREE_MAX,
)

NAMES = st.text(st.characters(codec="utf-8", exclude_characters=".:"), min_size=1, max_size=20)
FEW = st.sampled_from(["a", "b", "c", "agent.r.x", "promoted.x"])
REQUESTS = st.lists(
    st.tuples(st.integers(0, 90), st.integers(0, 600), st.integers(0, 1_500)), max_size=200
)


@given(REQUESTS)
def test_registrations_are_bounded(requests):
    """So many in any minute, so many names in all; one that was let pass stays let pass."""
    tree, passed = Tree(), []
    at_ms = 0
    for request, name, gap_ms in requests:
        at_ms += gap_ms
        after = with_definition(tree, f"agent.r.{name}", f"{request}", at_ms)
        if isinstance(after, Refusal):
            assert after.kind in ("rate_limited", "quota_exceeded")
            assert len(tree.recent) >= REGISTRATIONS_PER_MINUTE_MAX
            continue
        assert with_definition(after, f"agent.r.{name}", f"{request}", at_ms + 1) == after
        if after != tree:
            passed.append(at_ms)
        tree = after
    for start in passed:
        assert sum(start - 60_000 < at <= start for at in passed) <= REGISTRATIONS_PER_MINUTE_MAX
    assert len(tree.definitions) == len({*tree.definitions}) <= DEFINITIONS_PER_TREE_MAX


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 5)), max_size=300))
def test_runs_are_bounded(requests):
    """So many at once, so deep."""
    tree = Tree()
    for run, depth in requests:
        after = with_run(tree, f"r{run}", depth)
        if isinstance(after, Refusal):
            full = after.kind == "quota_exceeded"
            assert full == (depth <= GENERATIONS_MAX)
            continue
        assert with_run(after, f"r{run}", depth) == after
        tree = after
    assert budget_of(tree)["active_runs"] == len({*tree.runs}) <= RUNS_PER_TREE_MAX


def test_the_last_definition_and_the_last_run_fit():
    """One more does not; one that replaces another does."""
    tree = Tree(definitions=tuple(f"d{n}" for n in range(DEFINITIONS_PER_TREE_MAX - 1)))
    full = with_definition(tree, "last", "r1", 0)
    assert isinstance(full, Tree)
    more = with_definition(full, "more", "r2", 0)
    assert isinstance(more, Refusal)
    assert more.kind == "quota_exceeded"
    assert isinstance(with_definition(full, "last", "r3", 0), Tree)

    busy = with_run(Tree(runs=tuple(f"r{n}" for n in range(RUNS_PER_TREE_MAX - 1))), "last", 1)
    assert isinstance(busy, Tree)
    assert isinstance(with_run(busy, "more", 1), Refusal)
    assert with_run(busy, "last", 1) == busy


@given(NAMES, st.booleans())
def test_names_keep_to_their_tree(name, promote):
    """What the control plane makes of a name is reserved, is the tree's own, and can be taken back to the name."""
    stored = scoped_name("r1", name, promote=promote)

    assert reserved(stored)
    assert bare_name(stored) == name
    assert foreign("r1", stored) is None
    assert (foreign("r2", stored) is None) == promote
    assert not reserved(name)


@given(st.lists(st.tuples(st.sampled_from(["grant", "promote", "revoke", "demote"]), FEW)))
def test_whoever_may_promote_is_granted(changes):
    """However the policy is changed; and who is in neither list may nothing."""
    policy = Policy()
    for what, name in changes:
        if what in ("grant", "promote"):
            policy = policy.granting(name, promote=what == "promote")
        else:
            policy = policy.revoking(name, only_promote=what == "demote")
        assert policy_problem(policy) == ""
    for name in ("a", "b", "c", "d"):
        refused = forbidden(policy, name, capable=True, promote=False)
        assert (refused is None) == (name in policy.grant)
        assert forbidden(policy, name, capable=False, promote=False) is not None
        promoting = forbidden(policy, name, capable=True, promote=True)
        assert (promoting is None) == (name in policy.promote)


def test_a_policy_of_settings_may_be_wrong():
    """Promoting without being granted, or a name that is none."""
    assert "not granted" in policy_problem(Policy(promote=("a",)))
    assert "control characters" in policy_problem(Policy(grant=("\n",)))


def test_names_that_cannot_be_registered():
    """Dots and colons are the control plane's, and there is a bound."""
    for name in ("a.b", "a:b", "", "n" * 257):
        refused = misnamed(name)
        assert refused is not None
        assert refused.kind == "namespace"
