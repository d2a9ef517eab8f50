"""People around the runs: they answer questions, send signals, publish events, cancel, and write nonsense.

Whatever they say may come twice, late, or to somebody who did not ask.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import msgspec
from msgspec import Raw

from dagnats.client import Client
from dagnats.core.events import ApprovalDecided
from dagnats.errors import DagNatsError, PublishFailed
from dagnats.ports import Append
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import ApprovalNotice
from tests.simulation import kinds
from tests.simulation.processes import drive

_notice = msgspec.json.Decoder(ApprovalNotice)


class People:
    """Everybody outside, behind one client. ``runs`` are those that can be spoken to."""

    def __init__(
        self, client: Client, rng: random.Random, runs: Callable[[], list[str]], planted: set[str]
    ) -> None:
        self._client = client
        self._rng = rng
        self._runs = runs
        self._planted = planted
        self._said: list[Append] = []
        self._number = 0
        self._asked: list[tuple[str, str]] = []
        drive(client.outside.notices.listen(subjects.APPROVALS, self._hear))

    def _hear(self, subject: str, payload: bytes, reply: str) -> None:
        notice = _notice.decode(payload)
        self._asked.append((notice.run_id, notice.ticket))

    def _next(self) -> int:
        self._number += 1
        return self._number

    def step(self) -> None:
        """Somebody does something."""
        runs = self._runs()
        if not runs:
            return
        run, fate = self._rng.choice(runs), self._rng.random()
        try:
            if fate < 0.35 and self._asked:
                self._decide(*self._rng.choice(self._asked[-8:]))
            elif fate < 0.4:
                self._decide(run, f"s{self._rng.randrange(5)}/1/0")  # nobody may have asked
            elif fate < 0.6:
                self._signal(run)
            elif fate < 0.8:
                self.publish(self._rng.choice(kinds.EVENTS), self._rng.randrange(10))
            elif fate < 0.9 and self._said:
                self._say(self._rng.choice(self._said[-8:]))  # once more
            elif fate < 0.92:
                drive(self._client.cancel(run))
            elif fate < 0.94:
                drive(self._client.retry(run))
            elif fate < 0.98:
                self._fork(run)
            else:
                self._nonsense(run)
        except DagNatsError:  # no answer, or the run has ended
            return

    def everything(self) -> None:
        """Whatever anybody may be waiting for happens; half of the questions are answered, some runs go on."""
        for run in self._runs():
            if self._rng.random() < (0.2 if run.startswith("run") else 0.6):
                with suppress(DagNatsError):
                    drive(self._client.retry(run))
            if self._rng.random() < 0.2:
                with suppress(DagNatsError):
                    self._fork(run)
        for name in kinds.EVENTS:
            for number in range(10):
                self.publish(name, number)
        for run, ticket in self._asked:
            if self._rng.random() < 0.5:
                self._decide(run, ticket)

    def _fork(self, run: str) -> None:
        """One more run goes on from where a run that somebody started once was."""
        if run.startswith("run"):
            step, turn = f"s{self._rng.choice((0, 0, 1, 1, 2, 3))}", self._rng.choice((0, 0, 0, 1))
            drive(self._client.fork(run, step, turn, id=f"fork{self._next()}"))

    def publish(self, name: str, number: int) -> None:
        """Something happens."""
        payload = {"id": number, "n": number, "serial": self._next()}
        drive(self._client.publish_event(name, payload))

    def _decide(self, run: str, ticket: str) -> None:
        number = self._next()
        fact = ApprovalDecided(
            ticket=ticket,
            approved=self._rng.random() < 0.75,
            comment=self._rng.choice(("", "well")),
            by=self._rng.choice(kinds.PEOPLE),
            decision=str(number),
        )
        self._say(Append(self._subject(run), encode(fact), f"{run}/{ticket}:decided:{number}"))

    def _signal(self, run: str) -> None:
        name = self._rng.choice(kinds.SIGNALS)
        for _ in range(self._rng.randint(1, 3)):
            serial = Raw(b'{"n":%d,"serial":%d}' % (self._rng.randrange(10), self._next()))
            drive(self._client.signal(run, name, serial))

    def _nonsense(self, run: str) -> None:
        nonsense = f"nonsense {self._rng.random()}"
        self._planted.add(nonsense)
        self._say(Append(self._subject(run).replace("client", "worker"), nonsense.encode()))

    def _subject(self, run: str) -> str:
        log = self._client.outside.log
        return subjects.fact(subjects.partition_of(run, log.partitions), run, "client")

    def _say(self, message: Append) -> None:
        self._said.append(message)
        try:
            drive(self._client.outside.log.append([message]))
        except PublishFailed:
            return
