"""testcontainers, as a test suite of somebody's uses it: ports, waits, networks, exec."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.host import Host


@pytest.fixture
def testcontainers(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The library, told where the engine is. Without its reaper, which is an image from a registry."""
    for name, value in host.environment.items():
        if name.startswith("DOCKER_"):
            monkeypatch.setenv(name, value)
    core = pytest.importorskip("testcontainers.core.container")
    from testcontainers.core.config import testcontainers_config

    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", True)
    yield core


def test_a_container_with_a_port_and_a_wait(testcontainers: Any, host: Host) -> None:
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    page = "echo hello > /index.html; echo ready; exec httpd -f -p 8000"
    made = testcontainers.DockerContainer("busybox:latest").with_exposed_ports(8000)
    made = made.with_env("A", "b").waiting_for(LogMessageWaitStrategy("ready"))
    with made.with_command(["sh", "-c", page]) as container:
        port = int(container.get_exposed_port(8000))
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
            assert response.read() == b"hello\n"
        code, output = container.exec(["sh", "-c", "echo $A"])
        assert (code, output) == (0, b"b\n")
        id = container.get_wrapped_container().id
        labels = host.http("GET", f"/containers/{id}/json").json["Config"]["Labels"]
        assert labels["org.testcontainers"] == "true"
        out, err = container.get_logs()
        assert out == b"ready\n" and err == b""
    assert host.http("GET", f"/containers/{id}/json").status == 404


def test_a_network_with_two_of_them(testcontainers: Any) -> None:
    from testcontainers.core.network import Network

    with Network() as network:
        sleeper = testcontainers.DockerContainer("busybox:latest").with_command(["sleep", "1000"])
        with sleeper.with_network(network).with_network_aliases("one"):
            other = testcontainers.DockerContainer("busybox:latest").with_command(["sleep", "1000"])
            with other.with_network(network) as two:
                code, output = two.exec(["ping", "-c", "1", "one"])
                assert code == 0, output
