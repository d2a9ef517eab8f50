"""Workers that are driven step by step."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

import msgspec

from dagnats.core.events import ANSWERS, StepCalled, StepParked
from dagnats.core.state import SATISFIED
from dagnats.errors import PublishFailed
from dagnats.memory.outside import Memory
from dagnats.ports import Append, Delivery
from dagnats.wire import subjects
from dagnats.wire.codec import encode, event_of, is_fact
from dagnats.wire.messages import TaskMessage
from tests.simulation import kinds
from tests.simulation.processes import drive
from tests.simulation.scripts import CALL, Script, failure

WORKER_LEASE_MS = 5_000
_message = msgspec.json.Decoder(TaskMessage)
_PLACES = {
    (subjects.token(task), subjects.group_token(group)): at
    for at, (task, group) in enumerate(kinds.QUEUES)
}


class SimWorker:
    """A worker process: pulls tickets, notes each execution in a ledger of its own, answers somehow."""

    def __init__(
        self,
        memory: Memory,
        rng: random.Random,
        script: Callable[[str], Script],
        ledger: list[tuple[str, str]],
        planted: set[str],
    ) -> None:
        self.memory = memory
        self._rng = rng
        self._script = script
        self._ledger = ledger
        self._planted = planted
        self._inbox: deque[Delivery] = deque()
        self._late: list[tuple[Append, str]] = []
        self._asked = [0] * len(kinds.QUEUES)
        self._sources = [
            drive(memory.queue.open(*where, WORKER_LEASE_MS, self._inbox.append, self._ended(at)))
            for at, where in enumerate(kinds.QUEUES)
        ]

    def _ended(self, at: int) -> Callable[[int], None]:
        def ended(missing: int) -> None:
            self._asked[at] -= missing

        return ended

    @property
    def busy(self) -> bool:
        """Whether it holds something."""
        return bool(self._inbox or self._late)

    def step(self, calm: bool) -> bool:
        """Ask for tickets, then handle one; False: this killed the worker."""
        for at, source in enumerate(self._sources):
            if self._asked[at] < 1:
                count = self._rng.randint(1, 4)
                self._asked[at] += count
                drive(source.request(count, 3_600_000))
        if self._late and (calm or self._rng.random() < 0.1):
            self._publish(*self._late.pop(self._rng.randrange(len(self._late))))
        if not self._inbox:
            return True
        delivery = self._inbox.popleft()
        _, _, task, group, _ = delivery.subject.split(".")
        self._asked[_PLACES[task, group]] -= 1
        return self._handle(delivery, calm)

    def _handle(self, delivery: Delivery, calm: bool) -> bool:
        message = _message.decode(delivery.payload)
        fate = 1.0 if calm else self._rng.random()
        if fate < 0.03:
            return False  # killed before anything happened
        if delivery.delivered > 1 and fate > 0.5 and self._settled(delivery, message):
            drive(self.memory.queue.done(delivery.reply))
            return True
        if fate < 0.06:
            drive(self.memory.queue.give_back(delivery.reply, self._rng.choice((0, 700))))
            return True
        self._ledger.append((message.run, message.ticket))
        self._call(message)
        answer = self._answer(message)
        if fate < 0.09:
            return False  # killed before it answered
        if fate < 0.16:
            self._late.append((answer, delivery.reply))
            return True
        if fate < 0.19:
            self._publish(answer, "")
            return False  # killed before it acknowledged
        if fate < 0.26:
            self._forge(message, answer)
        self._publish(answer, delivery.reply)
        if fate < 0.34:  # once more, as another execution of the same ticket would
            again = self._answer(message)
            stale = Append(again.subject, again.payload, f"{again.msg_id}:{len(self._ledger)}")
            self._late.append((stale, ""))
        return True

    # -- the handler -------------------------------------------------------------------------------

    def _next_call(self, message: TaskMessage) -> int | None:
        """The first of its durable calls that is not done."""
        done = {call.n for call in message.calls if call.status in SATISFIED}
        wanted = range(self._script(message.run).calls(message.ticket))
        return next((n for n in wanted if n not in done), None)

    def _call(self, message: TaskMessage) -> None:
        n = self._next_call(message)
        if n is None or self._called(message, n):
            return
        about = {"ticket": message.ticket, "nonce": message.nonce}
        call = StepCalled(**about, n=n, step=CALL, input=msgspec.Raw(b"%d" % n))
        name = f"{message.run}/{message.ticket}:call:{n}"
        self._publish(Append(message.answer_to, encode(call), name), "")

    def _called(self, message: TaskMessage, n: int) -> bool:
        """Whether this attempt parked on a call already: then it has failed."""
        attempt = "/".join(message.ticket.split("/")[:3])
        for entry in drive(self.memory.log.history(message.run, 0)):
            if is_fact(entry) and b"step.parked" in entry.payload:
                fact = event_of(entry).fact
                place = "/".join(fact.ticket.split("/")[:3])
                if fact.n == n and place == attempt and fact.ticket != message.ticket:
                    return True
        return False

    def _answer(self, message: TaskMessage) -> Append:
        n = self._next_call(message)
        if n is None:
            outcome = self._script(message.run).answer(message, len(self._ledger))
        elif self._called(message, n):
            outcome = failure(message, 999)
        else:
            outcome = StepParked(ticket=message.ticket, nonce=message.nonce, n=n)
        return Append(message.answer_to, encode(outcome), f"{message.run}/{message.ticket}:answer")

    # -- what goes wrong ---------------------------------------------------------------------------

    def _forge(self, message: TaskMessage, answer: Append) -> None:
        """Answer without the nonce, as somebody who was not given the ticket."""
        forged = {"type": "step.succeeded", "ticket": message.ticket, "output": "forged"}
        body = encode({**forged, "nonce": "0" * 16})
        self._planted.add(bytes(body).decode())
        self._publish(Append(answer.subject, body), "")

    def _settled(self, delivery: Delivery, message: TaskMessage) -> bool:
        for entry in drive(self.memory.log.history(message.run, delivery.origin_seq)):
            if entry.subject.endswith(".closed"):
                return True
            if is_fact(entry) and b'"ticket":"%b"' % message.ticket.encode() in entry.payload:
                fact = event_of(entry).fact
                if isinstance(fact, ANSWERS) and not isinstance(fact, StepCalled):
                    return True
        return False

    def _publish(self, answer: Append, reply: str) -> None:
        """Store an outcome, again and again until it is, then acknowledge."""
        while True:
            try:
                drive(self.memory.log.append([answer]))
            except PublishFailed:
                continue
            break
        if reply:
            drive(self.memory.queue.done(reply))
