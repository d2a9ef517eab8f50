"""The verdicts of ``dagnats doctor``, from what it has found out."""

from __future__ import annotations

from dagnats.cli import checks
from dagnats.jetstream.health import Queue, Server, Storage
from dagnats.wire.messages import WorkerRecord


def server(**changes: object) -> Server:
    """A server as it should be."""
    facts = {
        "version": "2.15.1", "name": "n", "url": "nats://there", "stored": 10, "stored_max": 100,
        "message_max": 1024, "streams": 15, "ahead_ms": 0, "round_trip_ms": 0.5,
    }  # fmt: skip
    return Server(**{**facts, **changes})


def queue(**changes: object) -> Queue:
    """A task's queue with two tickets that nobody pulls."""
    return Queue(**{"task": "fetch", "group": "", "waiting": 2, "taken": 0, "pulls": 0, **changes})


def storage(*queues: Queue, unserved: int = 0) -> Storage:
    """What a work queue holds."""
    return Storage(queues=list(queues), unserved=unserved, dead=0)


WORKER = WorkerRecord(worker="w", tasks=("fetch",), concurrency=10, running=3)


def test_storage_that_is_nearly_full_is_worth_a_look():
    """From nine tenths on there is a warning; without a limit there never is."""
    assert checks.of_room(server(stored=89)).state == checks.OK
    assert checks.of_room(server(stored=91)).state == checks.WARNING
    assert checks.of_room(server(stored=10**12, stored_max=-1)).state == checks.OK


def test_clocks_may_differ_a_little():
    """Two seconds either way; then people read wrong times."""
    assert checks.of_clock(-1_900).state == checks.OK
    assert checks.of_clock(2_100).state == checks.WARNING
    assert "2s100ms behind" in checks.of_clock(-2_100).detail


def test_streams_missing_stop_the_work_and_old_ones_do_not():
    """Missing is a fault, out of date is worth a look."""
    assert checks.of_streams({}, 15).state == checks.OK
    assert checks.of_streams({"A": "out of date"}, 15).state == checks.WARNING
    assert checks.of_streams({"A": "out of date", "B": "missing"}, 15).state == checks.ERROR


def test_partitions_need_an_owner_that_is_alive():
    """An owner whose lease does not move is none."""
    owned = dict.fromkeys(range(4), "a")

    [alive, all_owned] = checks.of_schedulers({"a"}, owned, 4)
    [_, lost] = checks.of_schedulers({"a"}, {**owned, 2: "dead", 3: ""}, 4)
    [none] = checks.of_schedulers(set(), owned, 4)

    assert (alive.state, all_owned.state) == (checks.OK, checks.OK)
    assert lost.state == checks.ERROR
    assert "2 of 4: 2, 3" in lost.detail
    assert none.state == checks.ERROR


def test_tickets_without_a_worker_are_told():
    """Waiting is fine where a worker has the task, or pulls; else the task is named."""
    assert checks.of_queue(storage(queue()), [WORKER]).state == checks.OK
    assert checks.of_queue(storage(queue(pulls=1)), []).state == checks.OK
    stuck = checks.of_queue(storage(queue(group="gpu")), [])
    unknown = checks.of_queue(storage(unserved=3), [WORKER])

    assert stuck.state == unknown.state == checks.WARNING
    assert "2 of task fetch (group gpu)" in stuck.detail
    assert "3 of tasks that no worker ever had" in unknown.detail


def test_dead_letters_are_worth_a_look():
    """One is enough."""
    assert checks.of_dead(0).state == checks.OK
    assert checks.of_dead(1).state == checks.WARNING


def test_only_faults_make_it_unhealthy():
    """A warning leaves the exit code at 0."""
    look, fault = checks.warning("a", "b", "c"), checks.error("a", "b", "c")

    assert checks.summary([look])["healthy"] is True
    assert checks.summary([look, fault])["healthy"] is False
