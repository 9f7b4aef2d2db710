"""Whether a host port is free, and who has it. Used by `reservations` before one is published.

A published port has no listening socket of ours: nftables leads it away before one would be asked. So
a port that a process of the host listens on would be taken from it in silence; the bind forbids that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import ipaddress
import json
import socket
from pathlib import Path
from typing import NoReturn

from runtime.errors import Conflict, Invalid, Temporary, Unsupported
from runtime.layout import Layout
from runtime.model import PortConfig
from runtime.network.firewall import PROTOCOLS, Published

_TABLES = {"tcp": ("/proc/net/tcp", "/proc/net/tcp6"), "udp": ("/proc/net/udp", "/proc/net/udp6")}
_ANY = ("", "0.0.0.0", "::")
_TCP_LISTEN = "0A"  # include/net/tcp_states.h


def describe(port: PortConfig) -> str:
    host = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip or "0.0.0.0"
    return f"{host}:{port.host_port}/{port.protocol}"


def by_family(port: PortConfig, has_ipv6: bool) -> tuple[PortConfig, ...]:
    """A port that is published on every address, as one of each family that its container has."""
    return (port, dataclasses.replace(port, host_ip="::")) if has_ipv6 and not port.host_ip else (port,)


def check(subject: str, port: PortConfig) -> None:
    """Invalid or Unsupported when the port cannot be published at all."""
    if port.protocol not in PROTOCOLS:
        raise Invalid("publish port", subject, f"unknown protocol {port.protocol!r}", "tcp, udp or sctp")
    if not (0 <= port.host_port < 65536 and 0 < port.container_port < 65536):
        raise Invalid("publish port", subject, f"{port.host_port}:{port.container_port} is out of range")
    if port.among is not None and not 0 < port.among[0] <= port.host_port <= port.among[1] < 65536:
        first, last = port.among
        raise Invalid("publish port", subject, f"{port.host_port} is not one of the ports {first}-{last}")
    if ":" in port.host_ip:
        check_address6(subject, port.host_ip)
        return
    try:
        socket.inet_pton(socket.AF_INET, port.host_ip or "0.0.0.0")
    except OSError:
        raise Invalid("publish port", subject, f"{port.host_ip!r} is not an IPv4 address") from None


def check_address6(subject: str, address: str) -> None:
    """Invalid or Unsupported for an address of IPv6 that nothing can be published on. Readers ask, too."""
    try:
        found = ipaddress.IPv6Address(address)
    except ValueError:
        found = None
    if found is None or found.scope_id or found.ipv4_mapped is not None or address != str(found):
        raise Invalid("publish port", subject, f"{address[:60]!r} is not an IPv6 address to publish on")
    if found.is_loopback:
        raise Unsupported(
            "publish port", subject, f"[{address}]: the kernel leads nothing from there to a container",
            "127.0.0.1",
        )  # fmt: skip
    if found.is_link_local or found.is_multicast:
        raise Invalid("publish port", subject, f"[{address}] is not an address to publish on")


def published(port: PortConfig, address: str) -> Published:
    host_ip = "" if port.host_ip in _ANY else port.host_ip
    return Published(port.protocol, host_ip, port.host_port, address, port.container_port)


def bind(subject: str, port: PortConfig, layout: Layout) -> socket.socket:
    """A socket bound to a tcp or udp port, not listening. Conflict when another has it; Temporary when the
    host has not the address.

    First without SO_REUSEADDR, since only then no other can bind beside it (socket(7)); with it where
    only connections that are winding down are in the way (tcp: for udp it would let two share the port).
    """
    kind = socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM
    bound, address = _socket(port, kind), (port.host_ip or "0.0.0.0", port.host_port)
    try:
        try:
            bound.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or kind != socket.SOCK_STREAM:
                raise
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
    except OSError as error:
        bound.close()
        _refuse(subject, port, error, holder_of(port) or instance_of(subject, port, layout))
    return bound


def choose(subject: str, port: PortConfig) -> int:
    """A free host port for one that names none (host_port 0), as the kernel gives it; else the one that is
    named, Conflict when it is in use."""
    kind = socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM
    with _socket(port, kind) as probing:
        try:
            probing.bind((port.host_ip or "0.0.0.0", port.host_port))
        except OSError as error:
            _refuse(subject, port, error, "")
        chosen: int = probing.getsockname()[1]
        return chosen


def _socket(port: PortConfig, kind: int) -> socket.socket:
    """Of the family that a port is published in, and of no other."""
    if ":" not in port.host_ip:
        return socket.socket(socket.AF_INET, kind)
    made = socket.socket(socket.AF_INET6, kind)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def _refuse(subject: str, port: PortConfig, error: OSError, holder: str) -> NoReturn:
    shown = describe(port)
    if error.errno == errno.EADDRINUSE:
        raise Conflict(
            "publish port", subject, f"{shown} is in use by {holder or 'a process of the host'}",
            "stop it, or publish another host port",
        ) from None  # fmt: skip
    if error.errno == errno.EADDRNOTAVAIL:
        raise Temporary(
            "publish port", subject, f"{port.host_ip} is not an address of this host",
            "the address may come up later", retry_after_seconds=5.0,
        ) from None  # fmt: skip
    raise Temporary("publish port", subject, f"{shown}: {error.strerror}") from error


def holder_of(port: PortConfig) -> str:
    """`nginx (pid 123)`, or "" when it is not found. Reads all of /proc: for an error's text only."""
    inodes = set()
    for table in _TABLES.get(port.protocol, ()):
        with contextlib.suppress(OSError):
            inodes |= _inodes(Path(table).read_text().splitlines()[1:], port)
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) in inodes:
                        return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""


def instance_of(subject: str, port: PortConfig, layout: Layout) -> str:
    """`hello-web-1 of instance lab` when another instance of Setpoint publishes the port, `hello-web-1` when
    another container of this one does, at another address; else ""."""
    for path in layout.run_root.glob("*/sandboxes/*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            instance = path.parts[-3]
            data = json.loads(path.read_bytes())
            if (instance != layout.instance or subject not in data["names"]) and any(
                tuple(each[1:3]) == (port.host_port, port.protocol)
                and (each[3] in (*_ANY, port.host_ip) or port.host_ip in _ANY)
                for each in data["ports"]
            ):
                other = f" of instance {instance}" if instance != layout.instance else ""
                return f"{data['names'][0]}{other}"
    return ""


def _inodes(lines: list[str], port: PortConfig) -> set[str]:
    found = set()
    for line in lines:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) != port.host_port:
            continue
        if port.protocol == "udp" or fields[3] == _TCP_LISTEN:
            found.add(f"socket:[{fields[9]}]")
    return found
