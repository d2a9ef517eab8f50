"""Sticky runs: giving a ticket to the worker its run is bound to, so that it runs there, and once.

Two messages, and the receiver begins only on the second (docs/adr has the proof):

1. the *sender*, who was given the ticket by the queue, offers it; the receiver says yes, busy or no;
2. after a yes the sender hands the delivery over and forgets it, whatever becomes of it.

Until it has sent the second message the ticket is the sender's, to run or to give back; from then on it is
not. The receiver begins only if the second message came soon after its yes: then the lease still holds.
If it came late, or not at all, the lease runs out and the queue delivers the ticket again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec
from msgspec import Raw

from dagnats.clock import Clock
from dagnats.errors import NotPermitted
from dagnats.ids import new_process_id
from dagnats.limits import (
    HANDOVER_MS,
    STICKY_HARD_PAUSE_MAX_MS,
    STICKY_HARD_PAUSE_MS,
    STICKY_PAUSE_MS,
    STICKY_SOFT_TRIES,
)
from dagnats.ports import Delivery, Notices, Outside
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import HandedOver, Offer, OfferAnswer, TaskMessage

log = logging.getLogger("dagnats.worker")

YES: Final = "yes"
BUSY: Final = "busy"
NO: Final = "no"

_SILENT_MS: Final = 2_000  # who did not answer is not asked again for so long
_PING_MS: Final = 500

_offers = msgspec.json.Decoder(Offer)
_answers = msgspec.json.Decoder(OfferAnswer)
_given = msgspec.json.Decoder(HandedOver)


def patience_ms(lease_ms: int) -> int:
    """How long an offer, and then a yes, is good for: both together less than a lease."""
    return min(HANDOVER_MS, lease_ms // 3)


async def name_taken(notices: Notices, worker: str) -> bool:
    """Whether a worker of that name is at work."""
    return bool(await notices.ask(subjects.handover(worker), encode(Offer()), _PING_MS, enough=1))


class Sender:
    """Hands tickets that are bound to other workers to them."""

    def __init__(self, worker: str, outside: Outside, clock: Clock, lease_ms: int) -> None:
        self.sent = 0
        self._worker = worker
        self._outside = outside
        self._clock = clock
        self._patience_ms = patience_ms(lease_ms)
        self._silent_until: dict[str, float] = {}

    async def elsewhere(self, delivery: Delivery, message: TaskMessage, since_ms: float) -> bool:
        """Whether a ticket that came at ``since_ms`` is not for this worker: handed over, or given back."""
        if not message.sticky or message.worker in ("", self._worker):
            return False
        answer = await self._offered(message, since_ms)
        if answer.says == YES:
            await self._hand_over(delivery, answer.at)
            return True
        if answer.reason and message.sticky == "hard":
            text = "ticket %s of run %s is bound to worker %s, which %s"
            log.warning(text, message.ticket, message.run, message.worker, answer.reason)
        pause_ms = pause_before_next(message, delivery.delivered, answer.says)
        if pause_ms:
            await self._outside.queue.give_back(delivery.reply, pause_ms)
        return pause_ms > 0

    async def _offered(self, message: TaskMessage, since_ms: float) -> OfferAnswer:
        """What the bound worker says; one that is gone, or too slow for the lease, says no."""
        began = self._clock.monotonic_ms()
        left_ms = round(since_ms + self._patience_ms - began)
        if left_ms < 1 or self._silent_until.get(message.worker, 0.0) > began:
            return OfferAnswer(says=NO)
        offer = Offer(
            run=message.run, ticket=message.ticket, task=message.task, within_ms=self._patience_ms
        )
        answers = await self._outside.notices.ask(
            subjects.handover(message.worker), encode(offer), left_ms, enough=1
        )
        now = self._clock.monotonic_ms()
        if not answers and now >= began + left_ms:  # it listens, but does not answer
            self._silent_until[message.worker] = now + _SILENT_MS
        if not answers or now > since_ms + self._patience_ms:
            return OfferAnswer(says=NO)
        self._silent_until.pop(message.worker, None)
        try:
            return _answers.decode(answers[0])
        except msgspec.DecodeError as error:
            log.warning("worker %s answers what cannot be read: %s", message.worker, error)
            return OfferAnswer(says=NO)

    async def _hand_over(self, delivery: Delivery, to: str) -> None:
        self.sent += 1
        given = HandedOver(
            message=Raw(delivery.payload),
            subject=delivery.subject,
            reply=delivery.reply,
            seq=delivery.seq,
            at_ms=delivery.at_ms,
            delivered=delivery.delivered,
            origin_seq=delivery.origin_seq,
        )
        await self._outside.notices.tell(to, encode(given))


def pause_before_next(message: TaskMessage, delivered: int, says: str) -> int:
    """After how long a ticket that its worker did not take is offered again; 0: run it here.

    A soft one waits only for a worker that is busy, and not for long. Deliveries are counted, not
    seconds: the clocks of workers and server need not agree.
    """
    if message.sticky == "hard":
        return min(STICKY_HARD_PAUSE_MS * delivered, STICKY_HARD_PAUSE_MAX_MS)
    waits = says == BUSY and delivered <= STICKY_SOFT_TRIES
    return STICKY_PAUSE_MS if waits else 0


class Receiver:
    """Takes what other workers hand over.

    ``judge`` says whether an offer is welcome, given how many were accepted and have not come yet.
    Several processes may have the same name by mistake; each is given only what it said yes to.
    """

    def __init__(
        self,
        worker: str,
        outside: Outside,
        clock: Clock,
        judge: Callable[[Offer, int], OfferAnswer],
        take: Callable[[Delivery], None],
    ) -> None:
        self._worker = worker
        self._notices = outside.notices
        self._clock = clock
        self._queue = outside.queue
        self._judge = judge
        self._take = take
        self._at = subjects.handover_to(worker, new_process_id("process"))
        self._promised: dict[str, float] = {}
        self._offers: Callable[[], None] | None = None
        self._given: Callable[[], None] | None = None

    async def open(self, spawn: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        """Listen, where the credential lets us; ``spawn`` runs the sending of answers."""

        def offered(_subject: str, payload: bytes, reply: str) -> None:
            if reply:
                spawn(self._notices.tell(reply, encode(self._answer(payload))))

        try:
            self._given = await self._notices.listen(self._at, self._on_given)
            self._offers = await self._notices.listen(subjects.handover(self._worker), offered)
        except NotPermitted as refused:
            log.info("tickets of sticky runs are not handed over here: %s", refused.message)

    def refuse(self) -> None:
        """Hear no more offers, so that another may take this name; what was promised may still come."""
        if self._offers is not None:
            self._offers()

    def close(self) -> None:
        """Hear nothing more; twice is fine."""
        self.refuse()
        if self._given is not None:
            self._given()

    def _answer(self, payload: bytes) -> OfferAnswer:
        try:
            offer = _offers.decode(payload)
        except msgspec.DecodeError as error:
            return OfferAnswer(says=NO, reason=f"cannot read the offer: {error}")
        now = self._clock.monotonic_ms()
        self._promised = {key: until for key, until in self._promised.items() if until >= now}
        answer = self._judge(offer, len(self._promised))
        if answer.says != YES:
            return answer
        self._promised[f"{offer.run}/{offer.ticket}"] = now + offer.within_ms
        return OfferAnswer(says=YES, at=self._at)

    def _on_given(self, _subject: str, payload: bytes, _reply: str) -> None:
        """The second message: from here on the ticket is ours, if it came in time."""
        try:
            given = _given.decode(payload)
            key = _key_of(given.message)
        except msgspec.DecodeError as error:
            log.warning("something was handed over that is no ticket: %s", error)
            return
        until = self._promised.pop(key, None)
        if until is None or until < self._clock.monotonic_ms():
            log.warning("%s was handed over too late; it comes again when its lease is over", key)
            return
        self._queue.renew(given.reply)  # the sender has held it for a while
        self._take(
            Delivery(
                seq=given.seq,
                at_ms=given.at_ms,
                subject=given.subject,
                payload=bytes(given.message),
                reply=given.reply,
                delivered=given.delivered,
                origin_seq=given.origin_seq,
            )
        )


class _Named(msgspec.Struct):
    """The part of a ticket that tells which it is."""

    run: str
    ticket: str


_named = msgspec.json.Decoder(_Named)


def _key_of(message: Raw) -> str:
    named = _named.decode(message)
    return f"{named.run}/{named.ticket}"
