"""What of IPv6 is damaged: it is found, named, and put back while the container runs on."""

from __future__ import annotations

import select
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.model import Ipv6Config, PortConfig
from runtime.network.monitor import Hint, Monitor
from tests.kernel.network.conftest import HOST_ADDRESS6, LAN_ADDRESS6, Lab, run
from tests.kernel.network.test_ipv6 import GIVEN, bridge_of, inside

Damage = Callable[[Lab], object]


def _setting(lab: Lab, name: str) -> Path:
    return Path(f"/proc/sys/net/ipv6/conf/{bridge_of(lab, 'web')}/{name}")


def _inside_setting(lab: Lab, text: str, name: str) -> str:
    return inside(lab, "one", "sh", "-c", f"echo {text} > /proc/sys/net/ipv6/conf/eth0/{name}")


def _nft(lab: Lab, *words: str) -> None:
    run("nft", *(word.replace("TABLE", lab.layout.nft_table) for word in words))


DAMAGES: dict[str, tuple[set[tuple[str, str]], Damage]] = {
    "bridge deleted": ({("bridge", "web")}, lambda lab: run("ip", "link", "delete", bridge_of(lab, "web"))),
    "bridge down": ({("bridge", "web")}, lambda lab: run("ip", "link", "set", bridge_of(lab, "web"), "down")),
    "gateway removed": (
        {("bridge", "web")},
        lambda lab: run("ip", "-6", "address", "del", "fd00:1:2:3::1/64", "dev", bridge_of(lab, "web")),
    ),
    "addresses of the bridge flushed": (
        {("bridge", "web")},
        lambda lab: run("ip", "-6", "address", "flush", "dev", bridge_of(lab, "web")),
    ),
    "bridge without IPv6": ({("bridge", "web")}, lambda lab: _setting(lab, "disable_ipv6").write_text("1")),
    "bridge believes routers": ({("bridge", "web")}, lambda lab: _setting(lab, "accept_ra").write_text("1")),
    "bridge does not forward": ({("bridge", "web")}, lambda lab: _setting(lab, "forwarding").write_text("0")),
    "address removed": (
        {("address", "one")},
        lambda lab: inside(lab, "one", "ip", "-6", "address", "flush", "dev", "eth0", "scope", "global"),
    ),
    "interface without IPv6": ({("address", "one")}, lambda lab: _inside_setting(lab, "1", "disable_ipv6")),
    "interface down": (
        {("address", "one"), ("route", "one")},
        lambda lab: inside(lab, "one", "ip", "link", "set", "eth0", "down"),
    ),
    "route removed": (
        {("route", "one")},
        lambda lab: inside(lab, "one", "ip", "-6", "route", "del", "default"),
    ),
    "veth deleted": (
        {("veth", "one")},
        lambda lab: run("ip", "link", "delete", lab.layout.link_name("ve", "one", "web")),
    ),
    "forwarding off": (
        {("forwarding", "")},
        lambda lab: run("sysctl", "-w", "net.ipv6.conf.all.forwarding=0"),
    ),
    "ports removed": (
        {("firewall", "")},
        lambda lab: _nft(lab, "flush", "map", "inet", "TABLE", "published6"),
    ),
    "subnets removed": (
        {("firewall", "")},
        lambda lab: _nft(lab, "flush", "set", "inet", "TABLE", "subnets6"),
    ),
    "guard flushed": (
        {("firewall", "")},
        lambda lab: _nft(lab, "flush", "chain", "bridge", "TABLE", "neighbour"),
    ),
    "own addresses removed": (
        {("firewall", "")},
        lambda lab: _nft(lab, "flush", "set", "bridge", "TABLE", "honest6"),
    ),
    "another address let in": (
        {("firewall", "")},
        lambda lab: _nft(
            lab, "add", "element", "bridge", "TABLE", "honest6",
            f"{{ {lab.layout.link_name('ve', 'one', 'web')} . 0x020000000009 . 0xfd{9:030x} }}",
        ),
    ),
    "ruleset flushed": ({("firewall", "")}, lambda lab: run("nft", "flush", "ruleset")),
}  # fmt: skip


async def _all_is_well(lab: Lab) -> None:
    server = lab.serve("one", 80, address="::")
    assert lab.call("two", "fd00:1:2:3::2", 80, server) == "fd00:1:2:3::3"
    assert lab.call("lan", HOST_ADDRESS6, 8080, server) == LAN_ADDRESS6
    assert lab.call("one", LAN_ADDRESS6, 7000, lab.serve("lan", 7000, address="::")) == HOST_ADDRESS6


@pytest.mark.parametrize("name", DAMAGES)
async def test_damage_to_ipv6_is_found_and_put_back(lab: Lab, name: str) -> None:
    expected, damage = DAMAGES[name]
    lab.wire6()
    lab.network(ipv6=GIVEN)
    await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    await lab.sandbox("two", "web")
    lab.networks.tell_names()
    assert lab.networks.find_drift() == ()

    damage(lab)
    found = lab.networks.find_drift()
    assert {(each.kind, each.subject) for each in found if each.subject != "two"} >= expected
    assert all(each.detail for each in found)
    for each in found:
        lab.networks.repair(each)
    assert lab.networks.find_drift() == ()
    await _all_is_well(lab)


async def test_an_element_that_is_no_text_is_told_as_people_write_it(lab: Lab) -> None:
    lab.network(ipv6=GIVEN)
    await lab.sandbox("one", "web")
    DAMAGES["own addresses removed"][1](lab)
    (found,) = lab.networks.find_drift()
    mac = lab.networks._instance.book.sandboxes["one"].endpoints[0].mac
    assert f"{mac} fd00:1:2:3::2" in found.detail


def _wait(monitor: Monitor) -> frozenset[Hint]:
    poll = select.poll()
    poll.register(monitor, select.POLLIN)
    for _ in range(20):
        if poll.poll(1000) and (hints := monitor.read()):
            return hints
    return frozenset()


@pytest.mark.parametrize("is_there", [True, False], ids=["network there", "network to come"])
async def test_damage_to_ipv6_wakes_the_monitor(lab: Lab, is_there: bool) -> None:
    if is_there:
        lab.network(ipv6=GIVEN)
    monitor = lab.networks.monitor()
    try:
        lab.network(ipv6=GIVEN)
        await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
        assert {hint for hint in monitor.read() if hint.kind != "forwarding"} == set()
        gateway = ("ip", "-6", "address", "del", "fd00:1:2:3::1/64", "dev", bridge_of(lab, "web"))
        for words, hint in (
            (gateway, Hint("network", "web")),
            (("sysctl", "-w", "net.ipv6.conf.all.forwarding=0"), Hint("forwarding")),
        ):  # fmt: skip
            run(*words)
            assert hint in _wait(monitor), words
            for each in lab.networks.find_drift():
                lab.networks.repair(each)
            monitor.read()
        for words in (
            ("ip", "-6", "route", "del", "default"),
            ("ip", "-6", "address", "del", "fd00:1:2:3::2/64", "dev", "eth0"),
        ):
            inside(lab, "one", *words)
            assert Hint("sandbox", "one") in _wait(monitor), words
            for each in lab.networks.find_drift():
                lab.networks.repair(each)
            monitor.read()
    finally:
        monitor.close()


async def test_own_work_on_ipv6_leaves_no_hints(lab: Lab) -> None:
    lab.network(ipv6=GIVEN)
    monitor = lab.networks.monitor()
    try:
        for number in range(5):
            await lab.sandbox(f"s{number}", "web", ports=(PortConfig(80, 8080 + number),))
        assert {hint for hint in monitor.read() if hint.kind != "forwarding"} == set()
        for number in range(5):
            await lab.networks.delete_sandbox(f"s{number}")
        await lab.networks.delete("web")
        assert monitor.read() == frozenset()
    finally:
        monitor.close()


async def test_everything_at_once_after_a_restart(lab: Lab) -> None:
    lab.wire6()
    lab.network(ipv6=GIVEN)
    await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    await lab.sandbox("two", "web")
    run("nft", "flush", "ruleset")
    run("ip", "link", "delete", bridge_of(lab, "web"))
    run("sysctl", "-w", "net.ipv6.conf.all.forwarding=0")
    lab.reopen()
    for _ in range(3):
        for each in lab.networks.find_drift():
            lab.networks.repair(each)
    assert lab.networks.find_drift() == ()
    await _all_is_well(lab)


async def test_a_host_without_a_network_of_ipv6_is_left_as_it_is(lab: Lab) -> None:
    lab.network("four")
    assert lab.networks.find_drift() == ()
    assert Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text() == "0\n"
    lab.network("six", ipv6=Ipv6Config())
    run("sysctl", "-w", "net.ipv6.conf.all.forwarding=0")
    await lab.networks.delete("six")
    assert lab.networks.find_drift() == ()
