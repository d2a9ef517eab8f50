"""``dagnats serve`` as a process: what it prints, what it refuses, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.conftest import command
from tests.integration.cli.processes import Program, Start, gone, programs, until

NOWHERE = "nats://127.0.0.1:1"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ``dagnats`` processes in the test's folder."""
    with programs(tmp_path) as begin:
        yield begin


def serving(start: Start, *more: str) -> tuple[Program, str]:
    """A server that is ready, and its URL."""
    program = start("serve", "--nats-port", "0", "--json", *more)
    return program, json.loads(program.says(r"\{.*\}")[0])["nats_url"]


def test_json_is_one_line_with_everything_a_program_needs(start, tmp_path):
    """``--json`` prints one object, and nothing after it, on standard output."""
    program, url = serving(start)

    program.signal(signal.SIGTERM)
    assert program.ends() == 0

    told = json.loads(program.out)
    data = tmp_path / ".dagnats"
    assert told == {"ready": True, "nats_url": url, "data_dir": str(data), "pid": program.pid}


def test_ctrl_c_leaves_nothing_behind(start, tmp_path):
    """SIGINT ends the scheduler and the nats-server; the lock and the url file are gone."""
    program, url = serving(start)
    nats = program.nats()
    assert (tmp_path / ".dagnats/url").read_text().strip() == url
    assert (tmp_path / ".dagnats/lock").exists()

    program.signal(signal.SIGINT)

    assert program.ends() == 0
    assert gone(nats)
    assert not (tmp_path / ".dagnats/lock").exists()
    assert not (tmp_path / ".dagnats/url").exists()
    assert (tmp_path / ".dagnats/jetstream").is_dir()


def test_people_read_how_to_reach_it(start):
    """Without ``--json`` there is a ready line, and the export for other terminals."""
    program = start("serve", "--nats-port", "0")

    url = program.says(r"serve ready: (nats://\S+),")[1]

    program.says(rf"export DAGNATS_URL={url}")
    assert str(program.nats()) not in program.err


def test_a_second_one_on_the_same_data_is_refused(start, tmp_path):
    """The second ends with one line that names the first, which goes on."""
    program, url = serving(start)

    second = command(NOWHERE, tmp_path)("serve", "--nats-port", "0")

    assert second.code == 2
    assert f"pid {program.pid}" in second.line
    assert command(url, tmp_path)("doctor").code == 0


def test_a_port_in_use_is_told_with_the_way_out(start, tmp_path):
    """Both a NATS server and another program on the port are refused, each by what it is."""
    _, url = serving(start)
    port = url.rpartition(":")[2]
    serve = command(NOWHERE, tmp_path)

    by_nats = serve("serve", "--nats-port", port, "--data-dir", "other")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        by_other = serve("serve", "--nats-port", str(taken.getsockname()[1]), "--data-dir", "other")

    assert (by_nats.code, by_other.code) == (2, 2)
    assert "by a NATS server" in by_nats.line
    assert "by another program" in by_other.line
    assert "--nats-port 0" in by_other.line
    assert not (tmp_path / "other/lock").exists()


@pytest.mark.faults
def test_killed_it_takes_its_server_with_it(start, tmp_path):
    """SIGKILL of ``serve`` ends nats-server too, and the next ``serve`` takes the data over."""
    program, _ = serving(start)
    nats = program.nats()

    program.signal(signal.SIGKILL)
    program.ends()
    again, _ = serving(start)

    until(lambda: gone(nats), "the nats-server of the killed process ends")
    assert again.nats() != nats


@pytest.mark.faults
def test_a_killed_server_is_started_again(start, tmp_path):
    """SIGKILL of nats-server: another one answers on the same port, and the log says so."""
    program, url = serving(start)
    first = program.nats()

    os.kill(first, signal.SIGKILL)
    program.says("nats-server runs again")

    assert program.nats() != first
    assert command(url, tmp_path)("doctor").code == 0


def test_options_of_later_do_not_pretend(start):
    """``--http`` is taken, and said to do nothing yet."""
    program, _ = serving(start, "--http", "127.0.0.1:0", "--no-console")

    program.says("--http has no effect yet")


def test_a_data_directory_that_cannot_be_is_refused(tmp_path):
    """A file in its place is told in one line."""
    (tmp_path / "file").write_text("")

    said = command(NOWHERE, tmp_path)("serve", "--nats-port", "0", "--data-dir", "file/data")

    assert said.code == 2
    assert "cannot be used" in said.line
