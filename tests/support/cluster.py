"""Three nats-servers that form a cluster on loopback. Every route and every client goes over the real ports."""

from __future__ import annotations

import asyncio
import signal
import socket

from dagnats.jetstream.outside import JetStream
from tests.support.broker import Broker
from tests.support.deployment import eventually

NODES = 3


def free_ports(count: int) -> list[int]:
    """Ports that are free now, each another."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


class Cluster:
    """``nodes`` can be killed, started, and cut off (stopped, so that nothing goes in or out) by name."""

    def __init__(self) -> None:
        routes = free_ports(NODES)
        listed = ", ".join(f"nats://127.0.0.1:{port}" for port in routes)
        self.nodes = {
            f"n{number}": Broker(
                config=f"server_name: n{number}\n"
                f"cluster {{ name: test, listen: 127.0.0.1:{port}, routes: [{listed}] }}\n"
            )
            for number, port in enumerate(routes)
        }

    @property
    def url(self) -> str:
        """Every node, as users write it."""
        return ",".join(node.url for node in self.nodes.values())

    def start(self) -> Cluster:
        """Start all nodes."""
        for node in self.nodes.values():
            node.start()
        return self

    async def ready(self) -> Cluster:
        """Wait until the cluster has chosen a leader and makes streams of three replicas."""

        async def answers() -> bool:
            try:
                outside = await JetStream.open(self.url, name="first", replicas=NODES)
            except Exception:
                return False
            await outside.close()
            return True

        await eventually(answers, 60)
        return self

    def cut_off(self, name: str) -> None:
        """SIGSTOP: for the others the node is gone, and its connections stay open."""
        process = self.nodes[name].process
        assert process is not None
        process.send_signal(signal.SIGSTOP)

    def heal(self, name: str) -> None:
        """SIGCONT."""
        process = self.nodes[name].process
        assert process is not None
        process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill all nodes and delete their stores."""
        for node in self.nodes.values():
            node.remove()


async def leader(outside: JetStream, stream: str) -> str:
    """The node that leads a stream; waits for one while there is none."""
    async with asyncio.timeout(30):
        while True:
            try:
                info = await outside.link.api(f"STREAM.INFO.{stream}")
            except Exception:
                await asyncio.sleep(0.1)
                continue
            if name := (info.get("cluster") or {}).get("leader"):
                return name
            await asyncio.sleep(0.1)
