"""The law of handing over: whatever the delays, a ticket is begun once, under a lease that holds."""

from __future__ import annotations

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from dagnats.ports import Delivery
from dagnats.wire import subjects
from dagnats.wire.messages import OfferAnswer, TaskMessage
from dagnats.worker.handover import Receiver, Sender

LEASE_MS = 3_000
THIRD_MS = LEASE_MS // 3

delays = st.integers(0, 2 * LEASE_MS) | st.integers(0, 5)


class Hands:
    """The clock, the network and the queue of one case; delays are given."""

    def __init__(self, *takes_ms: int) -> None:
        self.now_ms = 0.0
        self.takes_ms = list(takes_ms)
        self.blocked_ms = 0
        self.receivers: list[Receiver] = []
        self.begun: list[tuple[str, float]] = []
        self.back: list[float] = []
        self.late: list[tuple[str, bytes]] = []
        self.renewed: list[str] = []

    # what the two sides use

    def monotonic_ms(self) -> float:
        return self.now_ms

    @property
    def notices(self) -> Hands:
        return self

    queue = notices

    def renew(self, reply: str) -> None:
        self.renewed.append(reply)

    async def give_back(self, _reply: str, _delay_ms: int = 0) -> None:
        self.back.append(self.now_ms)

    async def ask(self, _subject: str, payload: bytes, wait_ms: int, *, enough: int) -> list[bytes]:
        """Each receiver hears and answers with its delays; who asked waits for the first answer."""
        assert enough == 1
        asked = self.now_ms
        answers = []
        for receiver in self.receivers:
            self.now_ms = asked + self.takes_ms.pop(0)
            answer = receiver._answer(payload)
            answers.append((self.now_ms + self.takes_ms.pop(0), msgspec.json.encode(answer)))
        first = min(answers, default=(asked, b""))
        self.now_ms = min(first[0], asked + wait_ms) if answers else asked
        self.now_ms += (
            self.blocked_ms
        )  # whose loop is blocked notices late, and hears what came meanwhile
        return [first[1]] if answers and first[0] <= self.now_ms else []

    async def tell(self, subject: str, payload: bytes) -> None:
        self.late.append((subject, payload))

    # the case

    def receiver(self, says: str = "yes") -> Receiver:
        """One more process with the name that the run is bound to."""
        number = len(self.receivers)

        def begin(delivery: Delivery) -> None:
            self.begun.append((f"{number} {delivery.reply}", self.now_ms))

        made = Receiver("bound", self, self, lambda *_: OfferAnswer(says=says), begin)
        self.receivers.append(made)
        return made

    def arrive(self, after_ms: int) -> None:
        """What was sent arrives at everybody who listens there."""
        self.now_ms += after_ms
        for subject, payload in self.late:
            for receiver in self.receivers:
                if subject == receiver._at:
                    receiver._on_given(subject, payload, "")


def run(work: object) -> object:
    """Drive a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waited")


def a_ticket(sticky: str) -> tuple[Delivery, TaskMessage]:
    """A ticket that is bound to another, as the queue delivers it."""
    message = TaskMessage(
        ticket="s/1/0", run="r", step="s", task="t", workflow="w",
        answer_to=subjects.fact(0, "r", "worker"), sticky=sticky, worker="bound",
    )  # fmt: skip
    return Delivery(7, 0, "subject", msgspec.json.encode(message), "reply", 1), message


@given(
    st.sampled_from(["soft", "hard"]),
    st.sampled_from(["yes", "yes", "busy", "no"]),
    st.integers(0, 2),
    st.integers(0, THIRD_MS - 1),
    st.tuples(*[delays] * 7),
)
@example("soft", "yes", 1, 500, (0, 2_100, 500, 2_900, 0, 0, 0))  # a yes that was heard late
def test_a_ticket_is_begun_once_and_under_a_lease(sticky, says, processes, latency_ms, all_ms):
    """By the receiver within the lease, or by the sender, or by nobody and then it comes again."""
    before_ms, blocked_ms, second_ms, *takes_ms = all_ms
    hands = Hands(*takes_ms)
    hands.blocked_ms = blocked_ms
    hands.now_ms = latency_ms  # the lease began when the queue sent it
    sender = Sender("me", hands, hands, LEASE_MS)
    for _ in range(processes):
        hands.receiver(says)
    delivery, message = a_ticket(sticky)
    came_ms = hands.now_ms
    hands.now_ms += before_ms
    gone = run(sender.elsewhere(delivery, message, came_ms))
    hands.arrive(second_ms)
    hands.arrive(0)  # and once more: a message may be doubled

    assert len(hands.begun) <= 1
    assert not (hands.begun and (hands.back or not gone)), "the sender may run it or give it back"
    assert not hands.begun or hands.begun[0][1] < LEASE_MS
    assert len(hands.renewed) == len(hands.begun)
    assert gone or sticky == "soft"
    quick = max(all_ms) < THIRD_MS // 6
    if quick and processes and says == "yes":
        assert hands.begun, "without delays it is handed over"


@given(first_ms=delays, second_ms=delays)
def test_what_nobody_agreed_to_take_is_not_begun(first_ms, second_ms):
    """A second message without a first, or to another process of the same name, begins nothing."""
    hands = Hands(0, 0, 0, 0)
    asked = hands.receiver()
    sender = Sender("me", hands, hands, LEASE_MS)
    delivery, message = a_ticket("hard")
    hands.now_ms = first_ms % THIRD_MS
    run(sender.elsewhere(delivery, message, hands.now_ms))
    other = hands.receiver()
    for _, payload in hands.late:
        other._on_given("", payload, "")

    assert hands.begun == []
    hands.arrive(second_ms)
    assert len(hands.begun) == (1 if second_ms <= THIRD_MS else 0)
    assert asked._promised == {}
