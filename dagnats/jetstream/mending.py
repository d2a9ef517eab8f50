"""Gaps that a power cut leaves between a stream and what copies from it.

Each file loses what was not on the disk yet, and not all lose the same. When the log ends earlier than what the
queue has copied of it, the server waits for a sequence that is still to come: it would skip as many new
dispatches, and their runs would wait for ever. So the gap is filled with messages that mean nothing, before
anything else is written. The same holds for timers and the log. Consumers are put right by the server.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from dagnats.errors import NotPermitted, OutsideError
from dagnats.jetstream.link import Link
from dagnats.jetstream.publisher import Publisher
from dagnats.ports import Append
from dagnats.wire import subjects

log = logging.getLogger("dagnats.nats")

_COPIES: Final = (
    (subjects.TASKS, subjects.EVENTS, subjects.mark(0, "padding", "gap")),
    (subjects.EVENTS, subjects.TIMERS, subjects.timer(0, "padding")),
)
_BATCH: Final = 1_000
_WITHIN_S: Final = 2.0


class Mender:
    """Looks for gaps at the beginning, and whenever the server was away; until then ``publisher`` is held."""

    def __init__(self, link: Link, publisher: Publisher) -> None:
        self._link = link
        self._publisher = publisher
        self._filler = Publisher(link)
        self._mending: asyncio.Task[None] | None = None

    async def open(self) -> Mender:
        """Mend, and do so again after each reconnect."""
        await self._filler.open()
        await self._mend()
        self._link.on_reconnect.append(self._returned)
        return self

    def _returned(self) -> None:
        self._publisher.held = True
        if self._mending is None or self._mending.done():
            self._mending = asyncio.get_running_loop().create_task(self._again())

    async def _again(self) -> None:
        try:
            async with asyncio.timeout(_WITHIN_S):
                await self._mend()
        except (OutsideError, TimeoutError) as problem:
            log.warning("whether streams end where their copies do is not known: %s", problem)
        finally:
            self._publisher.held = False
            self._link.plan_write()

    async def _mend(self) -> None:
        for copy, source, filler in _COPIES:
            gap = await _gap(self._link, copy, source)
            if gap <= 0:
                continue
            log.warning(
                "%s ends %d messages before what %s has copied of it, as after a power cut; the gap is filled",
                source, gap, copy,
            )  # fmt: skip
            try:
                for at in range(0, gap, _BATCH):
                    fillers = [Append(filler, b"{}") for _ in range(min(_BATCH, gap - at))]
                    await self._filler.publish_all(fillers)
            except NotPermitted:
                log.debug("a scheduler fills it")


async def _gap(link: Link, copy: str, source: str) -> int:
    """How many messages a copy has seen that its source no longer has. The copy is asked first: it follows."""
    copied = (await link.api(f"STREAM.INFO.{copy}")).get("sources") or ()
    seen = max((int(each.get("seq", 0)) for each in copied if each["name"] == source), default=0)
    there: int = (await link.api(f"STREAM.INFO.{source}"))["state"]["last_seq"]
    return seen - there
