"""Triggers and scheduled starts of a world: some are set when it begins, and end when it becomes calm."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
from msgspec import Raw, Struct

from dagnats.client import Client
from dagnats.core.entities import StartCancelled, StartScheduled, TriggerSet
from dagnats.core.events import Fact
from dagnats.core.scheduled import start_of
from dagnats.core.triggers.file import write_trigger
from dagnats.core.triggers.model import Cron, Subject, Trigger, entity_of
from dagnats.errors import PublishFailed
from dagnats.ports import Append
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from tests.simulation import flows, kinds
from tests.simulation.processes import drive

PERIODS = ("10s", "30s", "2m")
STARTS_MAX = 4
OVERLAPS = ("allow", "allow", "skip", "queue", "cancel-running")


class Set(Struct):
    """A trigger, from when on it counts, and until when (Unix time; 0: still)."""

    trigger: Trigger
    since_ms: int
    until_ms: int = 0


class Triggers:
    """All of a world, behind one client."""

    def __init__(self, client: Client, rng: random.Random, now_ms: Callable[[], int]) -> None:
        self._client = client
        self._rng = rng
        self._now_ms = now_ms
        self.set: list[Set] = []
        self.starts = 0
        self.ended = False

    def begin(self) -> None:
        """A schedule, and a trigger of an event."""
        period = self._rng.choice(PERIODS)
        cron = Cron(f"@every {period}", backfill=self._rng.random() < 0.5)
        self._set("cron", cron, self._rng.choice(OVERLAPS))
        self._set("event", Subject(event=kinds.EVENTS[0]), "allow")

    def _set(self, name: str, on: Cron | Subject, overlap: str) -> None:
        workflow = f"child{self._rng.randrange(kinds.CHILDREN)}"
        trigger = Trigger(id=name, workflow=workflow, on=on, overlap=overlap, input={"n": 3})
        definition = Raw(msgspec.json.encode(write_trigger(trigger)))
        self._say(entity_of(name), TriggerSet(definition=definition), "set")
        self.set.append(Set(trigger, self._now_ms()))

    def end(self) -> None:
        """They are deleted."""
        self.ended = True
        for each in self.set:
            if not each.until_ms:
                self._say(entity_of(each.trigger.id), TriggerSet(), "end")
                each.until_ms = self._now_ms()

    def step(self) -> None:
        """A start is scheduled; now and then one is taken back, or asked for again."""
        fate = self._rng.random()
        if fate < 0.6 and self.starts < STARTS_MAX:
            self.starts += 1
        if not self.starts:
            return
        run = f"later{self.starts if fate < 0.6 else self._rng.randint(1, self.starts)}"
        if fate < 0.8:
            known = flows.child(self._rng.randrange(kinds.CHILDREN))
            fact = StartScheduled(
                workflow=known.workflow.name,
                definition=known.digest,
                run_at_ms=self._now_ms() + self._rng.choice((1_500, 20_000, 100_000)),
                input=Raw(b'{"n":4}'),
                start="first",
            )
            self._say(start_of(run), fact, "scheduled")
        else:
            self._say(start_of(run), StartCancelled(request="1"), "cancelled")

    def _say(self, entity: str, fact: Fact, what: str) -> None:
        log = self._client.outside.log
        subject = subjects.fact(subjects.partition_of(entity, log.partitions), entity, "trigger")
        while True:
            try:
                drive(log.append([Append(subject, encode(fact), f"{entity}/{what}")]))
            except PublishFailed:
                continue
            return
