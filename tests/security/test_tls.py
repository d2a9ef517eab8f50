"""TLS: the server's certificate is checked, ours is shown, and without it nothing is sent."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagnats.errors import BrokerUnsuitable, DagNatsError, DefinitionError
from dagnats.jetstream.connect import connect
from dagnats.settings import Access
from tests.support.broker import Broker

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes certificates")


def openssl(directory: Path, *arguments: str) -> None:
    """One command of it."""
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and certificates of it for a server and a client."""
    made = Path(tmp_path_factory.mktemp("tls"))
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    openssl(made, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    for name in ("server", "client"):
        (made / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\n")
        openssl(
            made,
            "req",
            *key[:-2],
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
        )
        openssl(made, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2",
                "-CAcreateserial", "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip
    return made


@pytest.fixture(scope="module")
def server(certificates: Path) -> Iterator[Broker]:
    """A server that speaks TLS only, and wants to see its clients' certificates."""
    block = f"""tls {{
        cert_file: "{certificates}/server.pem"
        key_file: "{certificates}/server.key"
        ca_file: "{certificates}/ca.pem"
        verify: true
    }}"""
    broker = Broker(config=block).start()
    yield broker
    broker.remove()


def access(certificates: Path, ca: str = "ca.pem", own: str = "client") -> Access:
    """Paths into the folder."""
    cert, key = (str(certificates / f"{own}.{end}") if own else "" for end in ("pem", "key"))
    return Access(tls_ca=str(certificates / ca) if ca else "", tls_cert=cert, tls_key=key)


async def test_both_sides_are_known(server: Broker, certificates: Path):
    """The server is trusted because of our authority, and we because of its."""
    link = await connect(server.url, name="test", access=access(certificates))
    assert (await link.api("INFO"))["type"].endswith("account_info_response")
    await link.close()


async def test_a_server_of_unknown_authority(server: Broker, certificates: Path):
    """It is not trusted; the message says which setting names whom to trust."""
    with pytest.raises(BrokerUnsuitable, match=r"certificate.*DAGNATS_TLS_CA"):
        await connect(server.url, name="test", access=access(certificates, ca=""))


async def test_a_client_that_shows_nothing(server: Broker, certificates: Path):
    """The server ends the connection; that is said, at once."""
    with pytest.raises(DagNatsError):
        await connect(server.url, name="test", access=access(certificates, own=""))


async def test_a_server_without_tls_is_not_talked_to(broker: Broker, certificates: Path):
    """Who sets certificates wants no plain connection."""
    with pytest.raises(BrokerUnsuitable, match="does not speak TLS"):
        await connect(broker.url, name="test", access=access(certificates))


async def test_files_that_are_no_certificates(broker: Broker, certificates: Path):
    """They are named, before anything is sent."""
    with pytest.raises(DefinitionError, match=r"client\.csr cannot be used"):
        await connect(broker.url, name="test", access=access(certificates, ca="client.csr", own=""))
    with pytest.raises(DefinitionError, match="belong together"):
        await connect(broker.url, name="test", access=Access(tls_cert="x"))
