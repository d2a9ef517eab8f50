"""The desk: schedulers read the log for workers that may not."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from dagnats.enquiries import answer
from dagnats.errors import DagNatsError
from dagnats.limits import ENQUIRIES_WAITING_MAX
from dagnats.ports import Outside
from dagnats.registry import Registry
from dagnats.wire import subjects
from dagnats.wire.codec import encode
from dagnats.wire.messages import Enquiry, nonce

log = logging.getLogger("dagnats.scheduler")

_enquiry = msgspec.json.Decoder(Enquiry)


class Desk:
    """Any scheduler answers, whoever owns the run: what is said is read from the log."""

    def __init__(self, outside: Outside, registry: Registry, secret: bytes) -> None:
        self._outside = outside
        self._registry = registry
        self._secret = secret
        self._questions: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue(ENQUIRIES_WAITING_MAX)

    async def run(self) -> None:
        """Answer until cancelled, one after the other; who is not answered asks again."""
        stop = await self._outside.notices.listen(subjects.DESK, self._heard)
        try:
            while True:
                question, reply = await self._questions.get()
                try:
                    await self._answer(question, reply)
                except (DagNatsError, TimeoutError) as error:
                    log.warning("an enquiry of a worker is not answered: %s", error)
        finally:
            stop()

    def _heard(self, _subject: str, payload: bytes, reply: str) -> None:
        if reply and not self._questions.full():
            self._questions.put_nowait((payload, reply))

    async def _answer(self, question: bytes, reply: str) -> None:
        try:
            enquiry = _enquiry.decode(question)
        except msgspec.DecodeError as error:
            log.warning("what came to the desk is no enquiry: %s", error)
            return
        if enquiry.nonce != nonce(self._secret, enquiry.run, enquiry.ticket):
            log.warning(
                "an enquiry about ticket %s of run %s does not bring its nonce",
                enquiry.ticket, enquiry.run,
            )  # fmt: skip
            return
        told = encode(await answer(self._outside, self._registry, enquiry))
        await self._outside.notices.tell(reply, told)
