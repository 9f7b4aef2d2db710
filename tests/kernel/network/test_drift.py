"""Every kind of damage: it is found, named, and put back while the container runs on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from runtime.errors import NotFound
from runtime.model import Drift, PortConfig
from runtime.network import bridges
from runtime.network.networks import Networks
from tests.kernel.network.conftest import HOST_ADDRESS, LAN_ADDRESS, Lab, run, until

Damage = Callable[[Lab], object]


def _link(lab: Lab) -> str:
    return lab.networks._instance.book.sandboxes["one"].endpoints[0].link


def _bridge(lab: Lab) -> str:
    return next(each.bridge for each in lab.networks.list() if each.name == "web")


def _setting(lab: Lab) -> Path:
    return Path(f"/proc/sys/net/ipv4/conf/{_bridge(lab)}/route_localnet")


def _inside(lab: Lab, *arguments: str) -> None:
    instance = lab.networks._instance
    with instance.opened("one") as netns, instance.home.inside(netns):
        run(*arguments)


def _nft(lab: Lab, *words: str) -> None:
    run("nft", *(word.replace("TABLE", lab.layout.nft_table) for word in words))


_ADD = ("add", "element", "inet", "TABLE", "published4")

DAMAGES: dict[str, tuple[set[tuple[str, str]], Damage]] = {
    "bridge deleted": ({("bridge", "web")}, lambda lab: run("ip", "link", "delete", _bridge(lab))),
    "bridge down": ({("bridge", "web")}, lambda lab: run("ip", "link", "set", _bridge(lab), "down")),
    "gateway address removed": (
        {("bridge", "web")},
        lambda lab: run("ip", "address", "flush", "dev", _bridge(lab)),
    ),
    "setting of a bridge changed": ({("bridge", "web")}, lambda lab: _setting(lab).write_text("0")),
    "record of a network removed": (
        {("record", "web")},
        lambda lab: lab.networks._instance.network_path("web").unlink(),
    ),
    "record of a sandbox removed": (
        {("record", "one")},
        lambda lab: (lab.layout.run / "sandboxes" / "one.json").unlink(),
    ),
    "veth deleted": ({("veth", "one")}, lambda lab: run("ip", "link", "delete", _link(lab))),
    "veth down": ({("veth", "one")}, lambda lab: run("ip", "link", "set", _link(lab), "down")),
    "veth off its bridge": ({("veth", "one")}, lambda lab: run("ip", "link", "set", _link(lab), "nomaster")),
    "interface deleted inside": ({("veth", "one")}, lambda lab: _inside(lab, "ip", "link", "delete", "eth0")),
    "interface renamed inside": (
        {("veth", "one")},
        lambda lab: [
            _inside(lab, "ip", "link", "set", "eth0", "down"),
            _inside(lab, "ip", "link", "set", "eth0", "name", "other"),
        ],
    ),
    "hairpin taken": (
        {("veth", "one")},
        lambda lab: run("bridge", "link", "set", "dev", _link(lab), "hairpin", "off"),
    ),
    "address removed inside": (
        {("address", "one"), ("route", "one")},
        lambda lab: _inside(lab, "ip", "address", "flush", "dev", "eth0"),
    ),
    "interface down inside": (
        {("address", "one"), ("route", "one")},
        lambda lab: _inside(lab, "ip", "link", "set", "eth0", "down"),
    ),
    "loopback down inside": (
        {("address", "one")},
        lambda lab: _inside(lab, "ip", "link", "set", "lo", "down"),
    ),
    "route removed inside": ({("route", "one")}, lambda lab: _inside(lab, "ip", "route", "del", "default")),
    "hosts file altered": (
        {("hosts", "one")},
        lambda lab: Path(lab.networks.hosts_path("one")).write_text("6.6.6.6 two\n"),
    ),
    "hosts file removed": ({("hosts", "one")}, lambda lab: Path(lab.networks.hosts_path("one")).unlink()),
    "forwarding off": ({("forwarding", "")}, lambda lab: run("sysctl", "-w", "net.ipv4.ip_forward=0")),
    "ruleset flushed": ({("firewall", "")}, lambda lab: run("nft", "flush", "ruleset")),
    "chain flushed": ({("firewall", "")}, lambda lab: _nft(lab, "flush", "chain", "inet", "TABLE", "ours")),
    "rule added": (
        {("firewall", "")},
        lambda lab: _nft(lab, "insert", "rule", "inet", "TABLE", "forward", "accept"),
    ),
    "port removed": (
        {("firewall", "")},
        lambda lab: _nft(lab, "flush", "map", "inet", "TABLE", "published4"),
    ),
    "port led elsewhere": (
        {("firewall", "")},
        lambda lab: [
            _nft(lab, "flush", "map", "inet", "TABLE", "published4"),
            _nft(lab, *_ADD, "{ tcp . 8080 : 10.0.0.9 . 80 }"),
        ],
    ),
    "port added": (
        {("firewall", "")},
        lambda lab: _nft(lab, "add", "element", "inet", "TABLE", "published4", "{ tcp . 1 : 10.0.0.9 . 80 }"),
    ),
    "guard deleted": ({("firewall", "")}, lambda lab: _nft(lab, "delete", "table", "bridge", "TABLE")),
    "guard flushed": (
        {("firewall", "")},
        lambda lab: _nft(lab, "flush", "chain", "bridge", "TABLE", "honest"),
    ),
    "port not guarded": (
        {("firewall", "")},
        lambda lab: _nft(lab, "flush", "set", "bridge", "TABLE", "guarded"),
    ),
    "another address let in": (
        {("firewall", "")},
        lambda lab: _nft(
            lab,
            "add",
            "element",
            "bridge",
            "TABLE",
            "honest4",
            f"{{ {_link(lab)} . 02:00:00:00:00:09 . 10.0.0.9 }}",
        ),
    ),
    "isolation removed": (
        {("firewall", "")},
        lambda lab: _nft(lab, "flush", "set", "inet", "TABLE", "bridges"),
    ),
}


async def _all_is_well(lab: Lab) -> None:
    server = lab.serve("one", 80)
    gateway = next(each.gateway for each in lab.networks.list() if each.name == "web")
    addresses = {state.id: state.addresses["web"] for state in lab.networks.list_sandboxes()}
    assert lab.call("lan", HOST_ADDRESS, 8080, server) == LAN_ADDRESS
    assert lab.call("two", addresses["one"], 80, server) == addresses["two"]
    assert lab.call("one", HOST_ADDRESS, 8080, server) == gateway
    assert lab.call("one", LAN_ADDRESS, 7000, lab.serve("lan", 7000)) == HOST_ADDRESS
    await until(lambda: "two" in Path(lab.networks.hosts_path("one")).read_text())
    server.close()


@pytest.mark.parametrize("name", DAMAGES)
async def test_damage_is_found_and_put_back(lab: Lab, name: str) -> None:
    expected, damage = DAMAGES[name]
    lab.network("web")
    await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    await lab.sandbox("two", "web")
    inode = os.stat(lab.networks.netns_path("one")).st_ino
    lab.networks.tell_names()
    assert lab.networks.find_drift() == ()

    damage(lab)
    found = lab.networks.find_drift()
    assert {(each.kind, each.subject) for each in found if each.subject != "two"} >= expected
    assert all(each.detail for each in found)

    for each in found:
        lab.networks.repair(each)
    assert lab.networks.find_drift() == ()
    assert os.stat(lab.networks.netns_path("one")).st_ino == inode
    assert _setting(lab).read_text() == "1\n"
    assert lab.networks._instance.network_path("web").exists()
    assert (lab.layout.run / "sandboxes" / "one.json").exists()
    await _all_is_well(lab)


async def test_a_bridges_mtu(lab: Lab) -> None:
    lab.network("web", mtu=1400)
    run("ip", "link", "set", _bridge(lab), "mtu", "1300")
    (found,) = lab.networks.find_drift()
    assert (found.kind, found.subject) == ("bridge", "web") and "MTU 1300" in found.detail
    lab.networks.repair(found)
    assert lab.networks.find_drift() == ()
    assert "mtu 1400" in run("ip", "link", "show", _bridge(lab))


async def test_forwarding_by_itself(lab: Lab) -> None:
    """A repair of a bridge sets it, too: here is no other."""
    lab.network("web")
    run("sysctl", "-w", "net.ipv4.ip_forward=0")
    (found,) = (each for each in lab.networks.find_drift() if each.kind == "forwarding")
    lab.networks.repair(found)
    assert bridges.is_forwarding()


async def test_a_look_changes_nothing(lab: Lab) -> None:
    lab.network("web")
    await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    run("ip", "link", "delete", _bridge(lab))
    run("nft", "flush", "ruleset")
    assert lab.networks.find_drift() == lab.networks.find_drift()
    assert run("nft", "list", "ruleset") == ""


@pytest.fixture
def inhabitant() -> Iterator[Callable[[Lab], int]]:
    """A process that lives in a sandbox, as a container does."""
    started: list[subprocess.Popen[bytes]] = []

    def start(lab: Lab) -> int:
        instance = lab.networks._instance
        with instance.opened("one") as netns, instance.home.inside(netns):
            started.append(subprocess.Popen(["sleep", "60"]))
        return started[-1].pid

    yield start
    for each in started:
        each.kill()
        each.wait()


@pytest.mark.parametrize("is_told", [True, False], ids=["pid by callback", "pid found"])
async def test_detached_namespace_is_bound_again_from_the_living_process(
    lab: Lab, inhabitant: Callable[[Lab], int], is_told: bool
) -> None:
    lab.network("web")
    await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    await lab.sandbox("two", "web")
    pid = inhabitant(lab)
    lab.networks._instance.pid_of = lambda sandbox: pid if is_told and sandbox == "one" else None
    path = lab.networks.netns_path("one")
    run("umount", path)
    assert [(each.kind, each.subject) for each in lab.networks.find_drift()] == [("netns", "one")]

    lab.networks.repair(lab.networks.find_drift()[0])
    assert os.stat(path).st_ino == os.stat(f"/proc/{pid}/ns/net").st_ino
    assert lab.networks.find_drift() == ()
    await _all_is_well(lab)


async def test_lost_namespace_without_a_process_is_made_anew(lab: Lab) -> None:
    lab.network("web")
    before = await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    await lab.sandbox("two", "web")
    path = lab.networks.netns_path("one")
    run("umount", path)
    os.unlink(path)
    for each in lab.networks.find_drift():
        lab.networks.repair(each)
    assert lab.networks.find_drift() == ()
    assert before in lab.networks.list_sandboxes()
    await _all_is_well(lab)


async def test_lost_namespace_is_made_by_ensure_too(lab: Lab) -> None:
    lab.network("web")
    before = await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    await lab.sandbox("two", "web")
    run("umount", lab.networks.netns_path("one"))
    assert await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),)) == before
    assert lab.networks.find_drift() == ()
    await _all_is_well(lab)


async def test_everything_at_once_after_a_restart(lab: Lab) -> None:
    lab.network("web")
    await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    await lab.sandbox("two", "web")
    run("nft", "flush", "ruleset")
    run("ip", "link", "delete", _bridge(lab))
    run("ip", "link", "delete", _link(lab))
    run("sysctl", "-w", "net.ipv4.ip_forward=0")
    lab.reopen()
    for _ in range(3):
        for each in lab.networks.find_drift():
            lab.networks.repair(each)
    assert lab.networks.find_drift() == ()
    await _all_is_well(lab)


async def test_a_containers_own_lines_and_routes_are_its_own(lab: Lab) -> None:
    lab.network("web")
    await lab.sandbox("one", "web")
    with open(lab.networks.hosts_path("one"), "a") as file:
        file.write("192.0.2.1 mine\n")
    gateway = lab.networks.list()[0].gateway.removesuffix("1") + "77"
    _inside(lab, "ip", "route", "replace", "default", "via", gateway)
    assert lab.networks.find_drift() == ()


@pytest.mark.parametrize("kind", ["bridge", "veth", "netns", "hosts", "cgroup"])
async def test_repair_of_what_is_gone(lab: Lab, kind: str) -> None:
    with pytest.raises(NotFound):
        lab.networks.repair(Drift(kind, "gone", ""))


async def test_a_look_from_another_thread_while_work_goes_on(lab: Lab) -> None:
    import asyncio

    lab.network("web")
    work: list[Awaitable[object]] = [
        lab.sandbox(f"s{number}", "web", ports=(PortConfig(80, 20000 + number),)) for number in range(60)
    ]
    looks = [asyncio.to_thread(Networks.find_drift, lab.networks) for _ in range(10)]
    await asyncio.gather(*work, *looks)
    await asyncio.sleep(0.1)
    assert await asyncio.to_thread(lab.networks.find_drift) == ()
