"""Scheduled messages: at most one armed timer for each subject."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from dagnats.errors import PublishFailed
from dagnats.memory.matching import matches
from dagnats.memory.stream import Stream
from dagnats.ports import Append, Entry
from dagnats.wire import subjects


class Schedule(NamedTuple):
    """When a message is due, and where it goes then."""

    due_ms: int
    target: str


class Timer(NamedTuple):
    """A schedule and the entry that armed it."""

    due_ms: int
    seq: int
    target: str
    entry: Entry


def schedule_of(message: Append) -> Schedule | None:
    """What a message's headers schedule; only ``@at`` is known here, cron is the server's.

    Raises:
        PublishFailed: the schedule is not one that a server would take, or not in its stream.
    """
    headers = dict(message.headers)
    schedule = headers.get(subjects.SCHEDULE)
    if schedule is None:
        return None
    target = headers.get(subjects.SCHEDULE_TARGET, "")
    kind, _, at = schedule.partition(" ")
    inside = all(
        any(matches(pattern, subject) for pattern in subjects.TIMERS_SUBJECTS)
        for subject in (message.subject, target)
    )
    try:
        if kind != "@at" or not inside or target == message.subject:
            raise ValueError(schedule)
        return Schedule(round(datetime.fromisoformat(at).timestamp() * 1000), target)
    except ValueError as problem:
        raise PublishFailed(
            f"the schedule {schedule!r} of {message.subject}, aimed at {target!r}, was refused: "
            "write '@at' and an RFC 3339 time, and aim at another subject of the timers' stream",
            subject=message.subject,
        ) from problem


class Timers:
    """The armed timers; their entries live in the timers' stream until they fire."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._armed: dict[str, Timer] = {}

    def arm(self, entry: Entry, schedule: Schedule | None) -> None:
        """What is published later on a subject replaces its timer, or without schedule ends it."""
        self.disarm(entry.subject)
        if schedule:
            self._armed[entry.subject] = Timer(schedule.due_ms, entry.seq, schedule.target, entry)

    def disarm(self, subject: str) -> None:
        """No timer on this subject, whether there was one or not."""
        old = self._armed.pop(subject, None)
        if old:
            self._stream.drop(old.entry)

    def take_due(self, wall_ms: int) -> list[Timer]:
        """Remove and return what is due, the earliest first."""
        due = sorted(timer for timer in self._armed.values() if timer.due_ms <= wall_ms)
        for timer in due:
            del self._armed[timer.entry.subject]
            self._stream.drop(timer.entry)
        return due

    def until_due_ms(self, wall_ms: int) -> float | None:
        """How long until the earliest."""
        return min((max(0, each.due_ms - wall_ms) for each in self._armed.values()), default=None)
