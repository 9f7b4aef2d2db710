"""Fields that say whom a container talks to, and by which names and ports it is reached."""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.project import BASE, Project, firewall
from tests.e2e.story import Story, eventually

COMPOSE = (
    BASE
    + """
x-web: &web
  image: busybox:latest
  stop_signal: SIGKILL
  command:
    - sh
    - -c
    - >-
      mkdir -p /www; echo "served by $$NAME" >/www/index.html;
      httpd -p 8080 -h /www; httpd -p 8081 -h /www;
      exec httpd -f -p 80 -h /www
services:
  web:
    <<: *web
    environment: {NAME: web}
    expose: ["80", 8080-8081/tcp]
    ports:
      - "127.0.0.1:{p0}:80"
      - {target: 80, published: "{p1}", host_ip: 127.0.0.1, protocol: tcp, mode: host}
      - "127.0.0.1:{p2}-{p3}:8080-8081"
      - "127.0.0.1:{p4}:5353/udp"
      - "{p5}:80"
      - "80"
    networks:
      front: {aliases: [shop, www.shop.test], ipv4_address: 10.{net}.7.77}
      back:
  client:
    <<: *base
    networks: [front]
    dns: [10.9.9.9, 10.9.9.8]
    dns_search: example.test
    dns_opt: ["ndots:3"]
  stranger: {<<: *base, networks: [back]}
  default: {<<: *web, environment: {NAME: default}}
  ordered:
    <<: *base
    networks: {back: {priority: 1}, front: {priority: 1000, mac_address: "02:42:ac:11:00:99"}}
  replicas:
    <<: *web
    environment: {NAME: replica}
    scale: 2
    ports: ["127.0.0.1:{p6}-{p7}:80"]
    networks: {front: {aliases: [any]}}
  linked:
    <<: *base
    networks: [front]
    links: ["web:shop-front"]
    external_links: ["network-ordered-1:second"]
  inner: {<<: *base, networks: [internal]}
  none: {<<: *base, network_mode: none}
  host: {<<: *base, network_mode: host, extra_hosts: ["gw.test:host-gateway", "one.test=10.1.1.1"]}
  bridge: {<<: *base, network_mode: bridge}
  joiner: {<<: *base, network_mode: "service:web"}
  by-name: {<<: *base, network_mode: "container:network-default-1"}
  hosts:
    <<: *base
    networks: [front]
    extra_hosts: ["a.test:10.1.2.3", "b.test=10.1.2.4", "gw.test:host-gateway", "six.test:[fd00::1]"]
  hosts-map: {<<: *base, networks: [front], extra_hosts: {c.test: 10.1.2.5, d.test: [10.1.2.6, 10.1.2.7]}}
  sysctls: {<<: *base, sysctls: {net.core.somaxconn: 77, net.ipv4.ip_forward: "1", kernel.msgmax: 65000}}
networks:
  front: {ipam: {config: [{subnet: 10.{net}.7.0/24, gateway: 10.{net}.7.254}]}, labels: {of: front}}
  back: {name: backstage.net, driver_opts: {com.docker.network.driver.mtu: 1400}}
  internal: {internal: true}
"""
)


@pytest.fixture(scope="module")
def ports() -> list[int]:
    """Eight free host ports; 2 and 3, and 6 and 7, are neighbours."""
    return _free_ports(8)


def _free_ports(count: int) -> list[int]:
    while True:
        first = 20000 + secrets.randbelow(10000)
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        stack.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
            except OSError:
                continue
        return list(range(first, first + count))


@pytest.fixture(scope="module")
def subnet() -> int:
    return 100 + secrets.randbelow(100)


@pytest.fixture(scope="module")
def project(shared_story: Story, ports: list[int], subnet: int) -> Iterator[Project]:
    found = Project(shared_story, "network")
    compose = COMPOSE.replace("{net}", str(subnet))
    for number, port in enumerate(ports):
        compose = compose.replace(f"{{p{number}}}", str(port))
    found.apply(compose)
    yield found


def page(project: Project, port: int, expected: str) -> bool:
    """Whether the page at a port of 127.0.0.1 says so, within a while."""
    said = lambda: expected in project.story.fetch(port)  # noqa: E731
    return bool(eventually(said, f"{expected!r} on port {port}"))


def get(project: Project, name: str, url: str) -> str:
    return eventually(
        lambda: project.run(name, "wget", "-q", "-T", "2", "-O-", url, code=None).strip(),
        f"{url} from {name}",
    )


# --- ports --------------------------------------------------------------------------------------


def test_ports_short_and_long(project: Project, ports: list[int]) -> None:
    assert page(project, ports[0], "served by web")
    assert page(project, ports[1], "served by web")


def test_ports_of_a_range_are_pairs(project: Project, ports: list[int]) -> None:
    assert page(project, ports[2], "served by web")
    assert page(project, ports[3], "served by web")
    rules = firewall(project.story.layout)
    for at, target in ((2, 8080), (3, 8081)):
        assert re.search(rf"127\.0\.0\.1 \. tcp \. {ports[at]} : [0-9.]+ \. {target}\b", rules)


UDP_ECHO = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("0.0.0.0", 5353))
    data, peer = server.recvfrom(100)
    server.sendto(data, peer)
"""


def test_a_udp_port(project: Project, ports: list[int]) -> None:
    """busybox has no server for it: one of ours runs in the container's network."""
    server = subprocess.Popen(
        ["nsenter", "-t", str(project.pid("web")), "-n", sys.executable, "-c", UDP_ECHO]
    )
    with server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.2)
        client.connect(("127.0.0.1", ports[4]))

        def answer() -> bytes:
            with contextlib.suppress(OSError):
                client.send(b"hello")
                return client.recv(100)
            return b""

        assert eventually(answer, "an answer over UDP") == b"hello"


def test_a_port_without_an_address_is_on_all_of_the_host(project: Project, ports: list[int]) -> None:
    assert page(project, ports[5], "served by web")
    gateway = project.sh("client", "ip route").split()[2]
    assert get(project, "client", f"http://{gateway}:{ports[5]}/") == "served by web"
    with pytest.raises(OSError, match=r"refused|timed out"):
        socket.create_connection((gateway, ports[0]), 0.5)  # that one is on 127.0.0.1 alone


def test_a_port_without_a_host_port_gets_one(project: Project) -> None:
    published = [port for port in project.container("web")["ports"] if port["container_port"] == 80]
    assert len(published) == 4
    assert all(port["host_port"] for port in published)
    for port in published:
        assert page(project, port["host_port"], "served by web")


def test_each_replica_has_its_port_of_a_range(project: Project, ports: list[int]) -> None:
    assert page(project, ports[6], "served by replica")
    assert page(project, ports[7], "served by replica")
    assert project.namespace("replicas", "net", 1) != project.namespace("replicas", "net", 2)


# --- networks -----------------------------------------------------------------------------------


def test_names_and_aliases_within_a_network(project: Project) -> None:
    for name in ("web", "shop", "www.shop.test", "network-web-1"):
        assert get(project, "client", f"http://{name}/") == "served by web"
    hosts = project.root("client", "/etc/hosts").read_text()
    assert len(re.findall(r"\sany\b", hosts)) == 2  # both replicas
    assert get(project, "client", "http://any/") == "served by replica"


def test_links(project: Project) -> None:
    lines = [line.split() for line in project.root("linked", "/etc/hosts").read_text().splitlines()]
    assert next(line for line in lines if line[1:] == ["shop-front"])[0].endswith(".7.77")
    assert any(line[1:] == ["second"] for line in lines)
    assert "shop-front" not in project.root("client", "/etc/hosts").read_text()


def test_names_end_at_the_network(project: Project) -> None:
    assert "default" not in project.root("client", "/etc/hosts").read_text().split()
    assert get(project, "stranger", "http://web/") == "served by web"  # over the other network
    assert "client" not in project.root("stranger", "/etc/hosts").read_text().split()
    front = project.container("client")["addresses"]
    project.run("stranger", "ping", "-c1", "-W1", next(iter(front.values())), code=1)


def test_a_static_address_and_its_subnet(project: Project, subnet: int) -> None:
    assert project.container("web")["addresses"]["network_front"] == f"10.{subnet}.7.77"
    assert f"default via 10.{subnet}.7.254" in project.sh("client", "ip route")


def test_a_networks_own_name_and_mtu(project: Project) -> None:
    assert set(project.container("stranger")["addresses"]) == {"backstage.net"}
    assert "mtu 1400" in project.sh("stranger", "ip link show eth0")


def test_several_networks_in_their_order(project: Project, subnet: int) -> None:
    shown = project.sh("ordered", "ip -o -4 addr show eth0; cat /sys/class/net/eth0/address; ip route")
    assert f"inet 10.{subnet}.7." in shown.splitlines()[0]
    assert "02:42:ac:11:00:99" in shown
    assert f"default via 10.{subnet}.7.254 dev eth0" in shown
    assert len(project.container("ordered")["addresses"]) == 2


def test_an_internal_network_has_no_way_out(project: Project) -> None:
    assert "default" not in project.sh("inner", "ip route")
    assert "nameserver" not in project.root("inner", "/etc/resolv.conf").read_text()


def test_the_default_network_is_there_for_who_names_none(project: Project) -> None:
    assert set(project.container("default")["addresses"]) == {"network_default"}


# --- network_mode -------------------------------------------------------------------------------


def test_network_mode_none(project: Project) -> None:
    assert project.sh("none", "ls /sys/class/net").split() == ["lo"]
    assert "127.0.0.1" in project.sh("none", "ip addr show lo")
    assert "localhost" in project.root("none", "/etc/hosts").read_text()


def test_network_mode_host(project: Project) -> None:
    assert project.namespace("host", "net") == str(Path("/proc/self/ns/net").readlink())
    assert project.root("host", "/etc/resolv.conf").read_text() == Path("/etc/resolv.conf").read_text()
    hosts = lines_of(project, "host")
    assert hosts["one.test"] == "10.1.1.1"
    assert hosts["gw.test"] == "127.0.0.1"  # the host itself


def test_network_mode_bridge(project: Project) -> None:
    assert set(project.container("bridge")["addresses"]) == {"bridge"}


def test_network_mode_service(project: Project) -> None:
    assert project.namespace("joiner", "net") == project.namespace("web", "net")
    assert get(project, "joiner", "http://127.0.0.1/") == "served by web"
    assert project.root("joiner", "/etc/hosts").read_text() == project.root("web", "/etc/hosts").read_text()


def test_network_mode_container(project: Project) -> None:
    assert project.namespace("by-name", "net") == project.namespace("default", "net")
    assert project.namespace("by-name", "pid") != project.namespace("default", "pid")


# --- names --------------------------------------------------------------------------------------


def lines_of(project: Project, name: str) -> dict[str, str]:
    """name -> address, the first line that has it."""
    found: dict[str, str] = {}
    for line in project.root(name, "/etc/hosts").read_text().splitlines():
        address, *names = line.split() or [""]
        for each in names:
            found.setdefault(each, address)
    return found


def test_extra_hosts(project: Project, subnet: int) -> None:
    found = lines_of(project, "hosts")
    assert (found["a.test"], found["b.test"], found["six.test"]) == ("10.1.2.3", "10.1.2.4", "fd00::1")
    assert found["gw.test"] == f"10.{subnet}.7.254"
    found = lines_of(project, "hosts-map")
    assert (found["c.test"], found["d.test"]) == ("10.1.2.5", "10.1.2.6")
    assert "10.1.2.7\td.test" in project.root("hosts-map", "/etc/hosts").read_text()


def test_dns(project: Project) -> None:
    text = project.root("client", "/etc/resolv.conf").read_text()
    assert text == "nameserver 10.9.9.9\nnameserver 10.9.9.8\nsearch example.test\noptions ndots:3\n"


# --- sysctls ------------------------------------------------------------------------------------


def test_sysctls(project: Project) -> None:
    names = "net/core/somaxconn net/ipv4/ip_forward kernel/msgmax net/ipv4/ip_unprivileged_port_start"
    script = f"cd /proc/sys; cat {names}"
    assert project.sh("sysctls", script).split() == ["77", "1", "65000", "0"]
    assert project.sh("client", "cat /proc/sys/net/core/somaxconn").strip() != "77"


def test_a_sysctl_of_the_whole_host_is_refused(project: Project) -> None:
    other = Project(project.story, "badsysctl")
    text = f"{BASE}services:\n  a: {{<<: *base, sysctls: {{vm.swappiness: 5}}}}\n"
    other.apply(text, unready=("a",))
    said = lambda: other.refresh() and other.object("a")["phase"] == "Stalled"  # noqa: E731
    eventually(said, "it is Stalled")
    assert "vm.swappiness" in other.object("a")["message"]
    assert "whole host" in other.object("a")["message"]
    project.story.commit({"badsysctl/compose.yaml": None})
    project.story.setpoint("sync")
