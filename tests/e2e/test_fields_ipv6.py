"""IPv6 as a manifest says it: addresses, names, ports, and what changes when it is said later."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv6Address, IPv6Network

import pytest

from tests.e2e.project import BASE, Project
from tests.e2e.story import Story, eventually, free_port

COMPOSE = (
    BASE
    + """
services:
  web:
    image: busybox:latest
    stop_signal: SIGKILL
    command: [httpd, -f, -p, "80"]
    ports: ["{port}:80"]
    networks: {own: , given: {ipv6_address: "fd00:e2e::77"}}
  client: {<<: *base, networks: [own]}
  four: {<<: *base, networks: [later]}
networks:
  own: {enable_ipv6: true}
  given:
    enable_ipv6: true
    internal: true
    ipam: {config: [{subnet: "fd00:e2e::/64", gateway: "fd00:e2e::1"}, {subnet: 10.191.9.0/24}]}
  later: {enable_ipv6: {later}}
"""
)


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def project(shared_story: Story, port: int) -> Iterator[Project]:
    found = Project(shared_story, "six")
    found.apply(COMPOSE.replace("{port}", str(port)).replace("{later}", "false"))
    yield found


def test_addresses(project: Project) -> None:
    found = project.container("web")["addresses6"]
    assert found["six_given"] == "fd00:e2e::77"
    own = IPv6Address(found["six_own"])
    assert own in IPv6Network("fd00::/8")
    shown = project.sh("web", "ip -6 address")
    assert f"{own}/64" in shown and "fd00:e2e::77/64" in shown
    assert project.container("four")["addresses6"] == {}
    assert project.sh("four", "ip -6 address show dev eth0") == ""


def test_names_lead_to_ipv6_too(project: Project) -> None:
    assert "1 packets received" in project.sh("client", "ping -6 -c 1 -W 5 web")


def test_a_port_on_every_address_of_the_host(project: Project, port: int) -> None:
    gateway = project.sh("client", "ip -6 route").partition("default via ")[2].split()[0]

    def answer() -> bytes:
        with socket.create_connection((gateway, port), timeout=10) as connected:
            connected.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connected.recv(100)

    assert eventually(answer, "an answer over IPv6").startswith(b"HTTP/1")


def test_it_is_said_by_describe(project: Project) -> None:
    assert "six_given fd00:e2e::77" in project.story.setpoint("describe", "six/web")


def test_ipv6_that_comes_later(project: Project, port: int) -> None:
    before = project.sh("web", "ip -6 address show dev eth0")
    project.apply(COMPOSE.replace("{port}", str(port)).replace("{later}", "true"))
    found = project.container("four")["addresses6"]["six_later"]
    assert f"{found}/64" in project.sh("four", "ip -6 address show dev eth0")
    assert project.sh("web", "ip -6 address show dev eth0") == before


def test_an_agent_that_was_killed_takes_it_over(project: Project) -> None:
    story, before = project.story, project.container("web")
    with story.without_agent():
        assert "nothing is lost" in story.setpoint("doctor", "--leaks")
    project.settle()
    after = project.container("web")
    assert (after["pid"], after["addresses6"]) == (before["pid"], before["addresses6"])
    assert story.setpoint("plan").splitlines()[0] == "nothing to do"  # then, what is Stalled of other modules
    assert "nothing is lost" in story.setpoint("doctor", "--leaks")
