"""E7 on a network with IPv6: a container with NET_RAW writes whole frames. Nobody sees another's."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.model import Ipv6Config, PortConfig
from runtime.network.addresses import link_local_of, text_of
from tests.kernel.network.conftest import HOST_ADDRESS6, LAN_ADDRESS6, Lab, run
from tests.threats import frames
from tests.threats.frames import ALL_NODES, BROADCAST, IPV4, IPV6, MARK, VLAN, frame, udp

UDP, ICMP6 = socket.IPPROTO_UDP, socket.IPPROTO_ICMPV6
HOP_BY_HOP, FRAGMENT, DESTINATION = 0, 44, 60
NOBODY = "02:00:00:00:00:99"
ALL, GIVEN = "ff02::1", Ipv6Config("fd00:1:2:3::/64")


@dataclass(frozen=True)
class End:
    mac: str
    ipv4: str
    ipv6: str

    @property
    def link(self) -> str:
        """Its link-local address."""
        return text_of(link_local_of(self.mac))


@dataclass(frozen=True)
class Stage:
    """Who attacks (one), who is attacked (two), who is stood for (three), the host."""

    one: End
    two: End
    three: End
    host: End
    bridge: str


async def _stage(lab: Lab) -> Stage:
    lab.network(ipv6=GIVEN)
    for each in ("one", "two", "three"):
        await lab.sandbox(each, "web")
    return _seen(lab)


def _seen(lab: Lab) -> Stage:
    (network,) = lab.networks.list()
    boxes = lab.networks._instance.book.sandboxes
    ends = [boxes[id].endpoints[0] for id in ("one", "two", "three")]
    mac = json.loads(run("ip", "-j", "link", "show", network.bridge))[0]["address"]
    made = (End(each.mac, text_of(each.ipv4), text_of(each.ipv6)) for each in ends)
    return Stage(*made, End(mac, network.gateway, network.gateway6), network.bridge)


def _inside(lab: Lab, id: str, *arguments: str) -> str:
    instance = lab.networks._instance
    with instance.opened(id) as netns, instance.home.inside(netns):
        return run(*arguments)


def _told(of: str, at: str, source: str, target: str) -> bytes:
    return frames.icmp6(source, target, frames.neighbour_advertisement(of, at))


def _untold(of: str, source: str, target: str) -> bytes:
    """An answer that does not say where."""
    return frames.icmp6(source, target, frames.neighbour_advertisement(of, NOBODY)[:24])


def _asked(of: str, at: str, source: str, target: str) -> bytes:
    return frames.icmp6(source, target, frames.neighbour_solicitation(of, at))


def _router(s: Stage) -> bytes:
    return frames.icmp6(s.one.link, ALL, frames.router_advertisement("2001:db8::"))


def _truncated(s: Stage) -> bytes:
    """Options that go on behind the frame's end: in another fragment, for example."""
    packet = frames.packet6(s.one.ipv6, s.two.ipv6, DESTINATION, b"\x3a\x20\1\4\0\0\0\0")
    return frames.behind(FRAGMENT, packet, b"\0\0\1\0\0\0\7")


PACKETS: dict[str, Callable[[Stage], bytes]] = {
    "a packet by a neighbour's address": lambda s: frames.udp6(s.three.ipv6, s.two.ipv6, (4000, 9), b"fake"),
    "a packet by the gateway's address": lambda s: frames.udp6(s.host.ipv6, s.two.ipv6, (4000, 9), b"fake"),
    "a packet by an address of nobody": lambda s: frames.udp6("2001:db8::5", s.two.ipv6, (4000, 9), b"fake"),
    "a packet by no address": lambda s: frames.udp6("::", s.two.ipv6, (4000, 9), b"fake"),
    "a packet by a neighbour's link address": lambda s: frames.udp6(
        s.three.link, s.two.link, (4000, 9), b"fake"
    ),
    "an answer for a neighbour": lambda s: _told(s.three.ipv6, s.one.mac, s.one.ipv6, s.two.ipv6),
    "an answer for the gateway": lambda s: _told(s.host.ipv6, s.one.mac, s.one.link, s.two.ipv6),
    "an answer for the gateway to all": lambda s: _told(s.host.ipv6, s.one.mac, s.one.ipv6, ALL),
    "an answer for a neighbour, by its address": lambda s: _told(
        s.three.ipv6, s.one.mac, s.three.ipv6, s.two.ipv6
    ),
    "an answer for a neighbour that does not say where": lambda s: _untold(
        s.three.ipv6, s.one.ipv6, s.two.ipv6
    ),
    "an answer that gives its own address another MAC": lambda s: _told(
        s.one.ipv6, s.three.mac, s.one.ipv6, s.two.ipv6
    ),
    "an answer with two options": lambda s: frames.icmp6(
        s.one.ipv6, s.two.ipv6,
        frames.neighbour_advertisement(s.one.ipv6, s.one.mac) + b"\2\1" + frames.mac(s.three.mac),
    ),
    "an answer for the gateway behind options": lambda s: frames.behind(
        DESTINATION, _told(s.host.ipv6, s.one.mac, s.one.ipv6, s.two.ipv6)
    ),
    "an answer for the gateway behind options of each hop": lambda s: frames.behind(
        HOP_BY_HOP, _told(s.host.ipv6, s.one.mac, s.one.ipv6, s.two.ipv6)
    ),
    "an answer for the gateway in fragments": lambda s: frames.behind(
        FRAGMENT, _told(s.host.ipv6, s.one.mac, s.one.ipv6, s.two.ipv6), b"\0\0\1\0\0\0\7"
    ),
    "a question by a neighbour's address": lambda s: _asked(s.two.ipv6, s.one.mac, s.three.ipv6, s.two.ipv6),
    "a question that gives its own address another MAC": lambda s: _asked(
        s.two.ipv6, s.three.mac, s.one.ipv6, s.two.ipv6
    ),
    "a question whether a neighbour's address is free": lambda s: _asked(s.two.ipv6, "", "::", ALL),
    "a router's advertisement": _router,
    "a router's advertisement behind options": lambda s: frames.behind(DESTINATION, _router(s)),
    "a router's advertisement behind options of each hop": lambda s: frames.behind(HOP_BY_HOP, _router(s)),
    "a router's advertisement in fragments": lambda s: frames.behind(
        FRAGMENT, _router(s), b"\0\0\1\0\0\0\7"
    ),
    "a redirect": lambda s: frames.icmp6(s.one.link, s.two.ipv6, frames.redirect(s.one.link, LAN_ADDRESS6)),
    "a question of a multicast router": lambda s: frames.icmp6(s.one.link, ALL, frames.listener_query()),
    "a DHCPv6 server's answer": lambda s: frames.udp6(s.one.link, s.two.link, (547, 546), b"\7fake"),
    "a DHCPv6 server's answer behind options": lambda s: frames.behind(
        DESTINATION, frames.udp6(s.one.link, s.two.link, (547, 546), b"\7fake")
    ),
    "headers that do not end": _truncated,
}  # fmt: skip
"""By one, with its own MAC."""

HONEST: dict[str, Callable[[Stage], bytes]] = {
    "a packet": lambda s: frames.udp6(s.one.ipv6, s.two.ipv6, (4000, 9), b"honest"),
    "a packet behind options": lambda s: frames.behind(
        DESTINATION, frames.udp6(s.one.ipv6, s.two.ipv6, (4000, 9), b"honest")
    ),
    "a packet in fragments": lambda s: frames.behind(
        FRAGMENT, frames.udp6(s.one.ipv6, s.two.ipv6, (4000, 9), b"honest"), b"\0\0\1\0\0\0\7"
    ),
    "a fragment behind the first": lambda s: frames.behind(
        FRAGMENT, frames.packet6(s.one.ipv6, s.two.ipv6, ICMP6, b"\x86" * 64), b"\0\5\0\0\0\0\7"
    ),
    "an echo request": lambda s: frames.icmp6(s.one.ipv6, s.two.ipv6, b"\x80\0\0\0\0\1\0\1honest"),
    "a packet by its link address": lambda s: frames.udp6(s.one.link, s.two.link, (4000, 9), b"honest"),
    "a question": lambda s: _asked(s.two.ipv6, s.one.mac, s.one.ipv6, s.two.ipv6),
    "a question that does not say where": lambda s: _asked(s.two.ipv6, "", s.one.ipv6, s.two.ipv6),
    "an answer": lambda s: _told(s.one.ipv6, s.one.mac, s.one.ipv6, s.two.ipv6),
    "an answer for its link address": lambda s: _told(s.one.link, s.one.mac, s.one.link, s.two.link),
    "an answer that does not say where": lambda s: _untold(s.one.ipv6, s.one.ipv6, s.two.ipv6),
}


def _frames(stage: Stage, packet: bytes) -> bytes:
    to = ALL_NODES if packet[24] == 0xFF else stage.two.mac
    return frame(to, stage.one.mac, IPV6, packet)


OTHERS: dict[str, Callable[[Stage], bytes]] = {
    "a packet by a neighbour's MAC": lambda s: frame(s.two.mac, s.three.mac, IPV6, HONEST["a packet"](s)),
    "an answer by a neighbour's MAC": lambda s: frame(s.two.mac, s.three.mac, IPV6, HONEST["an answer"](s)),
    "a packet by a MAC of nobody": lambda s: frame(s.two.mac, NOBODY, IPV6, HONEST["a packet"](s)),
    "a packet in a VLAN": lambda s: frame(
        s.two.mac, s.one.mac, VLAN, b"\0\0\x86\xdd" + HONEST["a packet"](s)
    ),
}
ATTACKS: dict[str, Callable[[Stage], bytes]] = {
    **{name: lambda s, made=made: _frames(s, made(s)) for name, made in PACKETS.items()},  # type: ignore[misc]
    **OTHERS,
}


def _seen_by_two(lab: Lab, stage: Stage, attack: bytes) -> bool:
    """Whether two sees a frame that one sends."""
    marker = frame(BROADCAST, stage.one.mac, IPV4, udp(stage.one.ipv4, stage.two.ipv4, 9, MARK))
    with frames.wire(lab.networks, "one") as attacking, frames.wire(lab.networks, "two") as listening:
        attacking.send(attack)
        attacking.send(marker)
        found = frames.until_marked(listening)
    return any(each[:12] == attack[:12] and each[14:50] in attack for each in found)


def _beliefs(lab: Lab, stage: Stage) -> set[tuple[str, str]]:
    """What two believes of the addresses of others."""
    known = {each.ipv6 for each in (stage.one, stage.three, stage.host)}
    shown = json.loads(_inside(lab, "two", "ip", "-j", "-6", "neigh", "show"))
    return {(each["dst"], each.get("lladdr", "")) for each in shown if each["dst"] in known}


def _introduce(lab: Lab, stage: Stage) -> set[tuple[str, str]]:
    for each in (stage.one, stage.three, stage.host):
        words = (each.ipv6, "lladdr", each.mac, "dev", "eth0", "nud", "reachable")
        _inside(lab, "two", "ip", "-6", "neigh", "replace", *words)
    return _beliefs(lab, stage)


async def test_e7_nobody_sees_or_believes_what_is_not_a_containers_own(lab: Lab, bridged: bool) -> None:
    stage = await _stage(lab)
    before = _introduce(lab, stage)
    assert len(before) == 3
    assert {
        name: _seen_by_two(lab, stage, attack(stage)) for name, attack in ATTACKS.items()
    } == dict.fromkeys(ATTACKS, False)
    assert _beliefs(lab, stage) == before
    for name, made in HONEST.items():
        if bridged and "fragment" in name:  # there, they wait for the others
            continue
        assert _seen_by_two(lab, stage, _frames(stage, made(stage))), name
    assert _beliefs(lab, stage) == before


async def test_e7_the_attacks_of_ipv6_are_attacks(lab: Lab) -> None:
    """By who may change its interfaces all of them arrive, and some are believed."""
    for switch in ("iptables", "ip6tables"):  # there, the host's rules drop some
        if (path := Path(f"/proc/sys/net/bridge/bridge-nf-call-{switch}")).exists():
            path.write_text("0")
    lab.routers.add("one")
    stage = await _stage(lab)
    believed = _introduce(lab, stage)
    for name, attack in ATTACKS.items():
        assert _seen_by_two(lab, stage, attack(stage)), name
        believed |= _beliefs(lab, stage)
    assert (stage.host.ipv6, stage.one.mac) in believed
    assert (stage.three.ipv6, stage.one.mac) in believed
    assert "2001:db8" not in _inside(lab, "two", "ip", "-6", "address"), "no router is believed all the same"
    assert "2001:db8" not in run("ip", "-6", "address", "show", "dev", stage.bridge)


async def test_e7_an_interface_without_ipv6_sends_none(lab: Lab) -> None:
    """A container on a network of each kind: not by the address of the other."""
    stage = await _stage(lab)
    lab.network("four")
    await lab.sandbox("one", "web", "four")
    await lab.sandbox("two", "web", "four")
    ends = [lab.networks._instance.book.sandboxes[id].endpoints[1] for id in ("one", "two")]
    packet = frames.udp6(stage.one.ipv6, stage.two.ipv6, (4000, 9), b"fake")
    attacks = [frame(ends[1].mac, mac, IPV6, packet) for mac in (ends[0].mac, stage.one.mac)]
    address = text_of(ends[0].ipv4)
    marker = frame(BROADCAST, ends[0].mac, IPV4, udp(address, text_of(ends[1].ipv4), 9, MARK))
    with (
        frames.wire(lab.networks, "one", ends[0].interface) as attacking,
        frames.wire(lab.networks, "two", ends[1].interface) as listening,
    ):
        for each in (*attacks, marker):
            attacking.send(each)
        # The host's end of a pair may tell its own groups before the bridge has it (Linux 6.1).
        assert [each for each in frames.until_marked(listening) if b"fake" in each] == []


@pytest.mark.parametrize("is_router", [False, True])
async def test_e7_nobody_outside_is_sent_to_by_anothers_address(lab: Lab, is_router: bool) -> None:
    """Not even by one whose ports are not guarded, when it is no address of its network."""
    lab.routers |= {"one"} if is_router else set()
    lab.wire6()
    stage = await _stage(lab)
    outside = lab.serve("lan", 7000, socket.SOCK_DGRAM, "::")
    outside.settimeout(0.25)
    with frames.wire(lab.networks, "one") as sending:
        for source, is_heard in (("2001:db8::5", False), (stage.one.ipv6, True)):
            packet = frames.udp6(source, LAN_ADDRESS6, (4000, 7000), b"data")
            sending.send(frame(stage.host.mac, stage.one.mac, IPV6, packet))
            try:
                heard = outside.recvfrom(100)[1][0]
            except TimeoutError:
                heard = ""
            assert heard == (HOST_ADDRESS6 if is_heard else ""), source


async def test_e7_nobody_outside_names_a_containers_address(lab: Lab) -> None:
    """Neither by itself nor with a published port's number, nor the gateway's; who knows where they live."""
    lab.wire6()
    lab.network(ipv6=GIVEN)
    one = await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    server = lab.serve("one", 80, address="::")
    gateway = lab.networks.list()[0].gateway6
    for address, port in ((one.addresses6["web"], 80), (one.addresses6["web"], 8080), (gateway, 8080)):
        assert not lab.is_reached("lan", address, port, server), (address, port)
    assert lab.call("lan", HOST_ADDRESS6, 8080, server) == LAN_ADDRESS6
