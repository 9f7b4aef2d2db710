"""E7: a container with NET_RAW writes whole frames. Nobody on its network sees one that is not its own."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.model import EndpointConfig, PortConfig, SandboxConfig
from runtime.network import guard
from runtime.network.firewall import Element
from runtime.network.libnftables import FirewallError
from tests.kernel.network.conftest import HOST_ADDRESS, LAN_ADDRESS, Lab, run
from tests.threats import frames
from tests.threats.frames import (
    ALL_NODES,
    ARP,
    BROADCAST,
    IPV4,
    IPV6,
    MARK,
    REPLY,
    REQUEST,
    RESERVED,
    VLAN,
    arp,
    frame,
    udp,
)  # fmt: skip

NOBODY = "02:00:00:00:00:99"


@dataclass(frozen=True)
class Stage:
    """MACs and addresses of who attacks (one), who is attacked (two), who is stood for (three), the host."""

    one: tuple[str, str]
    two: tuple[str, str]
    three: tuple[str, str]
    host: tuple[str, str]
    bridge: str


async def _stage(lab: Lab, name: str = "web") -> Stage:
    if not any(each.name == name for each in lab.networks.list()):
        lab.network(name)
    for each in ("one", "two", "three"):
        await lab.sandbox(each, name)
    return _seen(lab, name)


def _seen(lab: Lab, name: str = "web") -> Stage:
    network = next(each for each in lab.networks.list() if each.name == name)
    mac = json.loads(run("ip", "-j", "link", "show", network.bridge))[0]["address"]
    boxes = lab.networks._instance.book.sandboxes
    ends = {
        id: next((each.mac, _text(each.ipv4)) for each in boxes[id].endpoints if each.network == name)
        for id in ("one", "two", "three")
    }
    return Stage(ends["one"], ends["two"], ends["three"], (mac, network.gateway), network.bridge)


def _text(address: int) -> str:
    return socket.inet_ntoa(address.to_bytes(4))


def _inside(lab: Lab, id: str, *arguments: str) -> str:
    instance = lab.networks._instance
    with instance.opened(id) as netns, instance.home.inside(netns):
        return run(*arguments)


_TO_ALL = ("00:00:00:00:00:00", "10.0.0.0")

ATTACKS: dict[str, Callable[[Stage], bytes]] = {
    "an announcement of a neighbour's address": lambda s: frame(
        BROADCAST, s.one[0], ARP, arp(REQUEST, (s.one[0], s.three[1]), (BROADCAST, s.three[1]))
    ),
    "an announcement of the gateway's address": lambda s: frame(
        BROADCAST, s.one[0], ARP, arp(REQUEST, (s.one[0], s.host[1]), (BROADCAST, s.host[1]))
    ),
    "an answer for a neighbour": lambda s: frame(
        s.two[0], s.one[0], ARP, arp(REPLY, (s.one[0], s.three[1]), s.two)
    ),
    "an answer for the gateway": lambda s: frame(
        s.two[0], s.one[0], ARP, arp(REPLY, (s.one[0], s.host[1]), s.two)
    ),
    "an answer that gives its own address another MAC": lambda s: frame(
        s.two[0], s.one[0], ARP, arp(REPLY, (s.three[0], s.one[1]), s.two)
    ),
    "an honest answer by a neighbour's MAC": lambda s: frame(
        BROADCAST, s.three[0], ARP, arp(REPLY, s.one, s.two)
    ),
    "an answer of a neighbour, word for word": lambda s: frame(
        BROADCAST, s.three[0], ARP, arp(REPLY, s.three, s.two)
    ),
    "a packet by a neighbour's address": lambda s: frame(
        s.two[0], s.one[0], IPV4, udp(s.three[1], s.two[1], 9, b"fake")
    ),
    "a packet by an address of nobody": lambda s: frame(
        s.two[0], s.one[0], IPV4, udp("203.0.113.5", s.two[1], 9, b"fake")
    ),
    "a packet by a neighbour's MAC": lambda s: frame(
        s.two[0], s.three[0], IPV4, udp(s.one[1], s.two[1], 9, b"fake")
    ),
    "a packet by the gateway's MAC": lambda s: frame(
        s.two[0], s.host[0], IPV4, udp(s.one[1], s.two[1], 9, b"fake")
    ),
    "a packet by a MAC of nobody": lambda s: frame(
        s.two[0], NOBODY, IPV4, udp(s.one[1], s.two[1], 9, b"fake")
    ),
    "a router's advertisement": lambda s: frame(
        ALL_NODES, s.one[0], IPV6,
        frames.icmp6("fe80::1", "ff02::1", frames.router_advertisement("2001:db8::")),
    ),
    "a neighbour's advertisement": lambda s: frame(
        ALL_NODES, s.one[0], IPV6,
        frames.icmp6("fe80::1", "ff02::1", frames.neighbour_advertisement("fe80::2", s.one[0])),
    ),
    "an answer for the gateway in a VLAN": lambda s: frame(
        s.two[0], s.one[0], VLAN, b"\0\0\x08\x06" + arp(REPLY, (s.one[0], s.host[1]), s.two)
    ),
    "a frame of another protocol": lambda s: frame(s.two[0], s.three[0], 0x88B5, b"experimental"),
    "a frame without a type": lambda s: frame(s.two[0], s.three[0], 3, b"\x42\x42\3"),
}  # fmt: skip


def _marker(stage: Stage) -> bytes:
    return frame(BROADCAST, stage.one[0], IPV4, udp(stage.one[1], stage.two[1], 9, MARK))


@contextmanager
def _believing(lab: Lab, stage: Stage) -> Iterator[None]:
    """two knows three and the host, and takes a new MAC for either at once, as it would after a second. What
    it and the bridge believe has to be the same afterwards."""
    path = "/proc/sys/net/ipv4/neigh/eth0/locktime"
    _inside(lab, "two", "sh", "-c", f"echo 0 > {path}")
    for mac, address in (stage.three, stage.host):
        _inside(
            lab, "two", "ip", "neigh", "replace", address, "lladdr", mac, "dev", "eth0", "nud", "reachable"
        )
    for id in ("two", "three"):
        with frames.wire(lab.networks, id) as own:
            mac, address = getattr(stage, id)
            own.send(frame(stage.one[0], mac, IPV4, udp(address, stage.one[1], 9, b"hello")))
    before = _beliefs(lab, stage)
    assert {stage.two[0], stage.three[0]} <= {entry[1] for entry in before if entry[0] == "bridge"}
    yield
    assert _beliefs(lab, stage) == before


def _beliefs(lab: Lab, stage: Stage) -> set[tuple[str, str, str]]:
    known = {stage.three[1], stage.host[1]}
    neighbours = json.loads(_inside(lab, "two", "ip", "-j", "neigh", "show"))
    learned = json.loads(run("bridge", "-j", "fdb", "show", "br", stage.bridge, "dynamic"))
    macs = {stage.two[0], stage.three[0], stage.host[0], NOBODY}
    return {("neighbour", each["dst"], each["lladdr"]) for each in neighbours if each["dst"] in known} | {
        ("bridge", each["mac"], each["ifname"]) for each in learned if each["mac"] in macs
    }


def _seen_by_two(lab: Lab, stage: Stage, *attacks: bytes) -> list[bytes]:
    """What of these frames, sent by one, two sees."""
    with frames.wire(lab.networks, "one") as attacking, frames.wire(lab.networks, "two") as listening:
        for each in attacks:
            attacking.send(each)
        attacking.send(_marker(stage))
        return [found for found in frames.until_marked(listening) if _is_one_of(found, attacks)]


def _is_one_of(found: bytes, attacks: tuple[bytes, ...]) -> bool:
    """By source and content: the kernel takes a VLAN's tag off, and br_netfilter what is behind a packet."""
    return any(found[:12] == each[:12] and found[14:30] in each for each in attacks)


@pytest.mark.parametrize("name", ATTACKS)
async def test_e7_a_neighbour_sees_nothing_and_believes_nothing(lab: Lab, name: str) -> None:
    stage = await _stage(lab)
    with _believing(lab, stage):
        assert _seen_by_two(lab, stage, ATTACKS[name](stage)) == []


async def test_e7_the_host_believes_nothing(lab: Lab) -> None:
    stage = await _stage(lab)
    mac, address = stage.three
    Path(f"/proc/sys/net/ipv4/neigh/{stage.bridge}/locktime").write_text("0")
    run("ip", "neigh", "replace", address, "lladdr", mac, "dev", stage.bridge, "nud", "reachable")
    for op in (REQUEST, REPLY):
        for to in (stage.host[0], BROADCAST):
            lie = frame(to, stage.one[0], ARP, arp(op, (stage.one[0], address), stage.host))
            assert _seen_by_two(lab, stage, lie) == []
    shown = json.loads(run("ip", "-j", "neigh", "show", address, "dev", stage.bridge))
    assert shown[0]["lladdr"] == mac


async def test_e7_where_bridged_frames_pass_the_hosts_rules_it_is_the_same(lab: Lab, bridged: bool) -> None:
    stage = await _stage(lab)
    with _believing(lab, stage):
        assert _seen_by_two(lab, stage, *(attack(stage) for attack in ATTACKS.values())) == []
    server = lab.serve("two", 80)
    assert lab.call("one", stage.two[1], 80, server) == stage.one[1]


async def test_e7_the_attacks_are_attacks(lab: Lab) -> None:
    """By who may change its interfaces all of them arrive: nothing above passes for another reason."""
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if switch.exists():  # there, an address of nobody is dropped by the host's rules
        switch.write_text("0")
    lab.routers.add("one")
    stage = await _stage(lab)
    _inside(lab, "two", "sh", "-c", "echo 0 > /proc/sys/net/ipv4/neigh/eth0/locktime")
    for mac, address in (stage.three, stage.host):
        _inside(
            lab, "two", "ip", "neigh", "replace", address, "lladdr", mac, "dev", "eth0", "nud", "reachable"
        )
    believed: set[tuple[str, str, str]] = set()
    for name, attack in ATTACKS.items():
        assert _seen_by_two(lab, stage, attack(stage)), name
        believed |= _beliefs(lab, stage)
    port = lab.layout.link_name("ve", "one", "web")
    assert {
        ("neighbour", stage.three[1], stage.one[0]),
        ("neighbour", stage.host[1], stage.one[0]),
        ("bridge", stage.three[0], port),
        ("bridge", NOBODY, port),
    } <= believed


async def test_e7_frames_that_a_bridge_keeps_teach_it_nothing_and_reach_nobody(lab: Lab) -> None:
    """01:80:c2:00:00:0x: not passed on, so never before the usual hook; but learned from, and given to the
    host as if they came by no bridge, whose rules for addresses of containers they would go round."""
    stage = await _stage(lab)
    host = lab.serve("host", 7001, socket.SOCK_DGRAM)
    host.settimeout(0.25)
    attacks = [
        frame(RESERVED, stage.three[0], ARP, arp(REPLY, stage.three, stage.two)),
        frame(RESERVED, NOBODY, 0x88CC, b"\2\7"),
        frame(RESERVED, stage.one[0], IPV4, udp("203.0.113.5", stage.host[1], 7001, b"fake")),
    ]
    with _believing(lab, stage):
        _seen_by_two(lab, stage, *attacks)
        with pytest.raises(TimeoutError):
            host.recv(100)


async def test_e7_what_is_honest_passes(lab: Lab) -> None:
    lab.network("web")
    endpoint = EndpointConfig("web", ipv4="10.201.0.77", mac="aa:bb:cc:dd:ee:0f")
    await lab.networks.ensure_sandbox(
        SandboxConfig("own", "one", (endpoint,), (PortConfig(80, 8080),)), hostname="one"
    )
    two = await lab.sandbox("two", "web")
    server = lab.serve("one", 80)
    assert lab.call("two", "10.201.0.77", 80, server) == two.addresses["web"]
    assert lab.call("lan", HOST_ADDRESS, 8080, server) == LAN_ADDRESS
    assert lab.call("one", LAN_ADDRESS, 7000, lab.serve("lan", 7000)) == HOST_ADDRESS
    large = lab.serve("two", 9000, socket.SOCK_DGRAM)
    sending = lab.socket_at("one", socket.SOCK_DGRAM)
    sending.sendto(b"x" * 20000, (two.addresses["web"], 9000))  # in fragments
    assert len(large.recv(30000)) == 20000
    assert lab.networks.find_drift() == ()


async def test_e7_who_comes_and_goes_is_guarded_all_the_time(lab: Lab) -> None:
    """Networks joined and left, addresses changed, an agent restarted, a sandbox made again."""
    lies = lambda stage: [attack(stage) for attack in ATTACKS.values()]  # noqa: E731
    stage = await _stage(lab)
    lab.network("other")
    await lab.sandbox("one", "web", "other")
    assert _seen_by_two(lab, stage, *lies(stage)) == []
    assert _elements(lab, "one") == 4
    await lab.sandbox("one", "web")
    assert _elements(lab, "one") == 2
    lab.reopen()
    assert _seen_by_two(lab, stage, *lies(stage)) == []
    moved = SandboxConfig("own", "one", (EndpointConfig("web", ipv4="10.201.0.99"),))
    await lab.networks.ensure_sandbox(moved, hostname="one", names=("one",))
    was, stage = stage, _seen(lab)
    assert stage.one[1] == "10.201.0.99"
    assert _seen_by_two(lab, stage, *lies(stage), _marker(was)[:-40] + bytes(40)) == []
    await lab.networks.delete_sandbox("one")
    assert _elements(lab, "one") == 0
    stage = await _stage(lab)
    assert _seen_by_two(lab, stage, *lies(stage)) == []
    assert lab.networks.find_drift() == ()


def _elements(lab: Lab, id: str) -> int:
    """How many a sandbox has in the bridges' table."""
    links = {lab.layout.link_name("ve", id, network.name) for network in lab.networks.list()}
    listed = json.loads(run("nft", "-j", "list", "table", "bridge", lab.layout.nft_table))["nftables"]
    keys = [each for item in listed for each in item.get("set", {}).get("elem", ())]
    return sum((each["concat"][0] if isinstance(each, dict) else each) in links for each in keys)


SPINNING = """
import socket, sys
frame = bytes.fromhex(sys.argv[2])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
print("ready", flush=True)
while True:
    try:
        wire.sendto(frame, (sys.argv[1], 0))
    except OSError:
        pass
"""


async def test_e7_an_interface_to_come_is_guarded_before_it_is_there(lab: Lab) -> None:
    """A process waits for it, while the same turn makes others, too."""
    await _stage(lab)
    lab.network("other")
    two = await lab.sandbox("two", "web", "other")
    lie = frame(BROADCAST, NOBODY, ARP, arp(REQUEST, (NOBODY, two.addresses["other"]), _TO_ALL))
    instance = lab.networks._instance
    with instance.opened("one") as netns, instance.home.inside(netns):
        words = [sys.executable, "-c", SPINNING, "eth1", lie.hex()]
        attacking = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert attacking.stdout is not None and attacking.stdout.readline() == b"ready\n"
        with frames.wire(lab.networks, "two", "eth1") as listening:
            for turn in range(5):
                others = [lab.sandbox(f"s{turn}-{number}", "web") for number in range(12)]
                await asyncio.gather(lab.sandbox("one", "web", "other"), *others)
                await lab.sandbox("one", "web")
            listening.settimeout(0.1)
            with pytest.raises(TimeoutError):
                while lie not in listening.recv(2048):
                    pass
    finally:
        attacking.kill()
        attacking.wait()
        attacking.stdout.close()


async def test_e7_ports_of_an_older_agent_are_guarded_and_lose_nothing(lab: Lab) -> None:
    """Their elements and the rule that asks for them come in one transaction; so after a flush."""
    stage = await _stage(lab)
    receiving = lab.serve("two", 9000, socket.SOCK_DGRAM)
    receiving.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
    sending = lab.socket_at("one", socket.SOCK_DGRAM)
    sending.connect((stage.two[1], 9000))
    sent, is_over = 0, threading.Event()

    def send() -> None:
        nonlocal sent
        while not is_over.is_set():
            sending.send(sent.to_bytes(4))
            sent += 1
            time.sleep(0.0002)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        for _ in range(5):
            run("nft", "delete", "table", "bridge", lab.layout.nft_table)
            lab.reopen()
            assert lab.networks.find_drift() == ()
            run("nft", "flush", "ruleset")
            for each in lab.networks.find_drift():
                lab.networks.repair(each)
    finally:
        is_over.set()
        thread.join()
    receiving.settimeout(1)
    assert sent > 10
    assert [int.from_bytes(receiving.recv(10)) for _ in range(sent)] == list(range(sent))
    assert _seen_by_two(lab, stage, *(attack(stage) for attack in ATTACKS.values())) == []


async def test_e7_routers_come_and_go(lab: Lab) -> None:
    stage = await _stage(lab)
    lie = ATTACKS["an answer for the gateway"](stage)
    for _ in range(2):
        assert _seen_by_two(lab, stage, lie) == []
        lab.routers.add("one")
        lab.networks.routers_changed("one")
        assert _elements(lab, "one") == 0
        assert _seen_by_two(lab, stage, lie)
        lab.networks.routers_changed("one")
        lab.reopen()
        assert _seen_by_two(lab, stage, lie)
        lab.routers.discard("one")
        lab.networks.routers_changed("one")
    assert _seen_by_two(lab, stage, lie) == []
    lab.networks.routers_changed("nobody")
    assert lab.networks.find_drift() == ()


async def test_e7_no_router_of_ipv6_is_believed(lab: Lab) -> None:
    """CVE-2020-13401. Even from one that may send it, and where somebody turned IPv6 on."""
    lab.routers.add("one")
    stage = await _stage(lab)
    packet = frames.icmp6("fe80::1", "ff02::1", frames.router_advertisement("2001:db8::"))
    advertisement = frame(ALL_NODES, stage.one[0], IPV6, packet)
    settings = Path(f"/proc/sys/net/ipv6/conf/{stage.bridge}")
    addresses = lambda: run("ip", "-6", "address", "show", "dev", stage.bridge)  # noqa: E731

    assert _seen_by_two(lab, stage, advertisement)
    assert addresses() == ""
    (settings / "disable_ipv6").write_text("0")
    with frames.wire(lab.networks, "one") as attacking:
        for _ in range(20):
            attacking.send(advertisement)
            await asyncio.sleep(0.02)
        assert "2001:db8" not in addresses()
        (settings / "accept_ra").write_text("1")
        for _ in range(250):
            attacking.send(advertisement)
            await asyncio.sleep(0.02)
            if "2001:db8" in addresses():
                return
    pytest.fail("the advertisement would not have been believed anyway")


async def test_e7_a_kernel_that_cannot_guard_runs_containers_all_the_same(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A chain that this kernel refuses stands for a kernel without nftables for bridges."""
    monkeypatch.setattr(guard, "TABLE", "chain c { type nat hook prerouting priority -300; }")
    lab.network("web")
    one = await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    await lab.sandbox("two", "web")
    server = lab.serve("one", 80)
    assert lab.call("two", one.addresses["web"], 80, server)
    assert lab.call("lan", HOST_ADDRESS, 8080, server) == LAN_ADDRESS
    assert lab.networks.find_drift() == ()
    run("nft", "flush", "ruleset")
    for each in lab.networks.find_drift():
        lab.networks.repair(each)
    assert lab.networks.find_drift() == ()
    assert [each.name for each in caplog.records if "nftables for bridges" in each.message] == [
        "runtime.network.table"
    ]
    assert "table bridge" not in run("nft", "list", "tables")
    await lab.networks.delete_sandbox("one")

    monkeypatch.undo()  # another kernel, after a reboot or an upgrade
    lab.reopen()
    assert "table bridge" in run("nft", "list", "tables")
    assert lab.networks.find_drift() == ()


async def test_e7_a_transaction_that_fails_for_another_reason_is_no_such_kernel(lab: Lab) -> None:
    await _stage(lab)
    impossible = Element("honest4", ("ve1", "no MAC", "no address"))
    lab.networks._table.wanted.add(impossible)
    with pytest.raises(FirewallError):
        lab.networks._table.sync()
    lab.networks._table.wanted.discard(impossible)
    assert lab.networks._table.unguarded == ""
    lab.networks._table.sync()
    assert lab.networks.find_drift() == ()
