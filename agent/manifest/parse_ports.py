"""Published and exposed ports, short and long form.

    [HOST_IP:][HOST[-LAST]:]CONTAINER[-LAST][/PROTOCOL]      "127.0.0.1:8080-8090:80/udp"

Two ranges of one length are pairs; a range of host ports before one container port is room for
several replicas.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from agent.manifest.nodes import Mapping, Node
from agent.manifest.parse_values import choice, fields, filled, items, text
from agent.manifest.reading import Reading, Refuse
from agent.manifest.spec import Port
from runtime.errors import SetpointError
from runtime.network.ports import check_address6

MAX_PORT = 65535
MAX_PORTS = 10_000
SHORT_HINT = 'HOST:CONTAINER, such as "8080:80", "127.0.0.1:8080:80/udp" or "8000-8010:8000-8010"'
RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
PROTOCOLS = ("tcp", "udp", "sctp")


def ports(r: Reading, node: Node) -> tuple[Port, ...]:
    """`ports:` of a service; each port's claim on the host is noted."""
    result = [port for group in items(r, node, _entry) for port in group]
    if len(result) > MAX_PORTS:
        raise Refuse(f"publishes {len(result)} ports", f"at most {MAX_PORTS}")
    return tuple(result)


def _entry(r: Reading, node: Node) -> tuple[Port, ...]:
    found = _long(r, node) if isinstance(node, Mapping) else short_port(text(r, node))
    for port in found:
        for published in _published(port):
            r.claim("port", str(published), port.protocol, port.host_ip, at=node)
    return found


def _published(port: Port) -> range:
    if port.published is None:
        return range(0)
    return range(port.published, (port.published_last or port.published) + 1)


def short_port(value: str) -> tuple[Port, ...]:
    """The ports of a short form. Raises Refuse."""
    rest, slash, protocol = value.partition("/")
    if slash and protocol not in PROTOCOLS:
        raise Refuse(f'"{protocol}" is not a protocol', "tcp, udp or sctp")
    head, _, container = rest.rpartition(":")
    host_ip, host = _split_host(head, value)
    first, last = port_range(container, value)
    common: dict[str, Any] = {"protocol": protocol} if protocol else {}
    if host_ip:
        common["host_ip"] = host_ip
    if not host:
        return tuple(Port(target=target, **common) for target in range(first, last + 1))
    host_first, host_last = port_range(host, value)
    return _pair(first, last, host_first, host_last, common, value)


def _pair(
    first: int, last: int, host_first: int, host_last: int, common: dict[str, Any], value: str
) -> tuple[Port, ...]:
    if last - first == host_last - host_first:
        shift = host_first - first
        return tuple(Port(target=at, published=at + shift, **common) for at in range(first, last + 1))
    if first == last:
        return (Port(target=first, published=host_first, published_last=host_last, **common),)
    raise Refuse(f'"{value}": the two ranges have different lengths')


def _split_host(head: str, value: str) -> tuple[str, str]:
    """The host address and host port(s) of what stands before the container's port."""
    if head.startswith("["):
        address, bracket, port = head[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise Refuse(f'"{value}" is not a port', SHORT_HINT)
        return host_address(address), port[1:]
    address, _, port = head.rpartition(":")
    if not address and "." in port:
        return host_address(port), ""
    return (host_address(address) if address else ""), port


def host_address(value: str) -> str:
    """A host address in its canonical form, as the text that two of them are compared by."""
    try:
        found = str(ipaddress.ip_address(value))
    except ValueError:
        raise Refuse(
            f'"{value}" is not an address', "write an IPv6 address in brackets: [2001:db8::1]:80:80"
        ) from None
    if ":" in found:
        try:
            check_address6("", found)
        except SetpointError as error:
            raise Refuse(error.reason, error.hint) from None
    return found


def port_range(value: str, whole: str) -> tuple[int, int]:
    """First and last port of "80" or "80-90"."""
    match = RANGE.fullmatch(value)
    if match is None:
        raise Refuse(f'"{whole}" is not a port', SHORT_HINT)
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= last <= MAX_PORT:
        raise Refuse(f'"{whole}": ports go from 1 to {MAX_PORT}, the lower one first')
    return first, last


def _long(r: Reading, node: Mapping) -> tuple[Port, ...]:
    values = fields(r, node, LONG_FIELDS, required=("target",))
    first, last = values.pop("published", (None, None))
    values.pop("mode", None)  # host and ingress are the same on one host
    if first is not None:
        values["published"] = first
    if last != first:
        values["published_last"] = last
    return (Port(**values),)


def _target(r: Reading, node: Node) -> int:
    first, last = port_range(text(r, node), text(r, node))
    if first != last:
        raise Refuse("is a range", "use the short form for ranges")
    return first


def _host_ports(r: Reading, node: Node) -> tuple[int, int]:
    return port_range(text(r, node), text(r, node))


LONG_FIELDS: dict[str, Any] = {
    "target": _target,
    "published": _host_ports,
    "protocol": choice(*PROTOCOLS),
    "host_ip": lambda r, node: host_address(text(r, node)),
    "mode": choice("host", "ingress"),
    "name": filled,
}


def expose(r: Reading, node: Node) -> tuple[str, ...]:
    """`expose:`: "3000", "3000-3005/udp"; says what is there, opens nothing."""

    def one(r: Reading, node: Node) -> str:
        value = text(r, node)
        port, slash, protocol = value.partition("/")
        port_range(port, value)
        if slash and protocol not in PROTOCOLS:
            raise Refuse(f'"{protocol}" is not a protocol', "tcp, udp or sctp")
        return value

    return items(r, node, one)
