"""Wrong credentials, and rights that are missing: one line that says what to do, at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dagnats.errors import DagNatsError
from dagnats.jetstream.access import new_seed
from dagnats.settings import Access, load_settings
from tests.security.support import Guarded, auth, environment
from tests.support.broker import Broker
from tests.support.deployment import eventually

_APP = "tests.security.app"


def told(roles: Guarded, creds: str, *arguments: str) -> tuple[int, str]:
    """A command's exit code, and what it said last."""
    done = subprocess.run(
        [sys.executable, "-m", "dagnats", *arguments],
        env={**environment(roles), "DAGNATS_CREDS": creds},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr.strip().splitlines()[-1] if done.stderr else ""


def test_no_credential(roles: Guarded):
    """The server wants one."""
    code, said = told(roles, "", "run", "list")
    assert code == 1
    assert "refuses these credentials" in said
    assert "DAGNATS_CREDS" in said


def test_a_credential_that_the_server_does_not_know(roles: Guarded, tmp_path: Path):
    """Another deployment's, or one that was added since the server began."""
    stranger = tmp_path / "stranger.nk"
    stranger.write_text(new_seed())
    code, said = told(roles, str(stranger), "run", "list")
    assert code == 1
    assert "refuses the credential stranger.nk" in said
    assert "--signal reload" in said


@pytest.mark.parametrize(
    ("text", "problem"),
    [(None, "cannot be read"), ("hello", "holds neither"), ("SUA23", "a damaged seed")],
    ids=["missing", "something else", "damaged"],
)
def test_a_file_that_is_no_credential(roles: Guarded, tmp_path: Path, text: str, problem: str):
    """It is said before anything is sent."""
    path = tmp_path / "mine.nk"
    if text:
        path.write_text(text)
    code, said = told(roles, str(path), "run", "list")
    assert code == 1
    assert "creds: " in said
    assert problem in said


@pytest.mark.parametrize(
    ("creds", "arguments", "right"),
    [
        ("worker-add", ("run", "start", "add", "{}"), "DIRECT.GET.KV_dagnats_definitions"),
        ("client", ("workflow", "register", "-"), "$KV.dagnats_definitions"),
        ("api", ("policy", "grant", "add"), "$KV.dagnats_control"),
        ("worker-add", ("worker", _APP, "--task", "shout"), "worker+shout+_"),
        ("client", ("worker", _APP, "--task", "add"), "dagnats.live.cancelled"),
        ("client", ("scheduler",), "KV_dagnats_secrets"),
    ],
)
def test_a_right_that_is_missing(
    roles: Guarded, creds: str, arguments: tuple[str, ...], right: str
):
    """The message names the credential and the right; nothing hangs."""
    done = subprocess.run(
        [sys.executable, "-m", "dagnats", *arguments, "--creds", roles.creds(creds)],
        env=environment(roles), capture_output=True, text=True, timeout=60, check=False,
        input='{"name": "x", "steps": [{"id": "a", "type": "normal", "task": "add"}]}',
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    [said] = [line for line in done.stderr.splitlines() if line.startswith("dagnats: ")]
    assert f"{creds}.nk may not " in said
    assert right in said


def test_our_own_server_asks_for_nothing(tmp_path: Path):
    """``serve`` and its scheduler need no credential, whatever is set for elsewhere."""
    command = [sys.executable, "-m", "dagnats", "serve", "--nats-port", "0"]
    elsewhere = {"DAGNATS_CREDS": "no-such.nk", "DAGNATS_TLS_CA": "no-such.pem"}
    with subprocess.Popen(
        [*command, "--data-dir", str(tmp_path)], env={**os.environ, **elsewhere},
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert "serve ready" in process.stdout.readline()
        process.terminate()
        assert process.wait(30) == 0


def test_credentials_are_made_once(tmp_path: Path):
    """Nothing is overwritten; names are told apart; files are for their owner."""
    auth("init", str(tmp_path / "a"), "--task", "add")
    with pytest.raises(DagNatsError, match="has credentials already"):
        auth("init", str(tmp_path / "a"))
    with pytest.raises(DagNatsError, match="there is a credential worker-add already"):
        auth("add-worker", str(tmp_path / "a"), "--task", "add")
    with pytest.raises(DagNatsError, match="own and the server's subjects"):
        auth("init", str(tmp_path / "b"), "--subject", "$JS.API.>")
    with pytest.raises(DagNatsError, match=r"no .*credentials\.json"):
        auth("show", str(tmp_path / "c"))
    with pytest.raises(DagNatsError, match="has no credential nobody; it has: admin"):
        auth("show", str(tmp_path / "a"), "nobody")
    assert (tmp_path / "a" / "client.nk").stat().st_mode & 0o777 == 0o600
    seed = (tmp_path / "a" / "client.nk").read_text().strip()
    for written in ("accounts.conf", "credentials.json", "nats-server.conf"):
        assert seed not in (tmp_path / "a" / written).read_text()


async def test_workers_come_and_go(tmp_path: Path):
    """Credentials are known, and known no more, when the server has read its configuration again."""
    directory = tmp_path / "auth"
    auth("init", str(directory))
    roles = Guarded(directory, Broker(file=directory / "nats-server.conf").start())
    try:
        async with roles.outside("scheduler", ensure=True):
            pass
        auth("add-worker", str(directory), "--task", "ocr")
        with pytest.raises(DagNatsError, match="refuses the credential"):
            async with roles.link("worker-ocr"):
                pass
        assert roles.broker.process is not None
        roles.broker.process.send_signal(1)  # SIGHUP, which is what --signal reload sends

        async def welcome() -> bool:
            try:
                async with roles.link("worker-ocr"):
                    return True
            except DagNatsError:
                return False

        await eventually(welcome)
        async with roles.link("worker-ocr") as link:
            kept = (directory / "worker-ocr.nk").read_text()
            auth("remove", str(directory), "worker-ocr")
            assert not (directory / "worker-ocr.nk").exists()
            roles.broker.process.send_signal(1)
            await eventually(lambda: not link.up)
        (directory / "worker-ocr.nk").write_text(kept)
        with pytest.raises(DagNatsError, match="refuses the credential"):
            async with roles.link("worker-ocr"):
                pass
    finally:
        roles.broker.remove()


def test_settings_name_the_files():
    """As every other setting."""
    settings = load_settings(
        {"DAGNATS_CREDS": "a.nk", "DAGNATS_TLS_CA": "ca.pem"}, Path("/nowhere")
    )
    assert settings.access == Access("a.nk", "ca.pem")
