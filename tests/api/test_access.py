"""The ways in that are not the UNIX socket: TCP with certificates, and ssh, with real clients on an instance
of its own."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker as docker_py
import pytest

from tests.api.http_client import connected
from tests.api.ssh_server import SSHD, Server, ssh_server
from tests.e2e.own_story import own_story
from tests.e2e.story import PROGRAM, Story, eventually, free_port

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Reached:
    """story: the agent. address: on TCP. certificates: a client's. ssh: a server's address, and an `ssh` that
    knows it and its key."""

    story: Story
    address: str
    certificates: Path
    ssh: Server
    config: Path

    def docker(self, *words: str, host: str, stdin: str = "", code: int = 0, **more: str) -> str:
        others = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
        environment = {
            **others, "DOCKER_HOST": host, "DOCKER_CONFIG": str(self.config),
            "PATH": f"{self.ssh.bin}:{os.environ['PATH']}",
            **more,
        }  # fmt: skip
        done = subprocess.run(
            ["docker", *words],
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + (done.stderr if code else "")

    def over_tls(self, *words: str, **options: str) -> str:
        verified = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(self.certificates)}
        return self.docker(*words, host=self.address, **verified, **options)

    def over_ssh(self, *words: str, **options: str) -> str:
        said = self.docker(*words, host=self.ssh.address, **options)
        eventually(lambda: not self.ssh.sessions(), "nothing is left of it on the other side")
        return said


@pytest.fixture(scope="module")
def reached(busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    if not shutil.which("docker") or SSHD is None:
        pytest.skip("needs the docker CLI and an ssh server")
    top = tmp_path_factory.mktemp("access")
    tls, address = top / "tls", f"tcp://127.0.0.1:{free_port()}"
    with own_story(top) as story:
        story.setpoint("tls", "init", "--directory", tls)
        story.start_agent("--listen", address, "--tls", str(tls))
        story.setpoint("image", "load", busybox_archive)
        there = other_side(top / "other-side")
        with ssh_server(top / "ssh", PATH=f"{there}:{os.environ['PATH']}", **names_of(story)) as server:
            yield Reached(story, address, tls / "clients/admin", server, top / "config")


def names_of(story: Story) -> dict[str, str]:
    """What the programs of the other side have to know."""
    return {"SETPOINT": str(PROGRAM), "SETPOINT_INSTANCE": story.layout.instance}


def other_side(directory: Path) -> Path:
    """A host's programs where `docker` is our shim."""
    directory.mkdir()
    shutil.copy(REPOSITORY / "ops/docker", directory / "docker")
    (directory / "setpoint").symlink_to(PROGRAM)
    return directory


@pytest.mark.parametrize("way", ["over_tls", "over_ssh"])
def test_the_docker_cli_does_its_work(reached: Reached, way: str, tmp_path: Path) -> None:
    docker = getattr(reached, way)
    (tmp_path / "sent").write_text("a file" * 100_000)
    name = f"n{secrets.token_hex(4)}"
    assert "Setpoint" in docker("version")
    assert docker("run", "--rm", "busybox", "echo", "hello") == "hello\n"
    docker("run", "-d", "--name", name, "busybox", "sleep", "1000")
    try:
        assert docker("exec", "-i", name, "cat", stdin="to and fro") == "to and fro"
        assert name in docker("ps", "--format", "{{.Names}}")
        docker("cp", str(tmp_path / "sent"), f"{name}:/sent")
        docker("cp", f"{name}:/sent", str(tmp_path / "back"))
        assert (tmp_path / "back").read_text() == "a file" * 100_000
    finally:
        docker("rm", "-f", name)


@pytest.mark.parametrize("way", ["over_tls", "over_ssh"])
def test_much_goes_both_ways_at_once(reached: Reached, way: str) -> None:
    sent = secrets.token_hex(1 << 20)
    assert getattr(reached, way)("run", "--rm", "-i", "busybox", "cat", stdin=sent) == sent


def test_a_client_without_a_certificate_is_told_so(reached: Reached, tmp_path: Path) -> None:
    shutil.copy(reached.certificates / "ca.pem", tmp_path / "ca.pem")
    said = reached.docker("ps", host=reached.address, code=1)
    assert "HTTP request to an HTTPS server" in said or "onnection reset" in said or "EOF" in said
    with contextlib.closing(free := socket.socket()):
        free.connect(("127.0.0.1", int(reached.address.rpartition(":")[2])))
        free.sendall(b"GET /_ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" not in free.recv(4096)


def test_docker_py_is_let_in_with_one(reached: Reached, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they would go before our authority
        monkeypatch.delenv(name, raising=False)
    tls = docker_py.tls.TLSConfig(
        client_cert=(str(reached.certificates / "cert.pem"), str(reached.certificates / "key.pem")),
        ca_cert=str(reached.certificates / "ca.pem"), verify=True,
    )  # fmt: skip
    client = docker_py.DockerClient(base_url=reached.address, tls=tls)
    try:
        assert client.ping()
        assert client.containers.run("busybox", ["echo", "hello"], remove=True) == b"hello\n"
    finally:
        client.close()


def test_setpoint_itself_is_a_client_from_elsewhere(reached: Reached) -> None:
    before = dict(reached.story.environment)
    reached.story.environment["SETPOINT_CERT_PATH"] = str(reached.certificates)
    reached.story.environment["PATH"] = f"{reached.ssh.bin}:{before['PATH']}"
    try:
        assert "ready" in reached.story.setpoint("--host", reached.address, "status")
        assert "ready" in reached.story.setpoint("--host", reached.ssh.address, "status")
        said = reached.story.setpoint("--host", "tcp://127.0.0.1:1", "status", code=1) + reached.story.said
        assert "ask agent tcp://127.0.0.1:1" in said and "may you reach it" in said
    finally:
        reached.story.environment = before


def test_a_client_that_is_killed_leaves_nothing_on_the_other_side(reached: Reached) -> None:
    others = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    environment = {
        **others,
        "DOCKER_HOST": reached.ssh.address,
        "PATH": f"{reached.ssh.bin}:{others['PATH']}",
    }
    client = subprocess.Popen(["docker", "events"], env=environment, start_new_session=True)
    eventually(lambda: any("dial-stdio" in line for line in reached.ssh.sessions()), "it has come in")
    os.killpg(client.pid, signal.SIGKILL)
    client.wait(10)
    eventually(lambda: not reached.ssh.sessions(), "every dial-stdio has ended")


def test_the_shim_says_what_it_is(reached: Reached) -> None:
    done = subprocess.run([REPOSITORY / "ops/docker", "ps"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "this host runs Setpoint" in done.stderr


@pytest.mark.parametrize("is_linked", [True, False])
def test_the_shim_finds_setpoint_beside_itself_or_says_what_to_do(
    reached: Reached, is_linked: bool, tmp_path: Path
) -> None:
    shim = tmp_path / "docker"
    shim.symlink_to(REPOSITORY / "ops/docker") if is_linked else shutil.copy(REPOSITORY / "ops/docker", shim)
    done = subprocess.run(
        [shim, "system", "dial-stdio"], input="GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n",
        env={"PATH": "/usr/bin:/bin", "SETPOINT_INSTANCE": reached.story.layout.instance},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if is_linked:
        assert done.returncode == 0 and done.stdout.endswith("OK")
    else:
        assert done.returncode == 127 and "ln -s CHECKOUT/.venv/bin/setpoint" in done.stderr


def test_dial_stdio_gives_the_answer_to_one_who_has_said_all(reached: Reached) -> None:
    answer = reached.story.setpoint("dial-stdio", stdin="GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
    assert answer.endswith("\n\nOK") and re.match(r"HTTP/1.1 200", answer)


def test_a_half_that_is_shut_is_no_end_and_a_closed_one_is(reached: Reached) -> None:
    """A follower that only stopped sending is told on; one that is gone is let go of."""
    with connected(reached.story.layout.agent_socket) as connection:
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: docker\r\n\r\n")
        assert b"200" in connection.recv(4096)
        connection.shutdown(socket.SHUT_WR)
        reached.over_tls("network", "create", "told")
        reached.over_tls("network", "rm", "told")
        seen = b""
        while b"told" not in seen:
            seen += connection.recv(65536)
    agent = Path(f"/proc/{reached.story.agent_pid()}/fd")
    eventually(lambda: _sockets(agent) <= 40, "the connection's descriptors are gone")


def _sockets(directory: Path) -> int:
    found = 0
    for path in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed while it is looked at
            found += os.readlink(path).startswith("socket:")
    return found


def test_the_socket_is_for_root_and_its_group(reached: Reached) -> None:
    found = reached.story.layout.agent_socket.stat()
    assert stat.S_IMODE(found.st_mode) == 0o660 and found.st_uid == 0
