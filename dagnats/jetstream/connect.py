"""Connecting to NATS, and judging whether the server can hold DagNats."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from nats.aio.client import Client

from dagnats.errors import (
    BrokerUnavailable,
    BrokerUnsuitable,
    NoRoom,
    OutsideError,
    PublishFailed,
    WrongSequence,
)
from dagnats.jetstream.access import NOBODY, Presented, presented
from dagnats.jetstream.asking import NO_RESPONDERS, STORES_NOTHING, ApiError
from dagnats.jetstream.link import Link, max_payload
from dagnats.limits import MESSAGE_SIZE_MIN_BYTES
from dagnats.settings import Access

log = logging.getLogger("dagnats.nats")

T = TypeVar("T")

SERVER_VERSION_MIN: Final = (2, 14, 5)
_CONNECT_S: Final = 2.5
_RETRY_S: Final = 0.2
_PING_S: Final = (
    1.5  # a server that says nothing is left after three: sooner than a cluster needs to elect
)
_JETSTREAM_OFF: Final = frozenset({503, 10039, 10076})


async def connect(
    url: str,
    *,
    name: str,
    on_reconnect: Callable[[], None] | None = None,
    on_disconnect: Callable[[], None] | None = None,
    access: Access = NOBODY,
) -> Link:
    """Connect, for ever: a lost connection is taken up again by itself.

    Args:
        url: One address, or several separated by commas; user and password may be part of it.
        name: What the server's monitoring calls this connection.
        on_reconnect: Called when the connection is back.
        on_disconnect: Called when it went away.
        access: The credential and the certificates that the server wants to see.

    Raises:
        BrokerUnavailable: nobody answers.
        BrokerUnsuitable: the server is too old, has no JetStream, allows too little, or refuses us.
        DefinitionError: a file of ``access`` is not what it should be.
    """
    where = redacted(url)
    shown = presented(access)
    link = await _connect_once(url, where, name, shown)
    try:
        await link.open()
        await judge(link)
    except BaseException:
        await link.close()
        raise
    if on_reconnect:
        link.on_reconnect.append(on_reconnect)
    if on_disconnect:
        link.on_disconnect.append(on_disconnect)
    return link


async def patiently(begin: Callable[[], Awaitable[T]], waiting: str) -> T:
    """Begin something, again and again while no server answers; this is said once.

    What a server refuses is raised at once, as is what comes of an answer.
    """
    said = False
    while True:
        try:
            return await begin()
        except (Exception, BaseExceptionGroup) as problem:
            why = _unanswered(problem)
            if not why:
                raise
        if not said:
            log.warning("%s: %s", waiting, why)
            said = True
        await asyncio.sleep(_RETRY_S)


def _unanswered(problem: BaseException) -> str:
    """Why nothing could be begun, if that is only that no server answered; the next try judges the server anew."""
    if isinstance(problem, BaseExceptionGroup):
        reasons = [_unanswered(each) for each in problem.exceptions]
        return reasons[0] if all(reasons) else ""
    refused = isinstance(problem, NoRoom | WrongSequence)
    if isinstance(problem, BrokerUnavailable | PublishFailed) and not refused:
        return problem.message
    gone = isinstance(problem, ApiError) and problem.code == NO_RESPONDERS  # it starts just now
    return "it does not answer" if gone or isinstance(problem, TimeoutError) else ""


def redacted(url: str) -> str:
    """The address without user and password, for messages."""
    return re.sub(r"[^/,\s]*@", "", url)


async def _connect_once(url: str, where: str, name: str, shown: Presented) -> Link:
    client = Client()
    link = Link(client, where, shown.who)
    problems: list[Exception] = []
    connected = False

    async def on_error(problem: Exception) -> None:
        log.debug("nats: %r", problem)
        problems[:] = [problem]
        if not connected and "authorization" in str(problem).lower():
            raise BrokerUnsuitable(_refused(where, shown)) from problem

    async def on_disconnected() -> None:
        if not client.is_closed:
            log.warning("the connection to NATS at %s is lost; connecting again", where)
        link.dropped()

    async def on_reconnected() -> None:
        log.info("connected to NATS at %s again", where)
        link.returned()

    try:
        connecting = client.connect(
            [part.strip() for part in url.split(",") if part.strip()],
            name=name,
            error_cb=on_error,
            disconnected_cb=on_disconnected,
            reconnected_cb=on_reconnected,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_RETRY_S,  # type: ignore[arg-type]
            ping_interval=_PING_S,  # type: ignore[arg-type]
            **shown.options,
        )
        await _within(_CONNECT_S, connecting)
    except (OutsideError, asyncio.CancelledError):
        await client.close()
        raise
    except Exception as problem:  # noqa: BLE001 - nats-py raises what it likes; all mean "no"
        await client.close()
        seen = problems[-1] if problems else problem
        _refuse_certificate(where, seen)
        raise BrokerUnavailable(
            f"no NATS server answers at {where}; start one with `dagnats serve` or set DAGNATS_URL",
            reason=str(seen) or type(seen).__name__,
        ) from None
    connected = True
    if shown.secure and not client._server_info.get("tls_required"):
        await client.close()
        raise BrokerUnsuitable(
            f"the NATS server at {where} does not speak TLS, but certificates are set; give it a tls "
            "block, or unset DAGNATS_TLS_CA, DAGNATS_TLS_CERT and DAGNATS_TLS_KEY"
        )
    return link


async def _within(seconds: float, connecting: Coroutine[Any, Any, None]) -> None:
    """Wait for an attempt, and no longer; nats-py can miss being cancelled once, and would try for ever.

    Raises:
        TimeoutError: it took longer.
    """
    task = asyncio.get_running_loop().create_task(connecting)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise TimeoutError
        task.result()
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_RETRY_S)


def _refused(where: str, shown: Presented) -> str:
    """What to do when the server does not let us in."""
    if shown.who:
        return (
            f"the NATS server at {where} refuses the credential {shown.who}; does its configuration know "
            "it? After `dagnats auth add-worker` it has to be told: `nats-server --signal reload`"
        )
    return (
        f"the NATS server at {where} refuses these credentials; put user and password into the url, or "
        "the path of a credential (`dagnats auth init` makes them) into DAGNATS_CREDS"
    )


def _refuse_certificate(where: str, problem: Exception) -> None:
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            why = getattr(cause, "verify_message", "") or cause.reason or str(cause)
            raise BrokerUnsuitable(
                f"TLS with the NATS server at {where} fails: {why}; DAGNATS_TLS_CA names whom to trust, "
                "DAGNATS_TLS_CERT and DAGNATS_TLS_KEY what is shown to a server that verifies its clients"
            ) from None
        cause = cause.__cause__ or cause.__context__


async def judge(link: Link) -> None:
    """Refuse a server that cannot hold DagNats.

    Raises:
        BrokerUnsuitable: with what was found, what is needed, and the cure.
    """
    info: dict[str, Any] = link.client._server_info
    found = str(info.get("version", "unknown"))
    needed = ".".join(map(str, SERVER_VERSION_MIN))
    if version_of(found) < SERVER_VERSION_MIN:
        raise BrokerUnsuitable(
            f"the NATS server at {link.url} is version {found}; DagNats needs {needed} or newer: "
            "upgrade it, or use `dagnats serve`"
        )
    if max_payload(link) < MESSAGE_SIZE_MIN_BYTES:
        raise BrokerUnsuitable(
            f"the NATS server at {link.url} allows messages of {max_payload(link)} bytes; "
            f"DagNats needs {MESSAGE_SIZE_MIN_BYTES}: raise max_payload in its configuration"
        )
    try:
        await link.api("INFO")
    except ApiError as refused:
        if refused.code not in _JETSTREAM_OFF:
            raise
        raise BrokerUnsuitable(
            f"JetStream is not enabled on the NATS server at {link.url} (or not for this account); "
            f"start it with `nats-server -js`, or use `dagnats serve`; or {STORES_NOTHING}"
        ) from None


def version_of(text: str) -> tuple[int, int, int]:
    """``2.15.1-RC.1`` → (2, 15, 1); what cannot be read is the oldest."""
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else (0, 0, 0)
