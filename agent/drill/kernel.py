"""What breaks things, as an operator or another program would, and what tells that they are whole again.

Each goes to the kernel by itself and asks nobody: neither the agent nor its records. Of the drill's own
instance only. Called by `kinds`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from runtime import cgroups, syscalls
from runtime.errors import Temporary
from runtime.network import links
from runtime.network import table as tables
from runtime.network.libnftables import Nftables
from runtime.network.links import Link
from runtime.network.netlink import Netlink, Request


def link(name: str) -> Link | None:
    with Netlink() as netlink:
        return next(
            (each for each in map(links.read_link, netlink.dump(links.get_links())) if each.name == name),
            None,
        )


def send(*requests: Request) -> None:
    with Netlink() as netlink:
        netlink.request(*requests)


def addresses(index: int, family: int = socket.AF_INET) -> set[tuple[str, int]]:
    with Netlink() as netlink:
        found = map(links.read_address, netlink.dump(links.get_addresses(family)))
        return {(each.address, each.prefix) for each in found if each.index == index}


def index_of(name: str) -> int:
    found = link(name)
    return found.index if found else 0


def inside(pid: int, kinds: Iterable[str], work: Callable[[], object]) -> Any:
    """The result of work(), done by a child in namespaces ("net", "mnt") of a process; JSON values only."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            opened = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
            for each in opened:
                syscalls.setns(each)
            os.write(writer, json.dumps(work()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise Temporary("drill", f"process {pid}", "it could not be changed from inside")
    return json.loads(said)


def nft(script: str) -> None:
    library = Nftables()
    try:
        library.run(script, "the drill's table")
    finally:
        library.close()


def can_guard() -> bool:
    """Whether this kernel can have tables of family bridge."""
    library = Nftables()
    try:
        return not tables.can_guard(library, "drill")
    finally:
        library.close()


def table(name: str) -> str:
    """Both tables of a name as the kernel lists them, without what changes by itself; "" for none."""
    library = Nftables()
    try:
        found = tables.read(library, name) or []
    finally:
        library.close()
    return "\n".join(sorted(_without_handles(each) for each in found if "metainfo" not in each))


def _without_handles(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps({k: _sorted(v) for k, v in value.items()}, sort_keys=True)
    return json.dumps(value)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _sorted(v) for k, v in value.items() if k != "handle"}
    if isinstance(value, list):
        return sorted((_sorted(each) for each in value), key=lambda each: json.dumps(each, sort_keys=True))
    return value


def cgroup_file(path: str, controller: str, *files: str) -> Path:
    """The first of these files that a container's cgroup has: cgroup v1 and v2 name them otherwise."""
    found = cgroups.hierarchies()
    roots = [found.v1[controller]] if controller in found.v1 else []
    for root in (*roots, found.unified):
        for file in files:
            if root and Path(f"{root}{path}/{file}").exists():
                return Path(f"{root}{path}/{file}")
    raise Temporary("drill", path, f"it has no {files[0]}")


def is_mounted(pid: int, target: str) -> bool:
    """Something that still exists on the host is mounted there (proc(5): removed ones are marked)."""
    found = False
    for line in Path(f"/proc/{pid}/mountinfo").read_text(errors="replace").splitlines():
        fields = line.split(" ")
        if fields[4] == target:
            found = not fields[3].endswith("//deleted")
    return found


def state_of(pid: int) -> str:
    stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    return stat.rpartition(")")[2].split()[0]


def aliases() -> list[tuple[str, str]]:
    """(name, alias) of all links."""
    with Netlink() as netlink:
        return [(each.name, each.alias) for each in map(links.read_link, netlink.dump(links.get_links()))]


def _default_routes(netlink: Netlink, family: int) -> list[links.Route]:
    found = map(links.read_route, netlink.dump(links.get_routes(family)))
    return [each for each in found if not each.prefix and each.gateway]


def default_routes(family: int = socket.AF_INET) -> int:
    with Netlink() as netlink:
        return len(_default_routes(netlink, family))


def delete_default_routes(family: int = socket.AF_INET) -> None:
    with Netlink() as netlink:
        for each in _default_routes(netlink, family):
            netlink.request(links.delete_default_route(each.gateway, each.index))


# --- the whole host's firewall ------------------------------------------------------------------


def all_tables() -> dict[str, str]:
    """ "family name" -> the table as nft(8) would load it, for all tables of the host."""
    listed = _nft("list", "tables").splitlines()
    names = [line.removeprefix("table ").strip() for line in listed]
    return {name: _nft("list", "table", *name.split()) for name in names}


def restore_tables(kept: dict[str, str]) -> None:
    """Load those again that are missing: whoever keeps his own has put it back."""
    present = all_tables()
    for name, text in kept.items():
        if name not in present:
            subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def _nft(*words: str) -> str:
    return subprocess.run(["nft", *words], capture_output=True, text=True, check=True).stdout
