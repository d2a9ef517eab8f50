"""Requests on a link: many answers to one question, asked again after a lost connection or leader."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from msgspec import Struct

from dagnats.errors import BrokerUnavailable, NotPermitted, OutsideError
from dagnats.jetstream.frames import Heard, status_of

NO_RESPONDERS: Final = 503
_SUBSCRIPTION: Final = re.compile(r'Subscription to "([^"]*)"')
STORES_NOTHING: Final = (
    "look at the server's log: when its disk was full, it stores nothing until it is restarted"
)
_NOT_AVAILABLE: Final = b'"err_code":10008'  # JetStream's own leader is being chosen
_LEADERLESS_S: Final = 0.25  # between questions to a cluster that is choosing a leader
_SILENT_S: Final = 1.0  # a question to a leader that has gone is never answered: ask who leads now


class ApiError(OutsideError):
    """The JetStream API refused a request."""

    def __init__(self, code: int, description: str, request: str = "") -> None:
        self.code, self.description, self.request = code, description, request
        super().__init__(f"JetStream refused {request}: {description} ({code})")

    def __reduce__(self) -> tuple[Any, ...]:
        return (ApiError, (self.code, self.description, self.request))


class Answer(Struct, frozen=True):
    """One answer to a request; ``headers`` are raw."""

    headers: bytes
    payload: bytes

    @property
    def status(self) -> int:
        """A status such as 404, or 0 for an ordinary answer."""
        return status_of(self.headers)


def unheard(answer: Answer) -> bool:
    """Whether nobody was there to answer."""
    return answer.status == NO_RESPONDERS


def leaderless(answer: Answer) -> bool:
    """Whether an answer of the API says that nobody leads for the moment."""
    return unheard(answer) or _NOT_AVAILABLE in answer.payload


class _Dropped(Exception):
    """The connection went away while a request was open."""


class _Silent(Exception):
    """Nothing was heard for a while, in a cluster."""


def not_permitted(link: Speaker, what: str, subject: str) -> NotPermitted:
    """The error of a right that the credential of a link lacks."""
    return NotPermitted(
        f"{link.who} may not {what} {subject}; use a credential that may: `dagnats auth show` lists "
        "what each may do"
    )


class Refusals:
    """The subscriptions that the server did not take: it answers to none that it took."""

    def __init__(self, link: Speaker) -> None:
        self._link = link
        self._subjects: set[str] = set()

    def heard(self, text: str) -> None:
        """A permissions violation."""
        found = _SUBSCRIPTION.search(text)
        if found:
            self._subjects.add(found[1])

    def check(self, subject: str) -> None:
        """Once the server has seen a subscription.

        Raises:
            NotPermitted: it did not take it.
        """
        if subject in self._subjects:
            raise not_permitted(self._link, "subscribe to", subject)


class _Waiting:
    """An open request: its answers so far, and the future that ends it."""

    __slots__ = ("answers", "future", "last", "subject")

    def __init__(self, subject: str, last: Callable[[Answer], bool]) -> None:
        self.subject = subject
        self.answers: list[Answer] = []
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.last = last


class Speaker(Protocol):
    """What asking needs of a link."""

    url: str
    who: str
    came_back: asyncio.Event

    @property
    def clustered(self) -> bool:
        """Whether leaders may be away for some seconds."""
        ...

    def publish(
        self, subject: str, payload: bytes, reply: str = "", headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Send."""
        ...

    async def listen(self, subject: str, heard: Heard) -> Callable[[], None]:
        """Receive."""
        ...


class Questions:
    """The open requests of a link, told apart by a number at the end of one inbox."""

    def __init__(self, link: Speaker) -> None:
        self._link = link
        self._waiting: dict[bytes, _Waiting] = {}
        self._tokens = 0
        self._inbox = ""

    async def open(self, inbox: str) -> None:
        """Receive answers from now on."""
        self._inbox = inbox
        await self._link.listen(f"{inbox}.*", self._answered)

    def dropped(self) -> None:
        """The connection went away: open questions are asked again when it is back."""
        for waiting in self._waiting.values():
            if not waiting.future.done():
                waiting.future.set_exception(_Dropped())

    def refused(self, text: str) -> None:
        """A permissions violation names the subject; the server sends no other answer."""
        for waiting in self._waiting.values():
            if f'Publish to "{waiting.subject}"' in text and not waiting.future.done():
                waiting.future.set_exception(
                    not_permitted(self._link, "publish to", waiting.subject)
                )

    def _answered(self, subject: bytes, _reply: bytes, headers: bytes, payload: bytes) -> None:
        waiting = self._waiting.get(subject[len(self._inbox) + 1 :])
        if waiting is None or waiting.future.done():
            return
        answer = Answer(headers, payload)
        waiting.answers.append(answer)
        if waiting.last(answer):
            waiting.future.set_result(None)

    async def ask(
        self,
        subject: str,
        payload: bytes,
        *,
        last: Callable[[Answer], bool],
        headers: Iterable[tuple[str, str]],
        timeout_ms: int,
        again: Callable[[Answer], bool],
    ) -> list[Answer]:
        """Ask; collect answers until the last. Asked again when the connection or the leader goes away meanwhile.

        Raises:
            BrokerUnavailable: nothing answered in time.
            NotPermitted: this credential may not ask that.
        """
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                while True:
                    await self._link.came_back.wait()
                    try:
                        answers = await self._ask_once(subject, payload, headers, last)
                    except (_Dropped, _Silent):
                        continue
                    if not self._link.clustered or not again(answers[-1]):
                        return answers
                    await asyncio.sleep(_LEADERLESS_S)
        except TimeoutError:
            raise BrokerUnavailable(
                f"NATS at {self._link.url} did not answer {subject} within {timeout_ms} ms; "
                "is the server up, and may this user ask?"
            ) from None

    async def _ask_once(
        self,
        subject: str,
        payload: bytes,
        headers: Iterable[tuple[str, str]],
        last: Callable[[Answer], bool],
    ) -> list[Answer]:
        self._tokens += 1
        token = str(self._tokens)
        waiting = self._waiting[token.encode()] = _Waiting(subject, last)
        try:
            self._link.publish(subject, payload, f"{self._inbox}.{token}", headers)
            while self._link.clustered and not waiting.future.done():
                heard = len(waiting.answers)
                await asyncio.wait((waiting.future,), timeout=_SILENT_S)
                if not waiting.future.done() and len(waiting.answers) == heard:
                    raise _Silent
            await waiting.future
        finally:
            del self._waiting[token.encode()]
        return waiting.answers
