"""The embedded server's lock, port and configuration, without starting it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from dagnats import embedded
from dagnats.embedded import DirectoryLock
from dagnats.errors import RequestError


async def test_a_directory_has_one_owner(tmp_path):
    """The second is refused with the pid of the first; after a release it may."""
    first, second = DirectoryLock(tmp_path / "data"), DirectoryLock(tmp_path / "data")
    await first.take()

    with pytest.raises(RequestError, match=f"pid {os.getpid()}"):
        await second.take()
    first.release()
    await second.take()

    assert second.held
    assert not first.held
    second.release()
    assert not second.path.exists()


async def test_the_lock_of_a_dead_process_is_free(tmp_path):
    """A lock file that a killed process left does not keep anybody out."""
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    (tmp_path / "lock").write_bytes(dead.stdout + b"0\n")
    lock = DirectoryLock(tmp_path)

    await lock.take()

    assert lock.held
    lock.release()


async def test_a_lock_is_inherited_by_the_server(tmp_path):
    """As long as a child has the file, nobody else gets the directory."""
    first, second = DirectoryLock(tmp_path), DirectoryLock(tmp_path)
    await first.take()
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=first.files
    )
    os.close(first.files[0])  # as the end of our process would

    try:
        with pytest.raises(RequestError, match="is in use"):
            await second.take()
    finally:
        child.communicate(b"\n")
    await second.take()
    second.release()


def test_the_configuration_is_for_this_machine_and_safe(tmp_path):
    """It listens on the loopback only, and syncs ten times a second; paths are quoted."""
    text = embedded.configuration(tmp_path / 'odd "name"', 4222)

    assert 'listen: "127.0.0.1:4222"' in text
    assert 'sync_interval: "100ms"' in text
    assert r"odd \"name\"" in text


def test_a_free_port_is_not_refused():
    """What ``free_port`` gives can be listened on; a port that is used cannot."""
    embedded.refuse_taken(embedded.free_port())
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(RequestError, match="another program"),
    ):
        embedded.refuse_taken(taken.getsockname()[1])


def test_processes_are_alive_or_not():
    """We are; one that has ended is not; 0 is nobody."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert embedded.alive(os.getpid())
    assert not embedded.alive(ended.pid)
    assert not embedded.alive(0)


async def test_a_zombie_is_not_alive():
    """A process that has ended but was not waited for holds nothing."""
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert not embedded.alive(child.pid)
    child.wait()
    child.stdout.close()
