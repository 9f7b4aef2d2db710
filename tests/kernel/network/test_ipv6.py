"""Networks with IPv6: addresses, the way out, published ports, and what does not pass."""

from __future__ import annotations

import errno
import json
import socket
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

import pytest

from runtime.errors import Conflict, Invalid, Unsupported
from runtime.model import EndpointConfig, Ipv6Config, PortConfig, SandboxConfig, SandboxState
from runtime.network import sandboxes
from tests.kernel.network.conftest import (
    HOST_ADDRESS,
    HOST_ADDRESS6,
    LAN_ADDRESS,
    LAN_ADDRESS6,
    Lab,
    run,
    until,
)

UDP = socket.SOCK_DGRAM
GIVEN = Ipv6Config("fd00:1:2:3::/64")


def inside(lab: Lab, sandbox: str, *arguments: str) -> str:
    instance = lab.networks._instance
    with instance.opened(sandbox) as netns, instance.home.inside(netns):
        return run(*arguments)


def bridge_of(lab: Lab, name: str) -> str:
    return next(each.bridge for each in lab.networks.list() if each.name == name)


async def with_address(lab: Lab, id: str, network: str, address: str) -> SandboxState:
    config = SandboxConfig("own", id, (EndpointConfig(network, ipv6=address),))
    return await lab.networks.ensure_sandbox(config, hostname=id, names=(id,))


async def test_an_interface_has_its_address_at_once_and_the_way_out(lab: Lab, bridged: bool) -> None:
    lab.wire6()
    lab.network(ipv6=GIVEN)
    one = await lab.sandbox("one", "web")
    await lab.sandbox("two", "web")
    assert one.addresses6 == {"web": "fd00:1:2:3::2"}
    found = json.loads(inside(lab, "one", "ip", "-j", "-6", "address", "show", "dev", "eth0"))[0]
    given = [each for each in found["addr_info"] if each["scope"] == "global"]  # not the kernel's
    assert given and not any(each.get("tentative") for each in given)
    assert "default via fd00:1:2:3::1 dev eth0" in inside(lab, "one", "ip", "-6", "route")

    neighbour, outside = lab.serve("one", 80, address="::"), lab.serve("lan", 7000, address="::")
    assert lab.call("two", one.addresses6["web"], 80, neighbour) == "fd00:1:2:3::3"
    assert lab.call("host", one.addresses6["web"], 80, neighbour) == "fd00:1:2:3::1"
    assert lab.call("one", LAN_ADDRESS6, 7000, outside) == HOST_ADDRESS6, "masqueraded"
    assert not lab.is_reached("lan", one.addresses6["web"], 80, neighbour), "not published"


async def test_a_subnet_is_derived_from_the_instance_and_stays(lab: Lab) -> None:
    for name in ("web", "db"):
        lab.network(name, ipv6=Ipv6Config())
    before = {each.name: each.subnet6 for each in lab.networks.list()}
    web, db = (IPv6Network(before[name]) for name in ("web", "db"))
    assert web.subnet_of(IPv6Network("fd00::/8"))
    assert web.prefixlen == db.prefixlen == 64
    assert web != db
    assert web.supernet(new_prefix=48) == db.supernet(new_prefix=48)
    one = await lab.sandbox("one", "web")
    assert IPv6Address(one.addresses6["web"]) in web
    lab.reopen()
    assert {each.name: each.subnet6 for each in lab.networks.list()} == before
    assert (await lab.sandbox("one", "web")).addresses6 == one.addresses6
    await lab.networks.delete_sandbox("one")
    await lab.networks.delete("web")
    lab.network("web", ipv6=Ipv6Config())
    assert {each.name: each.subnet6 for each in lab.networks.list()} == before


async def test_an_address_that_is_asked_for(lab: Lab) -> None:
    lab.network(ipv6=Ipv6Config("fd00:1::/64", "fd00:1::fe", "fd00:1::10/124", {"router": "fd00:1::10"}))
    one = await with_address(lab, "one", "web", "fd00:1::ffff")
    assert one.addresses6 == {"web": "fd00:1::ffff"}
    assert (await lab.sandbox("two", "web")).addresses6 == {"web": "fd00:1::11"}
    for address, error in (
        ("fd00:1::ffff", Conflict), ("fd00:1::10", Conflict), ("fd00:1::fe", Invalid), ("fd00:2::1", Invalid),
        ("fe80::1%eth0", Invalid), ("10.0.0.1", Invalid),
    ):  # fmt: skip
        with pytest.raises(error):
            await with_address(lab, "three", "web", address)
    # In place: the other family's stays.
    before = one.addresses
    changed = await with_address(lab, "one", "web", "fd00:1::eeee")
    assert changed.addresses6 == {"web": "fd00:1::eeee"}
    shown = inside(lab, "one", "ip", "-6", "address")
    assert "fd00:1::eeee/64" in shown
    assert "fd00:1::ffff" not in shown
    assert changed.addresses.keys() == before.keys()


@pytest.mark.parametrize(
    ("subnet", "reason"),
    [
        ("fd00::1/64", "host bits"), ("fe80::/64", "not for hosts"), ("ff00::/64", "not for hosts"),
        ("::/64", "not for hosts"), ("::ffff:0:0/112", "not for hosts"), ("fd00::/126", "too small"),
        ("fc00::/7", "too large"), ("10.0.0.0/24", "not an IPv6 subnet"),
        ("2001:db8:9::/64", "overlaps an? "),
    ],
)  # fmt: skip
def test_subnets_that_cannot_be(lab: Lab, subnet: str, reason: str) -> None:
    lab.wire6()
    with pytest.raises((Invalid, Conflict), match=reason):
        lab.network(ipv6=Ipv6Config(subnet))
    assert lab.networks.list() == ()


def test_two_networks_share_no_range(lab: Lab) -> None:
    lab.network(ipv6=GIVEN)
    with pytest.raises(Conflict, match=r"overlaps network web"):
        lab.network("other", ipv6=Ipv6Config("fd00:1:2::/48"))
    lab.network(ipv6=GIVEN)
    for other in (None, Ipv6Config(), Ipv6Config("fd00:9::/64")):
        if other != Ipv6Config():
            with pytest.raises(Conflict, match="exists with another configuration"):
                lab.network(ipv6=other)
        else:
            lab.network(ipv6=other)  # any will do, and it has one


async def test_published_ports_lead_to_ipv6_too(lab: Lab, bridged: bool) -> None:
    lab.wire6()
    lab.network(ipv6=GIVEN)
    ports = (
        PortConfig(80, 8080), PortConfig(80, 8081, host_ip=HOST_ADDRESS6),
        PortConfig(80, 8082, host_ip="0.0.0.0"), PortConfig(80, 8083, host_ip="::"),
        PortConfig(53, 5353, "udp"),
    )  # fmt: skip
    one = await lab.sandbox("one", "web", ports=ports)
    await lab.sandbox("two", "web")
    server, names = lab.serve("one", 80, address="::"), lab.serve("one", 53, UDP, address="::")
    for port in (8080, 8081, 8083):
        assert lab.call("lan", HOST_ADDRESS6, port, server) == LAN_ADDRESS6
    assert not lab.is_reached("lan", HOST_ADDRESS6, 8082, server)
    assert not lab.is_reached("lan", HOST_ADDRESS, 8083, server)
    assert lab.call("lan", HOST_ADDRESS, 8080, server) == f"::ffff:{LAN_ADDRESS}"
    assert lab.call("lan", HOST_ADDRESS6, 5353, names) == LAN_ADDRESS6
    assert lab.call("host", HOST_ADDRESS6, 8080, server) == HOST_ADDRESS6
    assert lab.call("two", HOST_ADDRESS6, 8080, server), "a neighbour, by the host"
    assert lab.call("one", HOST_ADDRESS6, 8080, server), "itself, by the host"
    await lab.networks.release_ports("one")
    assert not lab.is_reached("lan", HOST_ADDRESS6, 8080, server)
    assert one.addresses6


async def test_who_calls_localhost_is_refused_by_ipv6_and_led_by_ipv4(lab: Lab) -> None:
    lab.network(ipv6=GIVEN)
    await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    server = lab.serve("one", 80, address="::")
    client = lab.socket_at("host", address="::1")
    with pytest.raises(ConnectionRefusedError):
        client.connect(("::1", 8080))
    assert lab.call("host", "127.0.0.1", 8080, server)


async def test_a_port_is_held_in_both_families(lab: Lab) -> None:
    lab.network(ipv6=GIVEN)
    lab.network("four")
    await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    with pytest.raises(OSError, match=str(errno.EADDRINUSE)):
        lab.serve("host", 8080, address="::")
    with pytest.raises(Conflict, match=r"\[::\]:8080/tcp is published by one"):
        await lab.sandbox("two", "web", ports=(PortConfig(80, 8080, host_ip="::"),))
    await lab.networks.delete_sandbox("one")
    holder = lab.socket_at("host", address="::")
    holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    holder.bind(("::", 8080))
    holder.listen()
    with pytest.raises(Conflict, match=r"\[::\]:8080/tcp is in use by .* \(pid"):
        await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    config = SandboxConfig("own", "one", (EndpointConfig("web"),), (PortConfig(80, 8080),))
    with pytest.raises(Conflict):
        lab.networks.check_ports(config, "one")
    await lab.sandbox("one", "four", ports=(PortConfig(80, 8080),))  # of no IPv6: nothing is in the way
    with pytest.raises(Invalid, match="has IPv6 and a way out"):
        await lab.sandbox("two", "four", ports=(PortConfig(80, 8090, host_ip="::"),))


@pytest.mark.parametrize("address", ["fe80::1", "::1", "fe80::1%wan0", "::ffff:1.2.3.4", "0::0", "ff02::1"])
async def test_addresses_that_nothing_is_published_on(lab: Lab, address: str) -> None:
    lab.network(ipv6=GIVEN)
    with pytest.raises((Invalid, Unsupported)):
        await lab.sandbox("one", "web", ports=(PortConfig(80, 8080, host_ip=address),))


async def test_networks_are_apart(lab: Lab, bridged: bool) -> None:
    lab.wire6()
    lab.network("front", ipv6=GIVEN)
    lab.network("back", ipv6=Ipv6Config("fd00:9::/64"))
    lab.network("inner", ipv6=Ipv6Config("fd00:8::/64"), internal=True)
    lab.network("guests", ipv6=Ipv6Config("fd00:7::/64"), isolated=True)
    boxes = {id: await lab.sandbox(id, id) for id in ("front", "back", "inner", "guests")}
    for id in ("inner", "guests"):
        await lab.sandbox(f"{id}-2", id)
    servers = {id: lab.serve(id, 80, address="::") for id in boxes}
    outside = lab.serve("lan", 7000, address="::")
    gateway = "fd00:8::1"
    inside(lab, "inner-2", "ip", "-6", "route", "add", "default", "via", gateway)
    for caller, called in (
        ("front", "back"), ("back", "front"), ("front", "inner"), ("inner-2", "front"),
        ("guests-2", "guests"),
    ):  # fmt: skip
        address = boxes[called].addresses6[called]
        assert not lab.is_reached(caller, address, 80, servers[called]), (caller, called)
    assert not lab.is_reached("inner-2", LAN_ADDRESS6, 7000, outside)
    assert lab.call("inner-2", boxes["inner"].addresses6["inner"], 80, servers["inner"])
    assert lab.call("guests-2", LAN_ADDRESS6, 7000, outside) == HOST_ADDRESS6
    # By the host, which is the neighbour of both.
    inside(lab, "guests-2", "ip", "-6", "route", "add", "fd00:7::2/128", "via", "fd00:7::1")
    assert not lab.is_reached("guests-2", "fd00:7::2", 80, servers["guests"])


async def test_a_network_of_each_kind(lab: Lab) -> None:
    """The way out of IPv6 is by the first network that has one; an interface without it has none at all."""
    lab.wire6()
    lab.network("four")
    lab.network("six", ipv6=GIVEN)
    one = await lab.sandbox("one", "four", "six")
    assert one.addresses6.keys() == {"six"}
    assert inside(lab, "one", "ip", "-6", "address", "show", "dev", "eth0") == ""
    outside = lab.serve("lan", 7000, address="::")
    assert lab.call("one", LAN_ADDRESS6, 7000, outside) == HOST_ADDRESS6
    # Connected and taken off while it lives.
    await lab.sandbox("two", "four")
    assert inside(lab, "two", "ip", "-6", "route") == ""
    await lab.sandbox("two", "four", "six")
    assert lab.call("two", LAN_ADDRESS6, 7000, outside) == HOST_ADDRESS6
    lab.network("more", ipv6=Ipv6Config("fd00:9::/64"))
    await lab.sandbox("two", "more", "six", "four")
    assert "default via fd00:9::1 dev" in inside(lab, "two", "ip", "-6", "route")
    await lab.sandbox("two", "four")
    assert inside(lab, "two", "ip", "-6", "route") == ""


async def test_names_lead_to_both(lab: Lab) -> None:
    lab.network(ipv6=GIVEN)
    one = await lab.sandbox("one", "web", names=("shop-one", "one"))
    two = await lab.sandbox("two", "web")
    for id in ("one", "two"):
        await until(lambda id=id: "shop-one" in Path(lab.networks.hosts_path(id)).read_text())  # type: ignore[misc]
    text = Path(lab.networks.hosts_path("two")).read_text()
    for state, names in ((one, "shop-one one"), (two, "two")):
        assert f"{state.addresses['web']}\t{names}\n" in text
        assert f"{state.addresses6['web']}\t{names}\n" in text


def test_a_kernel_without_ipv6_is_named(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.network(ipv6=GIVEN)
    monkeypatch.setattr(sandboxes, "HAS_IPV6", False)
    with pytest.raises(Unsupported, match="kernel has no IPv6"):
        lab.network("other", ipv6=Ipv6Config())
    lab.network("four")
    lab.reopen()  # a host that was booted without it since
    assert [each.name for each in lab.networks.list()] == ["four"]
    with pytest.raises(Unsupported, match="kernel has no IPv6"):
        lab.network(ipv6=GIVEN)


def test_a_host_that_heard_of_its_way_out_by_a_router_goes_on_to(lab: Lab) -> None:
    """accept_ra: 1 believes routers unless the host forwards, 2 does so all the same."""
    setting = Path("/proc/sys/net/ipv6/conf/wan0/accept_ra")
    setting.write_text("1")
    lab.network("four")
    assert Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text() == "0\n", "not for IPv4 alone"
    assert setting.read_text() == "1\n"
    lab.network(ipv6=GIVEN)
    assert Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text() == "1\n"
    assert setting.read_text() == "2\n"
    bridge = bridge_of(lab, "web")
    assert Path(f"/proc/sys/net/ipv6/conf/{bridge}/accept_ra").read_text() == "0\n"
    assert Path(f"/proc/sys/net/ipv6/conf/{bridge_of(lab, 'four')}/disable_ipv6").read_text() == "1\n"


async def test_a_namespace_that_belongs_to_other_ids(lab: Lab) -> None:
    lab.network(ipv6=GIVEN)
    config = SandboxConfig("own", "one", (EndpointConfig("web"),))
    one = await lab.networks.ensure_sandbox(config, hostname="one", names=("one",), has_ids=True)
    await lab.sandbox("two", "web")
    server = lab.serve("one", 80, address="::")
    assert lab.call("two", one.addresses6["web"], 80, server) == "fd00:1:2:3::3"
    await lab.networks.delete_sandbox("one")
