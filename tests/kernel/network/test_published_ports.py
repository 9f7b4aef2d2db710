"""Published ports, asked from everywhere: who reaches them, and who must not."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import pytest

from runtime.errors import Conflict, Invalid, Temporary
from runtime.layout import Layout
from runtime.model import PortConfig, SandboxConfig
from runtime.network.networks import Networks
from runtime.network.remove import remove_all
from tests import leaks
from tests.kernel.network.conftest import HOST_ADDRESS, LAN_ADDRESS, Lab, run

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM


@pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])
async def test_port_on_all_addresses_is_reached_from_everywhere(lab: Lab, bridged: bool, kind: int) -> None:
    lab.network("web")
    lab.network("other")
    protocol = "tcp" if kind == TCP else "udp"
    state = await lab.sandbox("web-1", "web", ports=(PortConfig(80, 8080, protocol),))
    await lab.sandbox("web-2", "web")
    await lab.sandbox("other-1", "other")
    server = lab.serve("web-1", 80, kind)
    gateway = lab.networks.list()[0].gateway

    assert lab.call("lan", HOST_ADDRESS, 8080, server) == LAN_ADDRESS  # the caller's address is kept
    assert lab.call("host", HOST_ADDRESS, 8080, server) == HOST_ADDRESS
    assert lab.call("host", "127.0.0.1", 8080, server) == gateway
    assert lab.call("host", gateway, 8080, server) == gateway
    assert lab.call("other-1", HOST_ADDRESS, 8080, server) == gateway
    assert lab.call("web-2", HOST_ADDRESS, 8080, server) == gateway
    assert lab.call("web-1", HOST_ADDRESS, 8080, server) == gateway  # hairpin
    assert lab.call("host", state.addresses["web"], 80, server) == gateway
    assert lab.call("web-2", "web-1" and state.addresses["web"], 80, server).startswith("10.201.0.")


@pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])
async def test_port_on_loopback_is_reached_from_the_host_alone(lab: Lab, bridged: bool, kind: int) -> None:
    lab.network("web")
    protocol = "tcp" if kind == TCP else "udp"
    state = await lab.sandbox("web-1", "web", ports=(PortConfig(80, 8080, protocol, "127.0.0.1"),))
    await lab.sandbox("web-2", "web")
    server = lab.serve("web-1", 80, kind)
    with lab.lan():
        run("ip", "route", "add", "127.0.0.1/32", "via", HOST_ADDRESS, "dev", "lan0", "table", "10")
        run("ip", "rule", "add", "pref", "0", "to", "127.0.0.1", "lookup", "10")
        run("ip", "rule", "add", "pref", "1", "lookup", "local")
        run("ip", "rule", "del", "pref", "0", "lookup", "local")
        run("sysctl", "-w", "net.ipv4.conf.all.route_localnet=1")
    run("sysctl", "-w", "net.ipv4.conf.all.route_localnet=1")  # as some tools set it on a host

    assert lab.call("host", "127.0.0.1", 8080, server)
    assert not lab.is_reached("lan", HOST_ADDRESS, 8080, server)
    assert not lab.is_reached("lan", "127.0.0.1", 8080, server)
    assert not lab.is_reached("host", HOST_ADDRESS, 8080, server)
    assert not lab.is_reached("web-2", HOST_ADDRESS, 8080, server)
    assert not lab.is_reached("lan", state.addresses["web"], 80, server)


async def test_port_on_one_address_of_the_host(lab: Lab) -> None:
    run("ip", "address", "add", "198.51.100.9/24", "dev", "wan0")
    lab.network("web")
    await lab.sandbox("web-1", "web", ports=(PortConfig(80, 8080, host_ip="198.51.100.9"),))
    server = lab.serve("web-1", 80)

    assert lab.call("lan", "198.51.100.9", 8080, server) == LAN_ADDRESS
    assert not lab.is_reached("lan", HOST_ADDRESS, 8080, server)
    assert not lab.is_reached("host", "127.0.0.1", 8080, server)


async def test_what_is_not_published_is_not_reached_from_outside(lab: Lab, bridged: bool) -> None:
    """moby#45610: a neighbour with a route to the container's address."""
    lab.network("web")
    state = await lab.sandbox("web-1", "web", ports=(PortConfig(80, 8080),))
    address = state.addresses["web"]
    published, hidden = lab.serve("web-1", 80), lab.serve("web-1", 5432)
    hidden_udp = lab.serve("web-1", 53, UDP)

    assert not lab.is_reached("lan", address, 80, published)
    assert not lab.is_reached("lan", address, 5432, hidden)
    assert not lab.is_reached("lan", address, 53, hidden_udp)
    assert lab.call("host", address, 5432, hidden)  # the host itself may


async def test_the_way_out_is_by_the_hosts_address(lab: Lab) -> None:
    lab.network("web")
    await lab.sandbox("web-1", "web")
    server, datagrams = lab.serve("lan", 7000), lab.serve("lan", 7001, UDP)

    assert lab.call("web-1", LAN_ADDRESS, 7000, server) == HOST_ADDRESS
    assert lab.call("web-1", LAN_ADDRESS, 7001, datagrams) == HOST_ADDRESS


async def test_port_goes_over_to_another_sandbox_without_a_gap_in_the_table(lab: Lab) -> None:
    lab.network("web")
    port = PortConfig(80, 8080)
    await lab.sandbox("web-1", "web", ports=(port,))
    with pytest.raises(Conflict, match=r"0.0.0.0:8080/tcp is published by web-1"):
        await lab.sandbox("web-2", "web", ports=(port,))

    await lab.networks.release_ports("web-1")
    await lab.sandbox("web-2", "web", ports=(port,))

    server = lab.serve("web-2", 80)
    assert lab.call("lan", HOST_ADDRESS, 8080, server) == LAN_ADDRESS
    assert lab.networks.ports("web-1") == ()
    assert lab.networks.find_drift() == ()


async def test_ports_change_while_the_sandbox_lives(lab: Lab) -> None:
    lab.network("web")
    before = await lab.sandbox("web-1", "web", ports=(PortConfig(80, 8080),))
    server = lab.serve("web-1", 80)
    after = await lab.sandbox("web-1", "web", ports=(PortConfig(80, 9090), PortConfig(80, 9091)))

    assert before == after
    assert lab.call("lan", HOST_ADDRESS, 9090, server) == LAN_ADDRESS
    assert lab.call("lan", HOST_ADDRESS, 9091, server) == LAN_ADDRESS
    assert not lab.is_reached("lan", HOST_ADDRESS, 8080, server)


@pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])
async def test_port_of_a_host_process_is_refused_with_its_name(lab: Lab, kind: int) -> None:
    lab.network("web")
    lab.serve("host", 8080, kind, "127.0.0.1")
    protocol = "tcp" if kind == TCP else "udp"
    with pytest.raises(Conflict, match=r"8080/(tcp|udp) is in use by \S+ \(pid \d+\) \(hint: stop it"):
        await lab.sandbox("web-1", "web", ports=(PortConfig(80, 8080, protocol),))

    assert lab.networks.list_sandboxes() == ()
    other = "udp" if protocol == "tcp" else "tcp"
    await lab.sandbox("web-1", "web", ports=(PortConfig(80, 8080, other),))


@pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])
async def test_published_port_is_held_against_the_host_until_it_is_released(lab: Lab, kind: int) -> None:
    """A process that took it would be led past in silence."""
    lab.network("web")
    port = PortConfig(80, 8080, "tcp" if kind == TCP else "udp", "127.0.0.1")
    await lab.sandbox("web-1", "web", ports=(port,))
    for _ in ("before", "after a restart"):
        with pytest.raises(OSError, match="Address already in use"):
            lab.serve("host", 8080, kind)
        lab.reopen()
    await lab.networks.release_ports("web-1")
    lab.serve("host", 8080, kind).close()


async def test_port_of_a_container_beside_at_another_address_is_refused_with_its_name(lab: Lab) -> None:
    lab.network("web")
    await lab.sandbox("web-1", "web", ports=(PortConfig(80, 8080, host_ip="127.0.0.1"),))
    with pytest.raises(Conflict, match=r"port shop: 0.0.0.0:8080/tcp is in use by web-1 "):
        lab.networks.check_ports(SandboxConfig("own", "other", ports=(PortConfig(80, 8080),)), "shop")


async def test_port_of_another_instance_is_refused_with_its_name(lab: Lab, tmp_path: Path) -> None:
    lab.network("web")
    port = PortConfig(80, 8080)
    await lab.sandbox("web-1", "web", ports=(port,))
    beside = Layout(f"{lab.layout.instance}b", tmp_path, lab.layout.run_root)
    networks = Networks(beside)
    networks.open()
    try:
        config = SandboxConfig("own", "other", ports=(dataclasses.replace(port, host_ip="127.0.0.1"),))
        with pytest.raises(
            Conflict,
            match=rf"port shop: 127.0.0.1:8080/tcp is in use by web-1 of instance {lab.layout.instance}",
        ):
            networks.check_ports(config, "shop")
    finally:
        networks.close()
        remove_all(beside)
        leaks.clean(beside)


async def test_port_on_an_address_that_the_host_lacks_waits(lab: Lab) -> None:
    lab.network("web")
    with pytest.raises(Temporary, match=r"203\.0\.113\.7 is not an address of this host"):
        await lab.sandbox("web-1", "web", ports=(PortConfig(80, 8080, host_ip="203.0.113.7"),))


async def test_port_without_a_number_gets_one_and_keeps_it(lab: Lab) -> None:
    lab.network("web")
    await lab.sandbox("web-1", "web", ports=(PortConfig(80, 0), PortConfig(80, 0)))
    first = lab.networks.ports("web-1")
    assert len({port.host_port for port in first}) == 2
    assert all(port.host_port for port in first)

    await lab.sandbox("web-1", "web", ports=(PortConfig(80, 0), PortConfig(80, 0)))
    assert lab.networks.ports("web-1") == first
    server = lab.serve("web-1", 80)
    assert lab.call("lan", HOST_ADDRESS, first[0].host_port, server) == LAN_ADDRESS


async def test_one_of_several_ports_is_free_and_kept(lab: Lab) -> None:
    lab.network("web")
    lab.serve("host", 8080, TCP, "127.0.0.1")
    wanted = (PortConfig(80, 8080, among=(8080, 8082)),)
    for id in ("web-1", "web-2"):
        await lab.sandbox(id, "web", ports=wanted)
    assert [lab.networks.ports(id)[0].host_port for id in ("web-1", "web-2")] == [8081, 8082]
    with pytest.raises(Conflict, match="none of the ports 8080-8082/tcp is free"):
        await lab.sandbox("web-3", "web", ports=wanted)

    lab.reopen()
    await lab.sandbox("web-2", "web", ports=wanted)
    assert lab.networks.ports("web-2")[0].host_port == 8082
    server = lab.serve("web-2", 80)
    assert lab.call("lan", HOST_ADDRESS, 8082, server) == LAN_ADDRESS


async def test_port_needs_a_network_with_a_way_out(lab: Lab) -> None:
    lab.network("inner", internal=True)
    with pytest.raises(Invalid, match="none of its networks has a way out"):
        await lab.sandbox("web-1", "inner", ports=(PortConfig(80, 8080),))


async def test_udp_client_that_never_pauses_follows_the_port(lab: Lab) -> None:
    """The same flow, before the port is published, and when it goes over to another container."""
    lab.network("web")
    client = lab.socket_at("lan", UDP)
    client.bind(("", 4444))
    client.sendto(b"too early", (HOST_ADDRESS, 5353))
    port = (PortConfig(53, 5353, "udp"),)
    for id in ("one", "two"):
        await lab.sandbox(id, "web", ports=port)
        server = lab.serve(id, 53, UDP)
        client.sendto(b"question", (HOST_ADDRESS, 5353))
        assert server.recvfrom(100) == (b"question", (LAN_ADDRESS, 4444))
        await lab.networks.release_ports(id)


async def test_same_port_for_tcp_and_udp(lab: Lab) -> None:
    lab.network("web")
    await lab.sandbox("dns", "web", ports=(PortConfig(53, 5353, "udp"), PortConfig(53, 5353, "tcp")))
    assert lab.call("lan", HOST_ADDRESS, 5353, lab.serve("dns", 53, UDP))
    assert lab.call("lan", HOST_ADDRESS, 5353, lab.serve("dns", 53, TCP))
