"""External events as they are stored, and messages of other subjects that triggers wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from dagnats.errors import BrokerUnsuitable
from dagnats.jetstream import direct
from dagnats.jetstream.asking import ApiError
from dagnats.jetstream.link import Link
from dagnats.ports import Entry
from dagnats.wire import subjects

_OVERLAPS: Final = 10065  # another stream has it
_ATTEMPTS: Final = 5
_RETRY_S: Final = 0.05


class JetStreamInbox:
    """``ports.Inbox``."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def since(self, name: str, since_ms: int) -> list[Entry]:
        """The stored events of a name from a time on."""
        return await self.messages(subjects.INBOX, subjects.inbox(name), 0, since_ms)

    async def last_seq(self, stream: str) -> int:
        """The sequence of the newest message."""
        info: dict[str, Any] = await self._link.api(f"STREAM.INFO.{stream}")
        return int(info["state"]["last_seq"])

    async def messages(
        self, stream: str, subject: str, after_seq: int, since_ms: int
    ) -> list[Entry]:
        """The stored messages of a subject filter after a sequence, none from before a time."""
        first = await direct.first_since(self._link, stream, subject, max(0, since_ms))
        if first is None:
            return []
        after = max(after_seq, first.entry.seq - 1)
        return [record.entry for record in await direct.read(self._link, stream, subject, after)]

    async def capture(self, subject: str) -> None:
        """Have the messages of a subject filter stored; from another stream, when one has them already."""
        for _ in range(_ATTEMPTS):
            config = await self._config()
            taken = [*config.get("subjects", ()), *_sourced(config)]
            if any(subjects.covers(one, subject) for one in taken):
                return
            own = [one for one in config.get("subjects", ()) if not subjects.covers(subject, one)]
            try:
                await self._update({**config, "subjects": [*own, subject]})
            except ApiError as refused:
                if refused.code != _OVERLAPS:
                    raise _unsuitable(subject, refused.description) from None
                await self._source(config, subject)
            # Somebody else may have changed it in the same moment: look again.
            await asyncio.sleep(_RETRY_S)
        raise _unsuitable(subject, "its configuration keeps changing")

    async def _source(self, config: dict[str, Any], subject: str) -> None:
        """Copy from the stream that stores the subject already, from its end on."""
        found = await self._link.api("STREAM.NAMES", {"subject": subject})
        names = [name for name in found.get("streams") or () if name != subjects.HOOKS]
        if len(names) != 1 or names[0].startswith("DAGNATS_"):
            what = f"it overlaps with streams {', '.join(names)}"
            raise _unsuitable(subject, what)
        info: dict[str, Any] = await self._link.api(f"STREAM.INFO.{names[0]}")
        source = {
            "name": names[0],
            "filter_subject": subject,
            "opt_start_seq": int(info["state"]["last_seq"]) + 1,
        }
        sources = [*(config.get("sources") or ()), source]
        try:
            await self._update({**config, "sources": sources})
        except ApiError as refused:
            raise _unsuitable(subject, refused.description) from None

    async def release(self, needed: Sequence[str]) -> None:
        """Capture only these subject filters from now on."""
        config = await self._config()
        wanted = [*subjects.HOOKS_SUBJECTS, *needed]
        own = [
            one
            for one in config.get("subjects", ())
            if any(subjects.covers(one, subject) for subject in wanted)
        ]
        sources = [
            source
            for source in config.get("sources") or ()
            if any(subjects.covers(source.get("filter_subject", ""), one) for one in needed)
        ]
        if own != config.get("subjects") or len(sources) != len(config.get("sources") or ()):
            await self._update({**config, "subjects": own, "sources": sources})

    async def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = (await self._link.api(f"STREAM.INFO.{subjects.HOOKS}"))["config"]
        return config

    async def _update(self, config: dict[str, Any]) -> None:
        await self._link.api(f"STREAM.UPDATE.{subjects.HOOKS}", config)


def _sourced(config: dict[str, Any]) -> list[str]:
    return [source.get("filter_subject", "") for source in config.get("sources") or ()]


def _unsuitable(subject: str, why: str) -> BrokerUnsuitable:
    return BrokerUnsuitable(
        f'messages of subject "{subject}" cannot be captured: {why}; '
        f"`nats stream info {subjects.HOOKS}` shows what is captured"
    )
