"""Which partitions a scheduler claims and lets go."""

from __future__ import annotations

from dagnats.core.ownership import Moves, moves


def test_alone_it_takes_everything():
    """One scheduler claims every partition."""
    assert set(moves("me", set(), set(), {}, 8).claim) == set(range(8))


def test_two_take_half_each():
    """A newcomer is given room: the other lets its surplus go, and it claims what is free."""
    everything = dict.fromkeys(range(8), "old")

    assert moves("old", set(range(8)), {"old", "new"}, everything, 8) == Moves((), (4, 5, 6, 7))
    assert moves("new", set(), {"old", "new"}, everything, 8) == Moves()
    freed = everything | dict.fromkeys((4, 5, 6, 7), "")
    assert set(moves("new", set(), {"old", "new"}, freed, 8).claim) == {4, 5, 6, 7}


def test_the_dead_are_inherited():
    """What somebody holds who is no longer alive is free."""
    owners = {0: "dead", 1: "alive", 2: "me"}

    assert moves("me", {2}, {"me", "alive"}, owners, 3).claim == (0,)


def test_after_a_lapse_it_claims_again():
    """A record in its own name that it does not hold is claimed like any other."""
    assert moves("me", set(), {"me"}, {0: "me"}, 1).claim == (0,)


def test_its_own_limit():
    """A scheduler takes no more than it was told, and lets go what is above."""
    assert len(moves("me", set(), {"me"}, {}, 8, most=3).claim) == 3
    assert moves("me", {0, 1, 2, 3}, {"me"}, {}, 8, most=3).release == (3,)


def test_at_rest():
    """With its share, a scheduler does nothing."""
    owners = {0: "me", 1: "me", 2: "other", 3: "other"}

    assert moves("me", {0, 1}, {"me", "other"}, owners, 4) == Moves()


def test_they_begin_at_different_places():
    """Schedulers that start together do not all want the same partition first."""
    firsts = {moves(f"scheduler-{n}", set(), set(), {}, 64).claim[0] for n in range(8)}

    assert len(firsts) > 4
