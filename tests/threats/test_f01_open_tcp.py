"""F1: an API on TCP that anybody can reach, which is root for anybody. Served to clients with a certificate
of the instance's own authority alone; plain TCP is refused, on loopback too."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent import certificates
from agent.api.listen import read_address
from agent.cli import main
from runtime.errors import Invalid
from tests.threats.raw_http import request
from tests.unit.api.agents import Agent, ApiEngine, Place

NOW = datetime.datetime.now(datetime.UTC)
LATER = datetime.timedelta(days=certificates.LEAF_DAYS + 1)


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    directory = tmp_path / "tls"
    certificates.init(directory, "t", (), NOW)
    return directory


# --- what may be listened on ----------------------------------------------------------------------


def without_key(tls: Path) -> None:
    (tls / "server-key.pem").unlink()


def for_all_to_read(tls: Path) -> None:
    (tls / "server-key.pem").chmod(0o644)


def of_another(tls: Path) -> None:
    other = certificates.make_server(certificates.read_authority(tls), ("localhost",), NOW)
    (tls / "server-key.pem").write_bytes(other.key_pem)


def too_old(tls: Path) -> None:
    old = certificates.make_server(certificates.read_authority(tls), ("localhost",), NOW - LATER)
    (tls / "server.pem").write_bytes(old.certificate_pem)
    (tls / "server-key.pem").write_bytes(old.key_pem)


def no_authority(tls: Path) -> None:
    (tls / "ca.pem").write_text("not a certificate")


def nothing(tls: Path) -> None:
    for path in tls.iterdir():
        if path.is_file():
            path.unlink()


REFUSED: tuple[tuple[str, Callable[[Path], None] | None, str], ...] = (
    ("tcp://127.0.0.1:2375", None, "who reaches this API is root on this host"),
    ("tcp://0.0.0.0:2375", None, "who reaches this API is root on this host"),
    ("tcp://[::1]:2376", None, "who reaches this API is root on this host"),
    ("tcp://localhost", None, "who reaches this API is root on this host"),
    ("0.0.0.0:2375", None, "not tcp://HOST:PORT"),
    ("http://127.0.0.1:2375", None, "not tcp://HOST:PORT"),
    ("unix:///run/other.sock", None, "kind: Socket"),
    ("tcp://:2376", None, "no host"),
    ("tcp://127.0.0.1:66666", None, "66666 is no port"),
    ("tcp://root@127.0.0.1:2376", None, "more than a host and a port"),
    ("tcp://127.0.0.1:2376", without_key, "server-key.pem"),
    ("tcp://127.0.0.1:2376", for_all_to_read, "others may read it"),
    ("tcp://127.0.0.1:2376", of_another, "cannot be used with its key"),
    ("tcp://127.0.0.1:2376", too_old, "its time is over"),
    ("tcp://127.0.0.1:2376", no_authority, "not a certificate in PEM form"),
    ("tcp://127.0.0.1:2376", nothing, "No such file"),
)


@pytest.mark.parametrize(("address", "spoil", "reason"), REFUSED)
def test_f1_no_agent_starts_that_anybody_could_reach(
    address: str,
    spoil: Callable[[Path], None] | None,
    reason: str,
    tls: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "os.geteuid", lambda: 1000
    )  # should it not be refused, nothing is started all the same
    directory = tls if spoil else tmp_path / "none"
    if spoil:
        spoil(tls)
    words = ["--instance", "tnone", "agent", "--watch", str(tmp_path), "--listen", address]
    assert main.main([*words, "--tls", str(directory)]) == 1
    said = capsys.readouterr().err
    assert reason in said and said.startswith("error: listen") | said.startswith("error: ")


@pytest.mark.parametrize(
    ("text", "shown"),
    [("tcp://127.0.0.1:2376", "tcp://127.0.0.1:2376"), ("tcp://[::1]", "tcp://[::1]:2376"),
     ("tcp://Engine.example.org:1", "tcp://engine.example.org:1"), ("tcp://0.0.0.0:0", "tcp://0.0.0.0:0")],
)  # fmt: skip
def test_f1_what_may_be_listened_on(text: str, shown: str) -> None:
    assert str(read_address(text)) == shown


NO_ADDRESS = (
    "tcp://a b:1", "tcp://1.2.3.4:5/x", "tcp://[1.2", "tcp://h:1?x", "tcp://h:-1", "", "tcp://", "tcp://::1:5",
    "fd://", "npipe:////./pipe", "tcp://a_b:1",
)  # fmt: skip


@pytest.mark.parametrize("text", NO_ADDRESS)
def test_f1_what_is_no_address(text: str) -> None:
    with pytest.raises(Invalid):
        read_address(text)


# --- who is let in --------------------------------------------------------------------------------


@pytest.fixture
def served(place: Place, tls: Path) -> Iterator[Agent]:
    settings = replace(place.settings, listen=("tcp://127.0.0.1:0",), tls=tls)
    started = Agent(settings, ApiEngine()).start()
    try:
        yield started
    finally:
        started.stop()


def address_of(agent: Agent) -> tuple[str, int]:
    found = read_address(agent.context.addresses[0])
    return found.host, found.port


def client_context(tls: Path, certificate: Path | None, key: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(tls / "ca.pem"))
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def ask(agent: Agent, context: ssl.SSLContext, host: str = "localhost", name: str = "localhost") -> bytes:
    """The answer to a ping; b"" where none is given."""
    answer = b""
    with (
        contextlib.suppress(ssl.SSLError, ConnectionError),
        socket.create_connection(address_of(agent)) as plain,
    ):
        plain.settimeout(10)
        with context.wrap_socket(plain, server_hostname=name) as connection:
            connection.sendall(request("GET", "/setpoint/v1/version", host=host))
            while piece := connection.recv(65536):
                answer += piece
    return answer


def admin(tls: Path) -> ssl.SSLContext:
    place = tls / "clients/admin"
    return client_context(tls, place / "cert.pem", place / "key.pem")


def test_f1_a_client_with_a_certificate_is_let_in(served: Agent, tls: Path) -> None:
    assert ask(served, admin(tls)).startswith(b"HTTP/1.1 200")
    assert ask(served, admin(tls), "127.0.0.1:2376", "127.0.0.1").startswith(b"HTTP/1.1 200")


def test_f1_one_without_is_not(served: Agent, tls: Path) -> None:
    assert ask(served, client_context(tls, None)) == b""


def test_f1_nor_one_of_another_authority(served: Agent, tls: Path, tmp_path: Path) -> None:
    place = certificates.init(tmp_path / "other", "other", (), NOW)
    assert ask(served, client_context(tls, place / "cert.pem", place / "key.pem")) == b""


def test_f1_nor_the_servers_own_certificate(served: Agent, tls: Path) -> None:
    assert ask(served, client_context(tls, tls / "server.pem", tls / "server-key.pem")) == b""


def test_f1_nor_a_client_whose_time_is_over(served: Agent, tls: Path, tmp_path: Path) -> None:
    old = certificates.make_client(certificates.read_authority(tls), "old", NOW - LATER)
    (tmp_path / "old.pem").write_bytes(old.certificate_pem + old.key_pem)
    assert ask(served, client_context(tls, tmp_path / "old.pem")) == b""


def test_f1_nor_one_that_signed_itself(served: Agent, tls: Path, tmp_path: Path) -> None:
    own = certificates.make_authority("t", NOW)
    (tmp_path / "own.pem").write_bytes(own.certificate_pem + own.key_pem)
    assert ask(served, client_context(tls, tmp_path / "own.pem")) == b""


def test_f1_plain_http_gets_no_answer(served: Agent) -> None:
    with socket.create_connection(address_of(served)) as connection:
        connection.settimeout(10)
        connection.sendall(request("GET", "/setpoint/v1/version", host="localhost"))
        with contextlib.suppress(ConnectionError):
            assert b"HTTP" not in connection.recv(65536)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_f1_old_tls_is_refused(served: Agent, tls: Path) -> None:
    context = admin(tls)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    assert ask(served, context) == b""


def test_f1_a_name_that_the_certificate_does_not_have_is_refused(served: Agent, tls: Path) -> None:
    assert b" 403 " in ask(served, admin(tls), "evil.example").split(b"\r\n")[0]
    assert b" 403 " in ask(served, admin(tls), "docker").split(b"\r\n")[0]


def serial(agent: Agent, tls: Path) -> int:
    with (
        socket.create_connection(address_of(agent)) as plain,
        admin(tls).wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        found = connection.getpeercert(binary_form=True)
    assert found is not None
    return certificates.x509.load_der_x509_certificate(found).serial_number


def test_f1_renewed_certificates_are_used_without_a_restart(served: Agent, tls: Path) -> None:
    before, client = serial(served, tls), admin(tls)
    assert certificates.renew(tls, ("engine.test",), NOW) == ("server", "admin")
    assert serial(served, tls) != before
    assert ask(served, admin(tls), "engine.test", "engine.test").startswith(b"HTTP/1.1 200")
    assert ask(served, client).startswith(b"HTTP/1.1 200")  # the old one is still the authority's


def test_f1_halves_of_a_renewal_change_nothing(served: Agent, tls: Path) -> None:
    before = serial(served, tls)
    other = certificates.make_server(certificates.read_authority(tls), ("localhost",), NOW)
    (tls / "server-key.pem").write_bytes(other.key_pem)
    assert serial(served, tls) == before
    (tls / "server.pem").write_bytes(other.certificate_pem)
    assert serial(served, tls) == other.certificate.serial_number


def test_f1_another_authority_shuts_out_the_clients_of_the_old_one(
    served: Agent, tls: Path, tmp_path: Path
) -> None:
    old = admin(tls)
    certificates.init(tmp_path / "new", "t", (), NOW)
    for name in ("ca.pem", "server-key.pem", "server.pem"):
        (tmp_path / "new" / name).rename(tls / name)
    old.load_verify_locations(tls / "ca.pem")
    assert ask(served, old) == b""
    place = tmp_path / "new/clients/admin"
    assert ask(served, client_context(tls, place / "cert.pem", place / "key.pem")).startswith(b"HTTP/1.1 200")


def test_f1_handshakes_that_never_end_keep_nobody_out(served: Agent, tls: Path) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection(address_of(served)))
        assert ask(served, admin(tls)).startswith(b"HTTP/1.1 200")
        assert served.client.status()["agent"] == "running"


def test_f1_plain_tcp_only_by_a_flag_named_unsafe(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    settings = replace(place.settings, listen=("tcp://127.0.0.1:0",), is_plain_tcp_allowed=True)
    started = Agent(settings, ApiEngine()).start()
    try:
        answers = []
        for host in ("127.0.0.1", "evil.example"):
            with socket.create_connection(address_of(started)) as connection:
                connection.sendall(request("GET", "/setpoint/v1/version", host=host))
                answers.append(connection.recv(65536).split(b"\r\n")[0])
    finally:
        started.stop()
    assert b" 200 " in answers[0] and b" 403 " in answers[1]
    assert "whoever reaches it is root here" in caplog.text


# --- the files ------------------------------------------------------------------------------------


def test_f1_keys_are_for_root_alone(tls: Path) -> None:
    files = [path for path in tls.rglob("*") if path.is_file()]
    assert len(files) == 7
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    assert all(path.stat().st_mode & 0o777 == 0o700 for path in (tls, tls / "clients", tls / "clients/admin"))


def test_f1_an_authority_is_never_overwritten(tls: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (tls / "ca-key.pem").read_bytes()
    assert main.main(["tls", "init", "--directory", str(tls)]) == 1
    assert "there is an authority already" in capsys.readouterr().err
    assert (tls / "ca-key.pem").read_bytes() == before


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", "A", "x" * 64, "a\0b", "-x", ".hidden"])
def test_f1_a_clients_name_is_no_path(tls: Path, name: str) -> None:
    with pytest.raises(Invalid):
        certificates.write_client(tls, name, NOW)
    assert [path.name for path in (tls / "clients").iterdir()] == ["admin"]


@pytest.mark.parametrize("name", ["a b", "*.example.org", "https://x", "", "a\nb", "-x", "x" * 300, "a/b"])
def test_f1_what_no_host_is_called_gets_no_certificate(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid):
        certificates.init(tmp_path / "tls", "t", (name,), NOW)
    assert not (tmp_path / "tls").exists()
