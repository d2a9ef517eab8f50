"""The verdicts of ``dagnats doctor``, from what it has found out."""

from __future__ import annotations

from dagnats import __version__
from dagnats.cli import checks, stream_checks, verdicts
from dagnats.jetstream.health import Feed, Queue, Server, Storage, StreamState
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
    assert checks.of_room(server(stored=89)).state == verdicts.OK
    assert checks.of_room(server(stored=91)).state == verdicts.WARNING
    assert checks.of_room(server(stored=10**12, stored_max=-1)).state == verdicts.OK


def test_clocks_may_differ_a_little():
    """Two seconds either way; then people read wrong times."""
    assert checks.of_clock(-1_900).state == verdicts.OK
    assert checks.of_clock(2_100).state == verdicts.WARNING
    assert "2s100ms behind" in checks.of_clock(-2_100).detail


def test_streams_missing_stop_the_work_and_old_ones_do_not():
    """Missing is a fault, out of date is worth a look."""
    assert checks.of_streams({}, 15).state == verdicts.OK
    assert checks.of_streams({"A": "out of date"}, 15).state == verdicts.WARNING
    assert checks.of_streams({"A": "out of date", "B": "missing"}, 15).state == verdicts.ERROR


def test_partitions_need_an_owner_that_is_alive():
    """An owner whose lease does not move is none."""
    owned = dict.fromkeys(range(4), "a")

    [alive, all_owned] = checks.of_schedulers({"a"}, owned, 4)
    [_, lost] = checks.of_schedulers({"a"}, {**owned, 2: "dead", 3: ""}, 4)
    [none] = checks.of_schedulers(set(), owned, 4)

    assert (alive.state, all_owned.state) == (verdicts.OK, verdicts.OK)
    assert lost.state == verdicts.ERROR
    assert "2 of 4: 2, 3" in lost.detail
    assert none.state == verdicts.ERROR


def test_tickets_without_a_worker_are_told():
    """Waiting is fine where a worker has the task, or pulls; else the task is named."""
    assert checks.of_queue(storage(queue()), [WORKER]).state == verdicts.OK
    assert checks.of_queue(storage(queue(pulls=1)), []).state == verdicts.OK
    stuck = checks.of_queue(storage(queue(group="gpu")), [])
    unknown = checks.of_queue(storage(unserved=3), [WORKER])

    assert stuck.state == unknown.state == verdicts.WARNING
    assert "2 of task fetch (group gpu)" in stuck.detail
    assert "3 of tasks that no worker ever had" in unknown.detail


def test_dead_letters_are_worth_a_look():
    """One is enough."""
    assert checks.of_dead(0).state == verdicts.OK
    assert checks.of_dead(1).state == verdicts.WARNING


def test_only_faults_make_it_unhealthy():
    """A warning leaves the exit code at 0."""
    look, fault = checks.warning("a", "b", "c"), checks.error("a", "b", "c")

    assert checks.summary([look])["healthy"] is True
    assert checks.summary([look, fault])["healthy"] is False


def state(**changes: object) -> StreamState:
    """A stream as it should be."""
    facts = {
        "name": "A", "stored": 10, "stored_max": 100, "replicas": 3, "behind": (), "source_lag": 0,
    }  # fmt: skip
    return StreamState(**{**facts, **changes})


def test_copies_that_are_behind_are_a_fault():
    """The next loss may be of what only the others have; one copy in a cluster is worth a look."""
    judge = stream_checks.of_replicas

    assert judge([state()], clustered=True).state == verdicts.OK
    behind = judge([state(), state(behind=("n2",))], clustered=True)
    assert behind.state == verdicts.ERROR
    assert behind.detail.startswith("n2 does not have all of A")
    assert judge([state(), state(replicas=1)], clustered=True).state == verdicts.WARNING
    assert judge([state(replicas=1)], clustered=False).state == verdicts.OK


def test_streams_that_are_nearly_full():
    """The log refuses when it is full; others forget their oldest."""
    judge = stream_checks.of_limits

    assert judge([state(stored=90), state(stored=10**9, stored_max=-1)]).state == verdicts.OK
    assert judge([state(stored=91)]).state == verdicts.WARNING
    assert judge([state(name="DAGNATS_EVENTS", stored=91)]).state == verdicts.ERROR
    timers = judge([state(name="DAGNATS_TIMERS", stored=1)])
    assert timers.state == verdicts.ERROR
    assert "oldest timers are forgotten" in timers.detail


def test_facts_and_copies_that_lag():
    """Many unread facts, or many messages that the server has not copied."""
    judge = stream_checks.of_lag
    feeds = [Feed(partition=0, waiting=10_000, taken=3), Feed(partition=7, waiting=0, taken=0)]

    assert judge(feeds, [state(source_lag=10_000)]).state == verdicts.OK
    slow = judge([*feeds, Feed(partition=9, waiting=10_001, taken=0)], [])
    assert slow.state == verdicts.WARNING
    assert "partition 9" in slow.detail
    assert "A lacks 10001 messages" in judge(feeds, [state(source_lag=10_001)]).detail


def test_workers_of_another_version():
    """They are counted by version; workers in other languages have versions of their own."""
    other = WorkerRecord(worker="v", tasks=(), version="0.0.1")
    foreign = WorkerRecord(worker="f", tasks=(), version="7", language="go")
    mine = WorkerRecord(worker="m", tasks=(), version=__version__)

    assert checks.of_versions([mine, foreign]).state == verdicts.OK
    found = checks.of_versions([other, other, mine])
    assert found.state == verdicts.WARNING
    assert "2 of 0.0.1" in found.detail
