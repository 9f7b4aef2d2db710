"""Networks and sandboxes: made, met again, changed in place, taken over after a restart, and gone."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path

import pytest

from runtime.errors import Conflict, Invalid, NotFound, Temporary, Unsupported
from runtime.model import EndpointConfig, NetworkConfig, PortConfig, SandboxConfig
from runtime.network import networks, remove
from tests import leaks
from tests.kernel.network.conftest import HOST_ADDRESS, LAN_ADDRESS, Lab, run, until


def inside(lab: Lab, id: str, *arguments: str) -> str:
    instance = lab.networks._instance
    with instance.opened(id) as netns, instance.home.inside(netns):
        return run(*arguments)


async def test_sandbox_has_what_its_network_promises(lab: Lab) -> None:
    lab.network("web", subnet="10.77.0.0/24")
    state = await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))

    assert state.addresses == {"web": "10.77.0.2"}
    shown = json.loads(inside(lab, "one", "ip", "-j", "address"))
    by_name = {link["ifname"]: link for link in shown}
    assert set(by_name) == {"lo", "eth0"}
    assert "UP" in by_name["lo"]["flags"] and "UP" in by_name["eth0"]["flags"]
    assert by_name["eth0"]["address"] == "02:42:0a:4d:00:02"
    assert [each["local"] for each in by_name["eth0"]["addr_info"]] == ["10.77.0.2"]
    route = json.loads(inside(lab, "one", "ip", "-j", "route", "show", "default"))
    assert route[0]["gateway"] == "10.77.0.1"
    assert inside(lab, "one", "sysctl", "-n", "net.ipv4.ip_unprivileged_port_start").strip() == "0"
    links = json.loads(run("ip", "-j", "link"))
    aliases = {link.get("ifalias") for link in links}
    assert {f"{lab.layout.instance}/web", f"{lab.layout.instance}/web/one"} <= aliases
    assert lab.networks.find_drift() == ()


async def test_ensure_again_changes_nothing(lab: Lab) -> None:
    lab.network("web")
    first = await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    inode = os.stat(lab.networks.netns_path("one")).st_ino
    again = await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))

    assert again == first
    assert os.stat(lab.networks.netns_path("one")).st_ino == inode


async def test_network_none_has_loopback_alone(lab: Lab) -> None:
    state = await lab.sandbox("one")
    assert state.addresses == {}
    shown = json.loads(inside(lab, "one", "ip", "-j", "link"))
    assert [(link["ifname"], "UP" in link["flags"]) for link in shown] == [("lo", True)]
    assert "127.0.1.1\tone" in Path(lab.networks.hosts_path("one")).read_text()


async def test_join_and_host(lab: Lab) -> None:
    made = await lab.sandbox("one")
    assert await lab.networks.ensure_sandbox(SandboxConfig("join", "one")) == made
    with pytest.raises(NotFound, match="no such sandbox"):
        await lab.networks.ensure_sandbox(SandboxConfig("join", "two"))
    with pytest.raises(Invalid, match="has no sandbox"):
        await lab.networks.ensure_sandbox(SandboxConfig("host"))


async def test_networks_come_and_go_while_the_sandbox_lives(lab: Lab) -> None:
    lab.network("inner", internal=True)
    lab.network("web")
    lab.network("extra")
    await lab.sandbox("one", "inner", "extra")
    inode = os.stat(lab.networks.netns_path("one")).st_ino
    server = lab.serve("lan", 7000)
    assert lab.call("one", LAN_ADDRESS, 7000, server) == HOST_ADDRESS

    state = await lab.sandbox("one", "web", "inner", "extra", ports=(PortConfig(80, 8080),))
    assert os.stat(lab.networks.netns_path("one")).st_ino == inode
    assert set(state.addresses) == {"web", "inner", "extra"}
    assert lab.call("lan", HOST_ADDRESS, 8080, lab.serve("one", 80)) == LAN_ADDRESS
    gateways = {each.name: each.gateway for each in lab.networks.list()}
    routes = json.loads(inside(lab, "one", "ip", "-j", "route", "show", "default"))
    assert [route["gateway"] for route in routes] == [gateways["web"]]
    assert lab.networks.find_drift() == ()

    await lab.sandbox("one", "inner")
    shown = json.loads(inside(lab, "one", "ip", "-j", "link"))
    assert sorted(link["ifname"] for link in shown) == ["eth0", "lo"]
    assert lab.networks.find_drift() == ()


async def test_static_address_moves_the_interface(lab: Lab) -> None:
    lab.network("web", subnet="10.77.0.0/24")
    for address in ("10.77.0.50", "10.77.0.60"):
        config = SandboxConfig("own", "one", (EndpointConfig("web", ipv4=address),))
        state = await lab.networks.ensure_sandbox(config, hostname="one")
        assert state.addresses == {"web": address}
        assert lab.networks.find_drift() == ()
    with pytest.raises(Conflict, match="in use by another container"):
        await lab.networks.ensure_sandbox(
            SandboxConfig("own", "two", (EndpointConfig("web", ipv4="10.77.0.60"),))
        )
    with pytest.raises(Invalid, match="the network's gateway"):
        await lab.networks.ensure_sandbox(
            SandboxConfig("own", "two", (EndpointConfig("web", ipv4="10.77.0.1"),))
        )
    with pytest.raises(NotFound, match="there is no network 'nope'"):
        await lab.sandbox("two", "nope")
    assert [state.id for state in lab.networks.list_sandboxes()] == ["one"]


async def test_own_sysctls(lab: Lab) -> None:
    lab.network("web")
    config = SandboxConfig("own", "one", (EndpointConfig("web"),))
    wanted = {"net.ipv4.conf.eth0.forwarding": "1", "net.core.somaxconn": "777"}
    await lab.networks.ensure_sandbox(config, sysctls=wanted)
    assert inside(lab, "one", "sysctl", "-n", "net.core.somaxconn").strip() == "777"
    assert inside(lab, "one", "sysctl", "-n", "net.ipv4.conf.eth0.forwarding").strip() == "1"
    for name in ("kernel.pid_max", "net.../../kernel/pid_max", "net"):
        with pytest.raises(Invalid, match="set sysctl"):
            await lab.networks.ensure_sandbox(config, sysctls={name: "1"})
    with pytest.raises((Temporary, Unsupported), match=r"net/nothing/there"):
        await lab.networks.ensure_sandbox(
            SandboxConfig("own", "two", (EndpointConfig("web"),)), sysctls={"net.nothing.there": "1"}
        )
    assert [state.id for state in lab.networks.list_sandboxes()] == ["one"]
    assert not os.path.exists(lab.networks.netns_path("two"))


async def test_names_reach_all_peers_in_place(lab: Lab) -> None:
    lab.network("web")
    lab.network("other")
    await lab.sandbox("one", "web", names=("shop-one-1",))
    path = Path(lab.networks.hosts_path("one"))
    inode = path.stat().st_ino
    config = SandboxConfig(
        "own", "two", (EndpointConfig("web", ("api", "api.shop")), EndpointConfig("other"))
    )
    two = await lab.networks.ensure_sandbox(
        config,
        hostname="two",
        names=("shop-two-1",),
        extra_hosts=(("box", "host-gateway"), ("ns", "192.0.2.7")),
    )
    await until(lambda: f"{two.addresses['web']}\tshop-two-1 api api.shop\n" in path.read_text())

    assert path.stat().st_ino == inode
    assert two.addresses["other"] not in path.read_text()
    own = Path(lab.networks.hosts_path("two")).read_text()
    assert f"{two.addresses['web']}\ttwo shop-two-1\n" in own
    assert "10.201.0.1\tbox\n192.0.2.7\tns\n" in own
    assert "\tshop-one-1\n" in own

    await lab.networks.delete_sandbox("two")
    await until(lambda: "shop-two-1" not in path.read_text())


async def test_restart_takes_everything_over(lab: Lab) -> None:
    lab.network("web", labels={"project": "shop"})
    before = await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    server = lab.serve("one", 80)
    lab.reopen()

    assert lab.networks.list_sandboxes() == (before,)
    assert lab.networks.list()[0].labels == {"project": "shop"}
    assert lab.networks.find_drift() == ()
    assert lab.call("lan", HOST_ADDRESS, 8080, server) == LAN_ADDRESS
    assert await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),)) == before
    with pytest.raises(Conflict):
        await lab.sandbox("two", "web", ports=(PortConfig(80, 8080),))


async def test_restart_after_a_crash_half_way(lab: Lab) -> None:
    """Killed after the record and before the links, and after the namespace and before the record."""
    lab.network("web")
    await lab.sandbox("half", "web", ports=(PortConfig(80, 8080),))
    link = lab.networks._instance.book.sandboxes["half"].endpoints[0].link
    run("ip", "link", "delete", link)
    stray = lab.layout.netns / "stray"
    stray.touch()
    run("mount", "--bind", "/proc/self/ns/net", str(stray))
    (lab.layout.run / "sandboxes" / "broken.json").write_text('{"id": "brok')
    run("ip", "link", "add", "ve0000stray", "type", "veth", "peer", "name", "x0")
    run("ip", "link", "set", "ve0000stray", "alias", f"{lab.layout.instance}/web/stray")
    lab.reopen()

    assert not stray.exists()
    assert "ve0000stray" not in run("ip", "link")
    assert [state.id for state in lab.networks.list_sandboxes()] == ["half"]
    await lab.sandbox("half", "web", ports=(PortConfig(80, 8080),))
    assert lab.networks.find_drift() == ()
    assert lab.call("lan", HOST_ADDRESS, 8080, lab.serve("half", 80)) == LAN_ADDRESS


async def test_record_of_another_boot_is_forgotten(lab: Lab) -> None:
    lab.network("web")
    await lab.sandbox("one", "web")
    path = lab.layout.run / "sandboxes" / "one.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "boot": "another"}))
    lab.reopen()
    assert lab.networks.list_sandboxes() == ()
    assert not path.exists()


async def test_subnets_avoid_routes_and_each_other(lab: Lab) -> None:
    run("ip", "route", "add", "10.201.0.0/23", "via", LAN_ADDRESS)
    lab.network("one")
    lab.network("two")
    assert [state.subnet for state in lab.networks.list()] == ["10.201.2.0/24", "10.201.3.0/24"]
    for subnet, whose in (("10.201.3.0/25", "network two"), ("198.51.100.0/24", "of this host")):
        with pytest.raises(Conflict, match=whose):
            lab.network("three", subnet=subnet)


async def test_network_again_and_otherwise(lab: Lab) -> None:
    lab.network("web", labels={"a": "1"})
    first = lab.networks.list()
    lab.network("web", labels={"a": "2"})
    assert lab.networks.list()[0].labels == {"a": "2"}
    assert lab.networks.list()[0].subnet == first[0].subnet
    for changes in ({"internal": True}, {"subnet": "10.99.0.0/24"}, {"mtu": 1400}, {"isolated": True}):
        with pytest.raises(Conflict, match="exists with another configuration"):
            lab.network("web", **changes)
    await lab.sandbox("one", "web")
    with pytest.raises(Conflict, match="in use by one"):
        await lab.networks.delete("web")
    await lab.networks.delete_sandbox("one")
    await lab.networks.delete("web")
    await lab.networks.delete("web")
    assert lab.networks.list() == ()
    assert f"{lab.layout.instance}/" not in run("ip", "link")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "x" * 300, "a\nb"])
async def test_hostile_names_are_refused(lab: Lab, name: str) -> None:
    with pytest.raises(Invalid):
        lab.networks.create(NetworkConfig(name))
    with pytest.raises(Invalid):
        await lab.networks.ensure_sandbox(SandboxConfig("own", name))


async def test_mtu(lab: Lab) -> None:
    lab.network("web", mtu=1400)
    await lab.sandbox("one", "web")
    assert json.loads(inside(lab, "one", "ip", "-j", "link", "show", "eth0"))[0]["mtu"] == 1400


async def test_a_full_network_says_so_and_takes_back(lab: Lab) -> None:
    lab.network("tiny", subnet="10.77.0.0/29")
    for turn in range(5):
        await lab.sandbox(f"s{turn}", "tiny")
    with pytest.raises(Conflict, match=r"all addresses of 10\.77\.0\.0/29 are in use"):
        await lab.sandbox("more", "tiny")
    await lab.networks.delete_sandbox("s3")
    state = await lab.sandbox("more", "tiny")
    assert state.addresses == {"tiny": "10.77.0.5"}


async def test_counters_are_the_containers(lab: Lab) -> None:
    lab.network("web")
    await lab.sandbox("one", "web")
    datagrams = lab.serve("lan", 7000, socket.SOCK_DGRAM)
    before = lab.networks.counters("one")
    client = lab.socket_at("one", socket.SOCK_DGRAM)
    client.sendto(b"x" * 1000, (LAN_ADDRESS, 7000))
    datagrams.recvfrom(2000)
    after = lab.networks.counters("one")
    assert after[1] - before[1] >= 1000  # sent bytes
    assert after[3] > before[3]
    assert lab.networks.all_counters()["one"][1] >= after[1]
    assert lab.networks.counters("nobody") == (0, 0, 0, 0)


async def test_a_hundred_at_once_in_one_turn_after_another(lab: Lab) -> None:
    lab.network("web")
    lab.network("other")

    def config(number: int) -> SandboxConfig:
        ports = (PortConfig(80, 20000 + number),)
        return SandboxConfig("own", f"s{number}", (EndpointConfig("web"), EndpointConfig("other")), ports)

    states = await asyncio.gather(
        *(lab.networks.ensure_sandbox(config(n), hostname=f"s{n}") for n in range(100))
    )
    addresses = {address for state in states for address in state.addresses.values()}
    assert len(addresses) == 200
    assert lab.networks.find_drift() == ()
    assert lab.call("lan", HOST_ADDRESS, 20099, lab.serve("s99", 80)) == LAN_ADDRESS

    for each in lab._sockets:
        each.close()
    await asyncio.gather(*(lab.networks.delete_sandbox(f"s{n}") for n in range(100)))
    await lab.networks.delete("web")
    await lab.networks.delete("other")
    assert lab.networks.find_drift() == ()
    assert f"{lab.layout.instance}/" not in run("ip", "link")
    assert leaks.mounts(lab.layout) == []
    assert list((lab.layout.run / "hosts").iterdir()) == []
    assert list((lab.layout.run / "sandboxes").iterdir()) == []


async def test_a_new_sandbox_is_reached_at_once(lab: Lab) -> None:
    """Its first ARP request is not lost; the second one would come too late for whoever waits."""
    lab.network("web")
    bridge = lab.networks.list()[0].bridge
    Path(f"/proc/sys/net/ipv4/neigh/{bridge}/retrans_time_ms").write_text("3600000")
    for number in range(30):
        state = await lab.sandbox(f"s{number}", "web")
        with lab.serve(f"s{number}", 80), lab.socket_at("host") as client:
            client.connect((state.addresses["web"], 80))


async def test_delete_and_make_again_do_not_meet(lab: Lab) -> None:
    lab.network("web")
    await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    for _ in range(3):
        deleting = asyncio.ensure_future(lab.networks.delete_sandbox("one"))
        await asyncio.sleep(0)
        made, _ = await asyncio.gather(lab.sandbox("one", "web", ports=(PortConfig(80, 8080),)), deleting)
        assert lab.networks.list_sandboxes() == (made,)
        assert lab.networks.find_drift() == ()
    await asyncio.gather(lab.networks.delete_sandbox("one"), lab.networks.delete_sandbox("one"))
    await lab.networks.delete_sandbox("one")


async def test_names_are_told_at_once_where_somebody_asks_for_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "_PEERS_SECONDS", 60.0)
    lab.network("web")
    await lab.sandbox("one", "web")
    await asyncio.sleep(0.01)  # its peers' files are written: those that follow wait
    await lab.sandbox("two", "web")
    hosts = Path(lab.networks.hosts_path("one"))
    assert "\ttwo" not in hosts.read_text()
    lab.networks.tell_names()
    assert "\ttwo" in hosts.read_text()


async def test_a_removed_ones_aliases_leave_its_peers(lab: Lab) -> None:
    """At once, and not when its links are gone, or when somebody looks for drift."""
    lab.network("web")
    await lab.sandbox("stays", "web")
    endpoint = EndpointConfig("web", aliases=("nickname",))
    await lab.networks.ensure_sandbox(SandboxConfig("own", "goes", (endpoint,)), hostname="goes")
    hosts = Path(lab.networks.hosts_path("stays"))
    await until(lambda: "nickname" in hosts.read_text())
    lab.networks._hosts_written_at = 0.0  # no burst: the files are written before the links are gone
    await lab.networks.delete_sandbox("goes")
    await until(lambda: "nickname" not in hosts.read_text(), 1.0)
    assert lab.networks.find_drift() == ()


async def test_one_failure_among_many_fails_alone(lab: Lab) -> None:
    lab.network("web")
    lab.serve("host", 8080)
    answers = await asyncio.gather(
        lab.sandbox("one", "web"),
        lab.sandbox("two", "web", ports=(PortConfig(80, 8080),)),
        lab.sandbox("three", "web", ports=(PortConfig(80, 8081),)),
        lab.sandbox("four", "web", ports=(PortConfig(80, 8081),)),
        return_exceptions=True,
    )
    assert [type(answer).__name__ for answer in answers] == [
        "SandboxState", "Conflict", "SandboxState", "Conflict",
    ]  # fmt: skip
    assert lab.networks.find_drift() == ()


async def test_firewall_that_was_meddled_with_takes_the_next_change(lab: Lab) -> None:
    """The element to take out is gone already: the transaction fails, and the whole table is written."""
    lab.network("web")
    await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    run("nft", "flush", "map", "inet", lab.layout.nft_table, "published4")
    await lab.sandbox("one", "web", ports=(PortConfig(80, 9090),))
    assert lab.networks.find_drift() == ()
    assert lab.call("lan", HOST_ADDRESS, 9090, lab.serve("one", 80)) == LAN_ADDRESS


async def test_remove_all_needs_no_memory(lab: Lab) -> None:
    lab.network("web")
    await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    await lab.sandbox("two", "web")
    for path in (lab.layout.run / "sandboxes").iterdir():
        path.unlink()
    remove.remove_all(lab.layout)
    assert leaks.find_leaks(lab.layout) == []
    assert f"{lab.layout.instance}/" not in run("ip", "link")
    remove.remove_all(lab.layout)


async def test_two_instances_side_by_side(lab: Lab) -> None:
    from runtime.layout import Layout
    from runtime.network.networks import Networks

    other = Networks(Layout(f"{lab.layout.instance}b"))
    other.open()
    try:
        lab.network("web")
        other.create(NetworkConfig("web"))
        assert lab.networks.list()[0].subnet != other.list()[0].subnet
        mine = await lab.sandbox("one", "web")
        theirs = await other.ensure_sandbox(SandboxConfig("own", "one", (EndpointConfig("web"),)))
        server = lab.serve("one", 80)
        assert theirs.addresses != mine.addresses
        client = other.socket_in("one", socket.AF_INET, socket.SOCK_STREAM)
        with client:
            client.settimeout(0.25)
            with pytest.raises(OSError):
                client.connect((mine.addresses["web"], 80))
        server.close()
        remove.remove_all(other.layout)
        assert lab.networks.find_drift() == ()
    finally:
        other.close()
        remove.remove_all(other.layout)
        leaks.clean(other.layout)


async def test_no_descriptor_stays_open(lab: Lab) -> None:
    lab.network("web")
    await lab.sandbox("first", "web", ports=(PortConfig(80, 8079),))
    await lab.networks.delete_sandbox("first")
    before = os.listdir("/proc/self/fd")
    for turn in range(3):
        await lab.sandbox("one", "web", ports=(PortConfig(80, 8080 + turn),))
        lab.networks.find_drift()
        lab.networks.counters("one")
        await lab.networks.delete_sandbox("one")
    assert len(os.listdir("/proc/self/fd")) == len(before)


async def test_localhost_answers_at_both_of_its_addresses(lab: Lab) -> None:
    """Programs try ::1 first: it is either on lo or not in the hosts file."""
    lab.network()
    await lab.sandbox("one", "web")
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        is_named = f"{address}\tlocalhost" in Path(lab.networks.hosts_path("one")).read_text()
        try:
            with lab.networks.socket_in("one", family, socket.SOCK_DGRAM) as asking:
                asking.bind((address, 0))
            has_address = True
        except OSError:
            has_address = False
        assert is_named == has_address, address
