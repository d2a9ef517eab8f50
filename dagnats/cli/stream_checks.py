"""What ``dagnats doctor`` looks at in streams: their copies, their limits, and how far work is behind."""

from __future__ import annotations

from typing import Final

from dagnats.cli.verdicts import Check, bytes_text, error, good, warning
from dagnats.jetstream import health
from dagnats.jetstream.link import Link
from dagnats.jetstream.plans import UNLIMITED, plans
from dagnats.wire import subjects

_NEARLY_FULL: Final = 0.9
_SHOWN: Final = 4
_FACTS_BEHIND: Final = 10_000  # a second or two of one busy partition
_COPIES_BEHIND: Final = 10_000
_REFUSE_WHEN_FULL: Final = (subjects.EVENTS, subjects.TASKS)


async def of_streams_at_work(link: Link) -> list[Check]:
    """Copies, limits and lag."""
    names = [str(plan["name"]) for plan in plans(1, 1, UNLIMITED)]
    states = await health.streams(link, names)
    return [
        of_replicas(states, clustered=link.clustered),
        of_limits(states),
        of_lag(await health.feeds(link), states),
    ]


def of_replicas(states: list[health.StreamState], *, clustered: bool) -> Check:
    """Whether the loss of a server loses nothing."""
    behind = sorted({server for state in states for server in state.behind})
    if behind:
        streams = [state.name for state in states if state.behind]
        return error(
            "replicas",
            f"{', '.join(behind)} {'does' if len(behind) == 1 else 'do'} not have all of {_some(streams)}",
            "start that server again; if it was replaced, remove it with `nats server cluster peer-remove`",
        )
    counts = sorted({state.replicas for state in states})
    if clustered and counts and counts[0] == 1:
        alone = [state.name for state in states if state.replicas == 1]
        return warning(
            "replicas",
            f"a cluster, but {_some(alone)} {'is' if len(alone) == 1 else 'are'} on one server only",
            "set replicas = 3 and restart a scheduler: it raises them",
        )
    if not clustered:
        return good("replicas", "one server: its disk is the only copy")
    text = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else "no"
    return good("replicas", f"{text} copies of each stream, all up to date")


def of_limits(states: list[health.StreamState]) -> Check:
    """Streams that are nearly full; the log and the queue then refuse, others forget the oldest."""
    if any(state.name == subjects.TIMERS and state.stored_max > 0 for state in states):
        return error(
            "limits",
            f"{subjects.TIMERS} has one: when it is full, the oldest timers are forgotten, and runs wait for ever",
            f"`nats stream edit {subjects.TIMERS} --max-bytes=-1`; the limit of the account or the server bounds it "
            "without loss. An account with max_bytes_required does not let it: change that, too",
        )
    full = [s for s in states if s.stored_max > 0 and s.stored > s.stored_max * _NEARLY_FULL]
    if not full:
        bounded = sum(state.stored_max > 0 for state in states)
        return good("limits", f"{bounded} of {len(states)} streams have one, none is nearly full")
    text = _some(
        [f"{s.name} has {bytes_text(s.stored)} of {bytes_text(s.stored_max)}" for s in full]
    )
    cure = "raise max_bytes (`nats stream edit`), or give the server more storage"
    if any(state.name in _REFUSE_WHEN_FULL for state in full):
        return error("limits", f"{text}: when it is full, starts and steps are refused", cure)
    return warning("limits", text, cure)


def of_lag(feeds: list[health.Feed], states: list[health.StreamState]) -> Check:
    """How many facts no scheduler has read, and what the server has still to copy."""
    waiting = sum(feed.waiting for feed in feeds)
    slow = [str(feed.partition) for feed in feeds if feed.waiting > _FACTS_BEHIND]
    if slow:
        return warning(
            "lag",
            f"{waiting} facts wait to be read, most in partition {_some(slow)}",
            "start more schedulers; if none helps, look at the server's disk and the schedulers' log",
        )
    copies = [state for state in states if state.source_lag > _COPIES_BEHIND]
    if copies:
        text = ", ".join(f"{state.name} lacks {state.source_lag} messages" for state in copies)
        return warning(
            "lag",
            f"the server is behind with copying: {text}",
            "look at its log, its disk and its CPU",
        )
    return good(
        "lag", f"{waiting} facts wait to be read, {sum(f.taken for f in feeds)} are being folded"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
