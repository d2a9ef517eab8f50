"""Dividing free slots among queues."""

from dagnats.worker.slots import Demand, allot


def test_every_queue_is_asked_first_then_those_where_tickets_wait():
    """One each; the rest where there is a backlog, and else evenly."""
    assert allot(2, [Demand(), Demand(), Demand()], turn=1) == [0, 1, 1]
    assert allot(10, [Demand(backlog=50), Demand()]) == [9, 1]
    assert allot(10, [Demand(), Demand()]) == [5, 5]


def test_a_queue_that_gives_one_at_a_time_is_asked_for_one():
    """Whatever waits there: slots that are promised to it are missing elsewhere."""
    assert allot(10, [Demand(backlog=50, most=1), Demand()]) == [1, 9]
    assert allot(10, [Demand(requested=1, backlog=50, most=1), Demand()]) == [0, 10]
    assert allot(10, [Demand(most=1)]) == [1]
    assert allot(10, [Demand(requested=1, most=1)]) == [0]
