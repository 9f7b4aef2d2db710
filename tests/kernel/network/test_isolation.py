"""Who may talk to whom: within a network, between networks, and by whose address."""

from __future__ import annotations

import json
import socket
import struct

import pytest

from runtime.model import Ipv6Config, PortConfig
from tests.kernel.network.conftest import HOST_ADDRESS, LAN_ADDRESS, LAN_ADDRESS6, Lab, run

UDP = socket.SOCK_DGRAM


async def test_of_a_routed_network_who_goes_out_is_seen_by_its_own_address(lab: Lab, bridged: bool) -> None:
    """And nothing else changes by it: from outside no more comes in than before."""
    lab.wire6()
    lab.network("plain")
    lab.network(routed=True, ipv6=Ipv6Config())
    lab.network("other", routed=True)
    one = await lab.sandbox("one", "web", ports=(PortConfig(80, 8099),))
    await lab.sandbox("two", "plain")
    three = await lab.sandbox("three", "other")
    outside, outside6 = lab.serve("lan", 7000), lab.serve("lan", 7001, address="::")
    assert lab.call("one", LAN_ADDRESS, 7000, outside) == one.addresses["web"]
    assert lab.call("one", LAN_ADDRESS6, 7001, outside6) == one.addresses6["web"]
    assert lab.call("two", LAN_ADDRESS, 7000, outside) == HOST_ADDRESS, "this one is masqueraded"

    inside, closed = lab.serve("one", 80), lab.serve("one", 81)
    assert lab.call("lan", HOST_ADDRESS, 8099, inside) == LAN_ADDRESS, "published"
    for server, number in ((inside, 80), (closed, 81)):
        assert not lab.is_reached("lan", one.addresses["web"], number, server), "not by its own address"
        assert not lab.is_reached("three", one.addresses["web"], number, server), "nor from another network"
    assert not lab.is_reached("one", three.addresses["other"], 80, lab.serve("three", 80))


async def test_neighbours_talk_and_networks_do_not(lab: Lab, bridged: bool) -> None:
    lab.network("front")
    lab.network("back")
    web = await lab.sandbox("web", "front")
    await lab.sandbox("web-2", "front")
    database = await lab.sandbox("db", "back")
    await lab.sandbox("both", "front", "back")
    on_front, on_back = lab.serve("web", 80), lab.serve("db", 5432)

    assert lab.call("web-2", web.addresses["front"], 80, on_front)
    assert not lab.is_reached("web", database.addresses["back"], 5432, on_back)
    assert not lab.is_reached("db", web.addresses["front"], 80, on_front)
    assert lab.call("both", web.addresses["front"], 80, on_front)
    assert lab.call("both", database.addresses["back"], 5432, on_back)


async def test_isolated_network_keeps_containers_apart(lab: Lab, bridged: bool) -> None:
    lab.network("guests", isolated=True)
    one = await lab.sandbox("one", "guests", ports=(PortConfig(80, 8080),))
    await lab.sandbox("two", "guests")
    server, outside = lab.serve("one", 80), lab.serve("lan", 7000)

    assert not lab.is_reached("two", one.addresses["guests"], 80, server)
    assert lab.call("two", LAN_ADDRESS, 7000, outside) == HOST_ADDRESS
    assert lab.call("lan", HOST_ADDRESS, 8080, server) == LAN_ADDRESS
    if not bridged:  # where br_netfilter is on, the bridge itself would have to turn the frame to a neighbour
        assert lab.call("two", HOST_ADDRESS, 8080, server)  # what is published is for everybody


async def test_isolated_containers_do_not_reach_each_other_by_the_host_either(lab: Lab) -> None:
    lab.network("guests", isolated=True)
    one = await lab.sandbox("one", "guests")
    await lab.sandbox("two", "guests")
    server = lab.serve("one", 80)
    with lab.networks._instance.opened("two") as netns, lab.networks._instance.home.inside(netns):
        gateway = lab.networks.list()[0].gateway
        run("ip", "route", "add", one.addresses["guests"], "via", gateway)

    assert not lab.is_reached("two", one.addresses["guests"], 80, server)


async def test_internal_network_has_no_way_out(lab: Lab, bridged: bool) -> None:
    lab.network("inner", internal=True)
    lab.network("web")
    one = await lab.sandbox("one", "inner")
    await lab.sandbox("two", "inner")
    other = await lab.sandbox("other", "web", ports=(PortConfig(80, 8080),))
    neighbour, outside, published = lab.serve("one", 80), lab.serve("lan", 7000), lab.serve("other", 80)

    assert lab.call("two", one.addresses["inner"], 80, neighbour)
    assert not lab.is_reached("two", LAN_ADDRESS, 7000, outside)
    # Even if somebody inside adds a route.
    gateway = next(each.gateway for each in lab.networks.list() if each.name == "inner")
    with lab.networks._instance.opened("two") as netns, lab.networks._instance.home.inside(netns):
        run("ip", "route", "add", "default", "via", gateway)
    assert not lab.is_reached("two", LAN_ADDRESS, 7000, outside)
    assert not lab.is_reached("two", HOST_ADDRESS, 8080, published)
    assert not lab.is_reached("two", other.addresses["web"], 80, published)
    assert not lab.is_reached("other", one.addresses["inner"], 80, neighbour)


async def test_way_out_is_by_the_first_network_that_has_one(lab: Lab) -> None:
    lab.network("inner", internal=True)
    lab.network("web")
    await lab.sandbox("one", "inner", "web", ports=(PortConfig(80, 8080),))
    server, outside = lab.serve("one", 80), lab.serve("lan", 7000)

    assert lab.call("one", LAN_ADDRESS, 7000, outside) == HOST_ADDRESS
    assert lab.call("lan", HOST_ADDRESS, 8080, server) == LAN_ADDRESS


@pytest.mark.parametrize("is_router", [False, True], ids=["guarded", "router"])
async def test_container_does_not_send_by_anothers_address(lab: Lab, bridged: bool, is_router: bool) -> None:
    """Not even one whose ports are not guarded, when it is no address of its network."""
    lab.routers |= {"one"} if is_router else set()
    lab.network("web")
    await lab.sandbox("one", "web")
    outside = lab.serve("lan", 7000, UDP)
    raw = lab.networks.socket_in("one", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        raw.sendto(_datagram("203.0.113.5", LAN_ADDRESS, 7000), (LAN_ADDRESS, 0))
        outside.settimeout(0.25)
        try:
            _data, peer = outside.recvfrom(100)
        except TimeoutError:
            peer = None
        assert peer is None
        own = lab.networks.list_sandboxes()[0].addresses["web"]
        raw.sendto(_datagram(own, LAN_ADDRESS, 7000), (LAN_ADDRESS, 0))
        assert outside.recvfrom(100)[1][0] == HOST_ADDRESS


def _datagram(source: str, target: str, port: int) -> bytes:
    """An IPv4 packet with a UDP datagram; the kernel fills in checksum and length."""
    udp = struct.pack("!HHHH", 4000, port, 8 + 4, 0) + b"fake"
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0)
    return head + socket.inet_aton(source) + socket.inet_aton(target) + udp


async def test_containers_do_not_reach_loopback_services_of_the_host(lab: Lab, bridged: bool) -> None:
    """CVE-2020-8558: route_localnet is set on the bridges, so that 127.0.0.1 can be published."""
    lab.network("web")
    await lab.sandbox("one", "web")
    server, datagrams = (
        lab.serve("host", 9000, address="127.0.0.1"),
        lab.serve("host", 9001, UDP, "127.0.0.1"),
    )
    gateway = lab.networks.list()[0].gateway
    with lab.networks._instance.opened("one") as netns, lab.networks._instance.home.inside(netns):
        run("ip", "address", "del", "127.0.0.1/8", "dev", "lo")
        run("sysctl", "-w", "net.ipv4.conf.all.route_localnet=1")
        run("ip", "route", "add", "127.0.0.1/32", "via", gateway)

    assert not lab.is_reached("one", "127.0.0.1", 9000, server)
    assert not lab.is_reached("one", "127.0.0.1", 9001, datagrams)


async def test_no_ipv6_where_the_network_has_none(lab: Lab) -> None:
    """GHSA-x84c-p2g9-rqv9: link-local IPv6 by-passes what is said for IPv4."""
    lab.network("web")
    await lab.sandbox("one", "web")
    bridge = lab.networks.list()[0].bridge
    assert json.loads(run("ip", "-j", "-6", "address", "show", "dev", bridge)) == []
    with lab.networks._instance.opened("one") as netns, lab.networks._instance.home.inside(netns):
        shown = json.loads(run("ip", "-j", "-6", "address", "show"))
    assert [link["ifname"] for link in shown] == ["lo"]
