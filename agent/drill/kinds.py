"""What a drill breaks: one value a kind, with how it is broken and what tells that it is whole again.

`at_host` marks what concerns more than the drill's own instance; it is done only when asked for. Each kind
takes another container where it can, so that one repair does not count as another's repetition.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.drill import kernel
from agent.drill.instance import PROJECT, DrillInstance
from runtime import cgroups, syscalls
from runtime.network import bridges, links

MEMORY_BYTES = 64 << 20
PIDS = 32


@dataclass(frozen=True, slots=True)
class Broken:
    """A thing that was broken. is_whole: looks at the kernel. restarts: the service that has to restart."""

    what: str
    is_whole: Callable[[], bool]
    restarts: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """break_it: breaks it, and says what. needs_v1: a controller of cgroup v1 without which nothing of the
    kind can be broken. needs_guard: the table of family bridge is broken. needs_ipv6: a network's IPv6.
    covers: a kind that this one breaks as well, and more: of one finding an agent puts back and tells only so
    many in a row (`agent.reconcile.repairs.AT_ONCE`)."""

    name: str
    break_it: Callable[[DrillInstance], Broken]
    at_host: bool = False
    needs_v1: str = ""
    needs_guard: bool = False
    needs_ipv6: bool = False
    covers: str = ""

    @property
    def lacks(self) -> str:
        """What this host has not of what is to be broken, "" when all is there."""
        if self.needs_v1 and self.needs_v1 not in cgroups.hierarchies().v1:
            return f"{self.needs_v1} of cgroup v1"
        if self.needs_ipv6 and not bridges.is_forwarding6():
            return "a network with IPv6"
        return "nftables for bridges" if self.needs_guard and not kernel.can_guard() else ""


# --- firewall ---------------------------------------------------------------------------------


def _table(drill: DrillInstance, script: str, what: str) -> Broken:
    name = drill.layout.nft_table
    before = kernel.table(name)
    kernel.nft(script.format(table=f"inet {name}", guard=f"bridge {name}"))
    return Broken(what.format(table=name), lambda: kernel.table(name) == before)


def table(drill: DrillInstance) -> Broken:
    return _table(drill, "delete table {table}", "nft table {table} deleted")


def rule(drill: DrillInstance) -> Broken:
    return _table(drill, "insert rule {table} forward accept", "a rule put into table {table}")


def element(drill: DrillInstance) -> Broken:
    return _table(drill, "flush map {table} published_on4", "published ports taken out of table {table}")


def guard(drill: DrillInstance) -> Broken:
    return _table(drill, "delete table {guard}", "nft table {table} of family bridge deleted")


def honest(drill: DrillInstance) -> Broken:
    return _table(drill, "flush set {guard} guarded", "guarded ports taken out of table {table}")


def ruleset(drill: DrillInstance) -> Broken:
    """The whole host's. What nobody puts back by himself is put back when the drill's own table is there."""
    name = drill.layout.nft_table
    before, kept = kernel.table(name), kernel.all_tables()
    kernel.nft("flush ruleset")

    def is_whole() -> bool:
        if kernel.table(name) != before:
            return False
        kernel.restore_tables(kept)
        return True

    return Broken("nft flush ruleset, of the whole host", is_whole)


# --- links ------------------------------------------------------------------------------------


def _bridge_of(drill: DrillInstance, network: str) -> str:
    return next(str(n["bridge"]) for n in drill.client.networks() if n["name"] == f"{PROJECT}_{network}")


def _veth_of(drill: DrillInstance, service: str) -> str:
    """The host's end, found by the alias that the kernel shows of it."""
    sandbox = drill.sandbox(service)
    return next(name for name, alias in kernel.aliases() if alias.endswith(f"/{sandbox}"))


def bridge(drill: DrillInstance) -> Broken:
    name, port = _bridge_of(drill, "default"), _veth_of(drill, "one")
    gateway = kernel.addresses(kernel.index_of(name))
    kernel.send(links.delete_link(name))

    def is_whole() -> bool:
        index, end = kernel.index_of(name), kernel.link(port)
        return bool(index) and kernel.addresses(index) == gateway and end is not None and end.master == index

    return Broken(f"bridge {name} deleted", is_whole)


def bridge_down(drill: DrillInstance) -> Broken:
    name = _bridge_of(drill, "far")
    kernel.send(links.set_link(kernel.index_of(name), up=False))
    return Broken(f"bridge {name} set down", lambda: _is_up(name))


def _is_up(name: str) -> bool:
    found = kernel.link(name)
    return found is not None and found.is_up


def gateway(drill: DrillInstance) -> Broken:
    name = _bridge_of(drill, "far")
    index = kernel.index_of(name)
    before = kernel.addresses(index)
    address, prefix = next(iter(before))
    kernel.send(links.delete_address(index, address, prefix))
    return Broken(f"address {address} taken off {name}", lambda: kernel.addresses(index) == before)


def gateway6(drill: DrillInstance) -> Broken:
    name = _bridge_of(drill, "far")
    index = kernel.index_of(name)
    before = kernel.addresses(index, socket.AF_INET6)
    for address, prefix in before:
        kernel.send(links.delete_address(index, address, prefix))
    what = f"addresses of IPv6 taken off {name}"
    return Broken(what, lambda: kernel.addresses(index, socket.AF_INET6) == before)


def sysctl(drill: DrillInstance) -> Broken:
    name = _bridge_of(drill, "far")
    path = Path(f"/proc/sys/net/ipv4/conf/{name}/route_localnet")
    path.write_text("0")
    return Broken(f"route_localnet of {name} set to 0", lambda: path.read_text().strip() == "1")


def forwarding(_drill: DrillInstance) -> Broken:
    path = Path("/proc/sys/net/ipv4/ip_forward")
    path.write_text("0")
    return Broken("net.ipv4.ip_forward set to 0", lambda: path.read_text().strip() == "1")


def veth(drill: DrillInstance) -> Broken:
    name, pid = _veth_of(drill, "one"), drill.pids()["one"]
    before = kernel.inside(pid, ("net",), _inside_state)
    kernel.send(links.delete_link(name))
    return Broken(
        f"link {name} deleted",
        lambda: _is_up(name) and _same(kernel.inside(pid, ("net",), _inside_state), before),
    )


def _inside_state() -> list[object]:
    """Addresses of eth0, whether it is up, and how many default routes there are."""
    found = kernel.link("eth0")
    if found is None:
        return []
    six = sorted(map(list, kernel.addresses(found.index, socket.AF_INET6)))
    four = sorted(map(list, kernel.addresses(found.index)))
    return [four, six, found.is_up, kernel.default_routes(), kernel.default_routes(socket.AF_INET6)]


def _same(now: object, before: object) -> bool:
    return bool(now) and now == before


def port(drill: DrillInstance) -> Broken:
    name = _veth_of(drill, "two")
    found = kernel.link(name)
    assert found is not None
    master = found.master
    kernel.send(links.set_link(found.index, master=0))

    def is_whole() -> bool:
        now = kernel.link(name)
        return now is not None and now.master == master

    return Broken(f"port {name} taken off its bridge", is_whole)


def port_down(drill: DrillInstance) -> Broken:
    name = _veth_of(drill, "three")
    kernel.send(links.set_link(kernel.index_of(name), up=False))
    return Broken(f"port {name} set down", lambda: _is_up(name))


# --- inside a container's network ---------------------------------------------------------------


def _inside(drill: DrillInstance, service: str, change: Callable[[], object], what: str) -> Broken:
    pid = drill.pids()[service]
    before = kernel.inside(pid, ("net",), _inside_state)
    kernel.inside(pid, ("net",), change)
    return Broken(f"{what} of {service}", lambda: _same(kernel.inside(pid, ("net",), _inside_state), before))


def _delete_address() -> None:
    index = kernel.index_of("eth0")
    for address, prefix in kernel.addresses(index):
        kernel.send(links.delete_address(index, address, prefix))


def address(drill: DrillInstance) -> Broken:
    return _inside(drill, "two", _delete_address, "the address")


def _delete_address6() -> None:
    index = kernel.index_of("eth0")
    for address, prefix in kernel.addresses(index, socket.AF_INET6):
        if not address.startswith("fe80:"):  # which the kernel gives by itself
            kernel.send(links.delete_address(index, address, prefix))


def address6(drill: DrillInstance) -> Broken:
    return _inside(drill, "four", _delete_address6, "the address of IPv6")


def route6(drill: DrillInstance) -> Broken:
    def change() -> None:
        kernel.delete_default_routes(socket.AF_INET6)

    return _inside(drill, "three", change, "the default route of IPv6")


def route(drill: DrillInstance) -> Broken:
    return _inside(drill, "three", kernel.delete_default_routes, "the default route")


def interface_down(drill: DrillInstance) -> Broken:
    def change() -> None:
        kernel.send(links.set_link(kernel.index_of("eth0"), up=False))

    return _inside(drill, "four", change, "the interface")


def interface(drill: DrillInstance) -> Broken:
    return _inside(drill, "four", lambda: kernel.send(links.delete_link("eth0")), "eth0 deleted inside")


def netns(drill: DrillInstance) -> Broken:
    path = drill.layout.netns / drill.sandbox("four")
    before = path.stat().st_ino
    syscalls.umount2(str(path), syscalls.MNT_DETACH)
    return Broken("the network namespace of four unmounted", lambda: path.stat().st_ino == before)


# --- control groups and processes ---------------------------------------------------------------


def _cgroup(drill: DrillInstance, service: str) -> str:
    return f"/{drill.layout.cgroup_parent}/{drill.container(service)['id']}"


def _limit(drill: DrillInstance, service: str, controller: str, *files: str, value: str) -> Broken:
    file = kernel.cgroup_file(_cgroup(drill, service), controller, *files)
    before = file.read_text()
    file.write_text(value)
    return Broken(f"{file.name} of {service} set to {value}", lambda: file.read_text() == before)


def memory(drill: DrillInstance) -> Broken:
    value = str(MEMORY_BYTES // 2)
    return _limit(drill, "one", "memory", "memory.limit_in_bytes", "memory.max", value=value)


def processes(drill: DrillInstance) -> Broken:
    return _limit(drill, "two", "pids", "pids.max", value="max")


def cpu(drill: DrillInstance) -> Broken:
    """A limit that the manifest does not give."""
    return _limit(drill, "three", "cpu", "cpu.cfs_quota_us", "cpu.max", value="10000")


def devices(drill: DrillInstance) -> Broken:
    path = _cgroup(drill, "four")
    listed = kernel.cgroup_file(path, "devices", "devices.list")
    before = set(listed.read_text().splitlines())
    kernel.cgroup_file(path, "devices", "devices.allow").write_text("c 1:11 rw")
    return Broken("device 1:11 allowed to four", lambda: set(listed.read_text().splitlines()) == before)


def frozen(drill: DrillInstance) -> Broken:
    file = kernel.cgroup_file(_cgroup(drill, "one"), "freezer", "cgroup.freeze", "freezer.state")
    before = file.read_text()
    file.write_text("1" if file.name == "cgroup.freeze" else "FROZEN")
    return Broken("one frozen", lambda: file.read_text() == before)


def moved(drill: DrillInstance) -> Broken:
    """As a service manager does that takes a cgroup for its own."""
    pid, path = drill.pids()["two"], _cgroup(drill, "two")
    procs = kernel.cgroup_file(path, "", "cgroup.procs")
    # The root: where controllers are passed on, no other of v2 takes a process (cgroups(7)).
    Path(cgroups.hierarchies().unified, "cgroup.procs").write_text(str(pid))
    return Broken("two moved out of its cgroup", lambda: str(pid) in procs.read_text().split())


def stopped(drill: DrillInstance) -> Broken:
    pid = drill.pids()["three"]
    os.kill(pid, signal.SIGSTOP)
    return Broken("the process of three stopped by SIGSTOP", lambda: kernel.state_of(pid) != "T")


def killed(drill: DrillInstance) -> Broken:
    before = drill.pids()["four"]
    os.kill(before, signal.SIGKILL)
    return Broken(
        "the process of four killed", lambda: drill.pids().get("four", 0) not in (0, before), "four"
    )


# --- files --------------------------------------------------------------------------------------


def _unmounted(
    drill: DrillInstance, service: str, target: str, remove: Callable[[int], object], what: str
) -> Broken:
    pid = drill.pids()[service]
    remove(pid)
    return Broken(what, lambda: kernel.is_mounted(pid, target))


def volume(drill: DrillInstance) -> Broken:
    def remove(pid: int) -> None:
        kernel.inside(pid, ("mnt",), lambda: syscalls.umount2("/data", syscalls.MNT_DETACH))

    return _unmounted(drill, "one", "/data", remove, "the volume of one unmounted")


def volume_removed(drill: DrillInstance) -> Broken:
    path = drill.layout.volumes / f"{PROJECT}_two" / "_data"
    what = "the volume of two removed on the host (its data is lost)"
    return _unmounted(drill, "two", "/data", lambda _pid: shutil.rmtree(path), what)


def hosts(drill: DrillInstance) -> Broken:
    path = drill.layout.run / "hosts" / drill.sandbox("three")
    what = "the hosts file of three deleted"
    return _unmounted(drill, "three", "/etc/hosts", lambda _pid: path.unlink(), what)


def resolv(drill: DrillInstance) -> Broken:
    path = drill.layout.run_containers / str(drill.container("four")["id"]) / "resolv.conf"
    what = "the resolv.conf of four deleted"
    return _unmounted(drill, "four", "/etc/resolv.conf", lambda _pid: path.unlink(), what)


def hosts_empty(drill: DrillInstance) -> Broken:
    pid = drill.pids()["one"]
    (drill.layout.run / "hosts" / drill.sandbox("one")).write_text("")
    inside = Path(f"/proc/{pid}/root/etc/hosts")
    return Broken("the hosts file of one emptied", lambda: "localhost" in inside.read_text())


def record(drill: DrillInstance) -> Broken:
    path = drill.layout.run / "sandboxes" / f"{drill.sandbox('two')}.json"
    path.unlink()
    return Broken("the record of two's network deleted", path.exists)


def state(drill: DrillInstance) -> Broken:
    path = drill.layout.run_containers / str(drill.container("three")["id"]) / "state.json"
    path.unlink()
    return Broken("the supervisor's record of three deleted", path.exists)


def supervisor_socket(drill: DrillInstance) -> Broken:
    drill.layout.supervisor_socket.unlink()
    return Broken("the supervisor's socket deleted", drill.layout.supervisor_socket.exists)


def agent_socket(drill: DrillInstance) -> Broken:
    drill.layout.agent_socket.unlink()
    return Broken("the agent's socket deleted", drill.layout.agent_socket.exists)


KINDS: tuple[Kind, ...] = (
    Kind("table", table),
    Kind("rule", rule),
    Kind("element", element),
    Kind("guard", guard, needs_guard=True),
    Kind("guarded-ports", honest, needs_guard=True),
    Kind("ruleset", ruleset, at_host=True, covers="table"),
    Kind("bridge", bridge),
    Kind("bridge-down", bridge_down),
    Kind("gateway", gateway),
    Kind("gateway6", gateway6, needs_ipv6=True),
    Kind("sysctl", sysctl),
    Kind("forwarding", forwarding, at_host=True),
    Kind("veth", veth),
    Kind("port", port),
    Kind("port-down", port_down),
    Kind("address", address),
    Kind("route", route),
    Kind("address6", address6, needs_ipv6=True),
    Kind("route6", route6, needs_ipv6=True),
    Kind("interface-down", interface_down),
    Kind("interface", interface),
    Kind("netns", netns),
    Kind("memory", memory),
    Kind("processes", processes),
    Kind("cpu", cpu),
    Kind("devices", devices, needs_v1="devices"),  # of v2 a program in the kernel, which nobody can change
    Kind("frozen", frozen),
    Kind("moved", moved),
    Kind("stopped", stopped),
    Kind("volume", volume),
    Kind("volume-removed", volume_removed),
    Kind("hosts", hosts),
    Kind("hosts-empty", hosts_empty),
    Kind("resolv", resolv),
    Kind("record", record),
    Kind("state", state),
    Kind("supervisor-socket", supervisor_socket),
    Kind("agent-socket", agent_socket),
    Kind("killed", killed),
)
