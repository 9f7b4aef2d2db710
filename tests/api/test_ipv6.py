"""Networks with IPv6 by real clients, against the agent and against dockerd."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from tests.api.host import Host
from tests.api.http_client import Http
from tests.api.test_networks import inside, run
from tests.e2e.story import eventually

SUBNET = "fd00:191:7::/64"
SERVE = ("httpd", "-f", "-p", "80")


@pytest.fixture
def network(either: Host, name: str) -> Iterator[str]:
    made = either.docker(
        "network", "create", "--ipv6", "--subnet", "10.191.7.0/24", "--subnet", SUBNET,
        "--gateway", "10.191.7.1", "--gateway", "fd00:191:7::9", name,
    )  # fmt: skip
    assert len(made.stdout.strip()) == 64
    yield name
    either.docker("rm", "-f", name, f"{name}b", check=False)
    either.docker("network", "rm", name)


def endpoint(host: Host, container: str, network: str) -> dict[str, Any]:
    found: dict[str, Any] = host.http("GET", f"/containers/{container}/json").json["NetworkSettings"][
        "Networks"
    ][network]
    return found


def test_a_network_with_ipv6(either: Host, network: str) -> None:
    name = network
    [shown] = json.loads(either.docker("network", "inspect", name).stdout)
    assert shown["EnableIPv6"] is True
    assert {each["Subnet"]: each["Gateway"] for each in shown["IPAM"]["Config"]} == {
        "10.191.7.0/24": "10.191.7.1", SUBNET: "fd00:191:7::9",
    }  # fmt: skip
    run(either, name, "--network", name, "--ip6", "fd00:191:7::77")
    run(either, f"{name}b", "--network", name)
    found = endpoint(either, name, name)
    assert (found["GlobalIPv6Address"], found["GlobalIPv6PrefixLen"]) == ("fd00:191:7::77", 64)
    assert found["IPv6Gateway"] == "fd00:191:7::9"
    assert found["IPAMConfig"] == {"IPv6Address": "fd00:191:7::77"}
    other = endpoint(either, f"{name}b", name)["GlobalIPv6Address"]
    assert IPv6Address(other) in IPv6Network(SUBNET)
    [shown] = json.loads(either.docker("network", "inspect", name).stdout)
    assert {each["IPv6Address"] for each in shown["Containers"].values()} == {
        "fd00:191:7::77/64",
        f"{other}/64",
    }
    for target in ("fd00:191:7::9", "fd00:191:7::77"):
        assert inside(either, f"{name}b", "ping", "-6", "-c", "1", "-W", "5", target)
    assert "fd00:191:7::77/64" in inside(either, name, "ip", "address", "show", "dev", "eth0")
    assert "via fd00:191:7::9" in inside(either, name, "ip", "-6", "route")


def test_an_address_of_ipv6_by_connect(either: Host, network: str) -> None:
    name = network
    run(either, name)
    either.docker("network", "connect", "--ip6", "fd00:191:7::55", name, name)
    assert endpoint(either, name, name)["GlobalIPv6Address"] == "fd00:191:7::55"
    if either.is_ours:  # dockerd 26 switches IPv6 off for good where the first network has none
        assert "fd00:191:7::55/64" in inside(either, name, "ip", "-6", "address")
    either.docker("network", "disconnect", name, name)
    assert "fd00:191:7::55" not in inside(either, name, "ip", "-6", "address")
    either.docker("restart", "-t", "0", name)


def test_addresses_that_cannot_be(either: Host, network: str) -> None:
    if not either.is_ours:
        pytest.skip("dockerd 26 takes one of another subnet, and leaves the container without")
    name = network
    run(either, f"{name}b", "--network", name, "--ip6", "fd00:191:7::55")
    run(either, name)
    for address in ("fd00:191:7::55", "fd00:192::1"):
        done = either.docker("network", "connect", "--ip6", address, name, name, check=False)
        assert done.returncode, address
    run(either, f"{name}c")
    try:
        done = either.docker("network", "connect", "--ip6", "fd00::1", "bridge", f"{name}c", check=False)
        assert done.returncode
    finally:
        either.docker("rm", "-f", f"{name}c")


def test_a_subnet_of_the_instances_own(host: Host, name: str) -> None:
    host.docker("network", "create", "--ipv6", name)
    try:
        [shown] = json.loads(host.docker("network", "inspect", name).stdout)
        [own] = [each["Subnet"] for each in shown["IPAM"]["Config"] if ":" in each["Subnet"]]
        assert IPv6Network(own).subnet_of(IPv6Network("fd00::/8"))
    finally:
        host.docker("network", "rm", name)


def answer(address: str, port: int) -> bytes:
    try:
        with socket.create_connection((address, port), timeout=10) as connected:
            connected.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connected.recv(100)
    except ConnectionRefusedError:  # its server is not up yet
        return b""


def test_a_published_port_of_both_families(host: Host, name: str) -> None:
    host.docker("network", "create", "--ipv6", "--subnet", SUBNET, name)
    try:
        host.docker("run", "-d", "--name", name, "--network", name, "-p", "80", "busybox", *SERVE)
        ports = host.http("GET", f"/containers/{name}/json").json["NetworkSettings"]["Ports"]["80/tcp"]
        assert [each["HostIp"] for each in ports] == ["0.0.0.0", "::"]
        [number] = {int(each["HostPort"]) for each in ports}
        shown = host.docker("ps", "--filter", f"name={name}", "--format", "{{.Ports}}").stdout.strip()
        assert shown in (
            f"0.0.0.0:{number}->80/tcp, [::]:{number}->80/tcp",
            f"0.0.0.0:{number}->80/tcp, :::{number}->80/tcp",
        )
        for address in ("127.0.0.1", "fd00:191:7::1"):
            eventually(lambda at=address: answer(at, number).startswith(b"HTTP/1"), address)  # type: ignore[misc]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("::1", number), timeout=10)
        host.docker("rm", "-f", name)
        made = host.docker("run", "-d", "--name", name, "-p", "[::1]:80:80", "busybox", check=False)
        assert made.returncode and "leads nothing from there" in made.stderr
    finally:
        host.docker("rm", "-f", name, check=False)
        host.docker("network", "rm", name)


def test_what_is_wrong_about_ipv6_is_told(http: Http, name: str) -> None:
    for config, words in (
        ({"IPAM": {"Config": [{"Subnet": SUBNET}]}}, "which the network is not to have"),
        ({"EnableIPv6": True, "IPAM": {"Config": [{"Subnet": "fd00::1/64"}]}}, "it should be fd00::/64"),
    ):
        answer = http("POST", "/networks/create", {"Name": name, **config})
        assert answer.status == 400 and words in answer.message


COMPOSE = """
services:
  web: {image: busybox, init: true, command: [sleep, "99"], networks: {six: {ipv6_address: "fd00:191:8::77"}}}
  own: {image: busybox, init: true, command: [sleep, "1000"]}
networks:
  default: {enable_ipv6: true}
  six: {enable_ipv6: true, ipam: {config: [{subnet: "fd00:191:8::/64"}, {subnet: 10.191.8.0/24}]}}
"""


def test_by_compose(host: Host, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "compose.yaml").write_text(COMPOSE)
    try:
        host.compose(folder, "up", "-d", "--wait")
        assert endpoint(host, f"{name}-web-1", f"{name}_six")["GlobalIPv6Address"] == "fd00:191:8::77"
        own = endpoint(host, f"{name}-own-1", f"{name}_default")["GlobalIPv6Address"]
        assert IPv6Address(own) in IPv6Network("fd00::/8")
        again = host.compose(folder, "up", "-d", "--wait")
        assert "Recreate" not in again.stdout + again.stderr
    finally:
        host.compose(folder, "down", "-t", "0", check=False)
