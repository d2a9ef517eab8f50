"""All ports of a deployment on one connection."""

from __future__ import annotations

import logging

from dagnats.errors import BrokerUnavailable, BrokerUnsuitable, NotPermitted
from dagnats.jetstream.access import NOBODY
from dagnats.jetstream.archive import JetStreamArchive
from dagnats.jetstream.blobs import JetStreamBlobs
from dagnats.jetstream.connect import connect
from dagnats.jetstream.documents import JetStreamDocuments
from dagnats.jetstream.feed import JetStreamFeed
from dagnats.jetstream.inbox import JetStreamInbox
from dagnats.jetstream.letters import JetStreamLetters
from dagnats.jetstream.link import Link
from dagnats.jetstream.log import JetStreamLog
from dagnats.jetstream.mending import Mender
from dagnats.jetstream.notices import JetStreamNotices
from dagnats.jetstream.publisher import Publisher
from dagnats.jetstream.queue import JetStreamQueue
from dagnats.jetstream.topology import Topology, existing
from dagnats.jetstream.topology import ensure as ensure_topology
from dagnats.settings import Access

log = logging.getLogger("dagnats.nats")


class JetStream:
    """``ports.Outside`` on a NATS server. Make one with ``open``."""

    def __init__(self, link: Link, publisher: Publisher, partitions: int) -> None:
        self.link = link
        self._publisher = publisher
        self.log = JetStreamLog(link, publisher, partitions)
        self.queue = JetStreamQueue(link)
        self.notices = JetStreamNotices(link)
        self.blobs = JetStreamBlobs(link, publisher)
        self.inbox = JetStreamInbox(link)
        self.archive = JetStreamArchive(link)
        self.letters = JetStreamLetters(link)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        name: str = "dagnats",
        ensure: bool = True,
        partitions: int | None = None,
        replicas: int = 1,
        access: Access = NOBODY,
    ) -> JetStream:
        """Connect, and make the streams that are missing unless ``ensure`` is false.

        Raises:
            BrokerUnavailable: nobody answers.
            BrokerUnsuitable: the server cannot hold DagNats, or (``ensure=False``) does not yet.
        """
        link = await connect(url, name=name, access=access)
        try:
            if ensure:
                topology = await _ensured(link, partitions, replicas)
            else:
                found = await existing(link)
                if found is None:
                    raise BrokerUnsuitable(
                        f"there are no DagNats streams on the NATS server at {link.url}; start "
                        "`dagnats scheduler` or `dagnats serve` once"
                    )
                topology = found
            publisher = await Publisher(link).open()
            if ensure:
                await Mender(link, publisher).open()
        except BaseException:
            await link.close()
            raise
        return cls(link, publisher, topology.partitions)

    def documents(self, bucket: str) -> JetStreamDocuments:
        """The bucket of that name."""
        return JetStreamDocuments(self.link, self._publisher, bucket)

    async def feed(self, partition: int) -> JetStreamFeed:
        """Start receiving a partition's facts."""
        return await JetStreamFeed(self.link, partition).open()

    async def close(self) -> None:
        """Send what is pending and let go of everything; twice is fine."""
        self.link.write()
        self._publisher.close()
        await self.link.close()


async def _ensured(link: Link, partitions: int | None, replicas: int) -> Topology:
    """The streams; made by whoever may, awaited by others."""
    try:
        return await ensure_topology(link, partitions=partitions, replicas=replicas)
    except NotPermitted as refused:
        found = await existing(link)
        if found is None:
            raise BrokerUnavailable(
                f"the streams are not there yet, and {refused.message}; or start a scheduler, which makes them"
            ) from None
        log.debug("streams are left as they are: %s", refused.message)
        return found
