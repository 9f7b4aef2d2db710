"""What is kept on disk of networks and sandboxes, and how it is written and read back.

One JSON file each: a network's under the data directory (kept over a reboot), a sandbox's under the
run directory. They and the kernel are the whole state; `networks` holds the same values in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime import disk
from runtime.errors import Invalid
from runtime.model import Ipv6Config, NetworkConfig, PortConfig, Protocol_
from runtime.network.addresses import BITS6, Subnet, subnet_of

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """A network: what was asked for, and the subnets and bridge that it got. subnet6 None: it has no IPv6."""

    config: NetworkConfig
    subnet: Subnet
    bridge: str
    created_at: float = 0.0
    subnet6: Subnet | None = None

    @property
    def name(self) -> str:
        return self.config.name


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One interface of a sandbox. link: the host's end; interface: the name inside. ipv6 0: it has none."""

    network: str
    interface: str
    link: str
    ipv4: int
    mac: str
    aliases: tuple[str, ...] = ()
    ipv6: int = 0


@dataclass(frozen=True, slots=True)
class SandboxRecord:
    """A sandbox. links: (a name on its networks, what that is called here). inode: of its network namespace,
    0 while there is none. boot: the boot it is of. ids: the first of those of the user namespace that owns
    it, 0 when that is the host's."""

    id: str
    hostname: str
    names: tuple[str, ...]
    labels: Mapping[str, str]
    endpoints: tuple[Endpoint, ...]
    ports: tuple[PortConfig, ...]
    extra_hosts: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    inode: int = 0
    boot: str = ""
    ids: int = 0


def check_name(op: str, name: str) -> None:
    """Invalid unless the name can be a file's."""
    if not _FILE_NAME.fullmatch(name):
        raise Invalid(op, name, f"{name!r} is not a valid name", "letters, digits, '_', '.' and '-'")


def network_json(record: NetworkRecord) -> dict[str, Any]:
    config = dataclasses.asdict(record.config)
    config["labels"] = dict(record.config.labels)
    config["aux_addresses"] = dict(record.config.aux_addresses)
    if not record.config.bridge:
        del config["bridge"]  # releases that do not know it read the rest
    if record.config.ipv6 is None:
        del config["ipv6"]
    six = record.subnet6
    return {
        "config": config,
        "subnet": str(record.subnet),
        "gateway": record.subnet.gateway,
        "bridge": record.bridge,
        "created_at": record.created_at,
    } | ({"subnet6": str(six), "gateway6": six.gateway} if six else {})


def network_from(data: Mapping[str, Any]) -> NetworkRecord:
    """The inverse of network_json. KeyError, TypeError, ValueError or Invalid when it is not one."""
    config = NetworkConfig(**data["config"])
    if config.ipv6 is not None:
        config = dataclasses.replace(config, ipv6=Ipv6Config(**data["config"]["ipv6"]))
    check_name("read network", config.name)
    subnet = dataclasses.replace(subnet_of(config.name, data["subnet"], ""), gateway=int(data["gateway"]))
    six = None
    if config.ipv6 is not None:
        six = subnet_of(config.name, data["subnet6"], "", BITS6)
        six = dataclasses.replace(six, gateway=int(data["gateway6"]))
    return NetworkRecord(config, subnet, str(data["bridge"]), float(data.get("created_at", 0.0)), six)


def sandbox_json(record: SandboxRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "hostname": record.hostname,
        "names": record.names,
        "labels": dict(record.labels),
        "endpoints": [
            {
                "network": endpoint.network,
                "interface": endpoint.interface,
                "link": endpoint.link,
                "ipv4": endpoint.ipv4,
                "mac": endpoint.mac,
                "aliases": endpoint.aliases,
            }
            | ({"ipv6": endpoint.ipv6} if endpoint.ipv6 else {})
            for endpoint in record.endpoints
        ],
        "ports": [
            [port.container_port, port.host_port, port.protocol, port.host_ip, port.among]
            for port in record.ports
        ],
        "extra_hosts": record.extra_hosts,
        "links": record.links,
        "sysctls": dict(record.sysctls),
        "inode": record.inode,
        "boot": record.boot,
        "ids": record.ids,
    }


def sandbox_from(data: Mapping[str, Any]) -> SandboxRecord:
    """The inverse of sandbox_json. KeyError, TypeError, ValueError or Invalid when it is not one."""
    check_name("read sandbox", data["id"])
    return SandboxRecord(
        id=data["id"],
        hostname=data["hostname"],
        names=tuple(data["names"]),
        labels=dict(data["labels"]),
        endpoints=tuple(
            Endpoint(**{**endpoint, "aliases": tuple(endpoint["aliases"])}) for endpoint in data["endpoints"]
        ),
        ports=tuple(_port(*port) for port in data["ports"]),
        extra_hosts=tuple((name, address) for name, address in data["extra_hosts"]),
        links=tuple((name, alias) for name, alias in data.get("links", ())),
        sysctls=dict(data["sysctls"]),
        inode=int(data["inode"]),
        boot=data["boot"],
        ids=int(data.get("ids", 0)),
    )


def _port(
    target: int, number: int, protocol: Protocol_, host_ip: str, among: Sequence[int] | None = None
) -> PortConfig:
    return PortConfig(target, number, protocol, host_ip, (among[0], among[1]) if among else None)


def write(path: Path | str, data: Mapping[str, Any], *, lasting: bool) -> None:
    """Write a record, and replace one that is there in one step. lasting: it must be there after a power
    cut as well.

    A new one that need not last is written straight: broken off, it is as good as not written, and a
    rename costs as much again.
    """
    content = json.dumps(data).encode()
    if not lasting:
        with contextlib.suppress(FileExistsError):
            _write_file(str(path), os.O_EXCL, content)
            return
    _write_file(f"{path}.new", os.O_TRUNC, content, lasting)
    os.rename(f"{path}.new", path)  # noqa: PTH104 - on the path of every start, where Path costs


def _write_file(path: str, flags: int, content: bytes, lasting: bool = False) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
    try:
        disk.write_all(descriptor, content)
        if lasting:
            os.fsync(descriptor)
    except OSError:  # a full disk: half a record is worse than none
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108
        raise
    finally:
        os.close(descriptor)


def read_all(directory: Path) -> list[dict[str, Any]]:
    """All records of a directory that can be read. A broken one is as good as none: what it stood for
    is found by the kernel's names, or made again. OSError for a directory that cannot be read, which is not
    an empty one; a glob, from Python 3.13 on, takes it for that."""
    found = []
    for path in sorted(_paths(directory)):
        with contextlib.suppress(OSError, ValueError):
            found.append(json.loads(path.read_bytes()))
    return found


def _paths(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.suffix == ".json"]
    except FileNotFoundError:
        return []


def remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108
