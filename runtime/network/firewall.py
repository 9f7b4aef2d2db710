"""The firewall of one instance as a value, and the nftables commands that make it so. Pure.

One table (family inet) of our own, never a line in another's:

    raw prerouting   what comes from outside and names a container's address itself is dropped before any
                     translation; so is 127.0.0.0/8 from a wire, and what a container sends with an
                     address that is not its network's
    dstnat           published ports, by two maps: on every address of the host, and on a named one
    forward          what is not ours is left alone; ours: answers, neighbours on the same network, and
                     published ports, everything else between networks and from outside is dropped;
                     internal networks reach nothing but themselves
    srcnat           outbound, loopback and hairpin traffic takes the host's address

All that varies is in sets and maps, so that a port costs one element and the chains never change.
`networks` applies it by `libnftables`. Names of sets end in 4 where an IPv6 twin will stand beside.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any, NamedTuple

Command = dict[str, Any]
Expression = dict[str, Any]

FAMILY = "inet"
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}  # /etc/protocols


class Element(NamedTuple):
    """One element of a set (value ()) or of a map, with parts as nftables lists them numerically."""

    set: str
    key: tuple[str | int, ...]
    value: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        target = f" -> {':'.join(map(str, self.value))}" if self.value else ""
        return f"{self.set}: {' '.join(map(str, self.key))}{target}"


@dataclass(frozen=True, slots=True)
class NetworkRule:
    """What the firewall knows of a network. subnet: `a.b.c.d/n`."""

    bridge: str
    subnet: str
    internal: bool = False
    isolated: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """A port of the host that leads to a container. host_ip "" is every address of the host."""

    protocol: str
    host_ip: str
    host_port: int
    address: str
    port: int


def elements_of(network: NetworkRule) -> tuple[Element, ...]:
    """The set elements that a network takes."""
    found = [Element("bridges", (network.bridge,)), Element("subnets4", (network.subnet,))]
    if network.internal:
        found.append(Element("internal", (network.bridge,)))
    if not network.isolated:
        found.append(Element("neighbours", (network.bridge, network.bridge)))
    return tuple(found)


def element_of(port: Published) -> Element:
    """The map element that a published port takes."""
    protocol, target = PROTOCOLS[port.protocol], (port.address, port.port)
    if port.host_ip in ("", "0.0.0.0"):
        return Element("published4", (protocol, port.host_port), target)
    return Element("published_on4", (port.host_ip, protocol, port.host_port), target)


def udp_ports(elements: Iterable[Element]) -> set[int]:
    """The host's UDP ports among published ones."""
    found = set()
    for element in elements:
        if element.set.startswith("published") and element.key[-2] == PROTOCOLS["udp"]:
            found.add(int(element.key[-1]))
    return found


def replace_table(table: str, elements: Collection[Element]) -> list[Command]:
    """The whole table anew, in one transaction: no packet meets half of it."""
    head: dict[str, Any] = {"family": FAMILY, "name": table}
    commands: list[Command] = [
        {"add": {"table": head}},  # so that the delete cannot fail
        {"delete": {"table": head}},
        {"add": {"table": head}},
    ]
    commands += [_add(kind, table, body) for kind, body in _SETS]
    commands += [_add("chain", table, body) for body in _CHAINS]
    commands += [_add("rule", table, body) for body in _RULES]
    return commands + _on_elements("add", table, elements)


def change(table: str, removed: Iterable[Element], added: Iterable[Element]) -> list[Command]:
    """Elements to take out and to put in, in one transaction."""
    return _on_elements("delete", table, removed) + _on_elements("add", table, added)


def delete_table(table: str) -> list[Command]:
    head = {"family": FAMILY, "name": table}
    return [{"add": {"table": head}}, {"delete": {"table": head}}]


def skeleton(listing: Sequence[dict[str, Any]]) -> str:
    """What of a listed table must never change: chains and rules in order, and the kinds of the sets."""
    parts = []
    for listed in listing:
        for kind, body in listed.items():
            if kind in ("chain", "rule", "set", "map"):
                kept = {key: value for key, value in body.items() if key not in ("handle", "elem")}
                parts.append(f"{kind} {_plain(kept)}")
    return "\n".join(parts)


def listed_elements(listing: Sequence[dict[str, Any]]) -> set[Element]:
    """The elements of a listed table's sets and maps."""
    found: set[Element] = set()
    for listed in listing:
        body = listed.get("set") or listed.get("map")
        if body is None:
            continue
        for element in body.get("elem", ()):
            pair = element if "map" in listed else (element, ())
            found.add(Element(body["name"], _read_parts(pair[0]), _read_parts(pair[1])))
    return found


def differences(
    listing: Sequence[dict[str, Any]] | None, wanted_skeleton: str, wanted: set[Element]
) -> list[str]:
    """How a listed table differs from what it should be, in words; [] when it does not."""
    if listing is None:
        return ["the table is missing"]
    found = listed_elements(listing)
    told = [f"missing {element}" for element in sorted(wanted - found, key=str)]
    told += [f"unexpected {element}" for element in sorted(found - wanted, key=str)]
    if skeleton(listing) != wanted_skeleton:
        told.append("chains or rules are changed")
    return told


# --- JSON of the commands (libnftables-json(5)) -----------------------------------------------


def _add(kind: str, table: str, body: dict[str, Any]) -> Command:
    return {"add": {kind: {"family": FAMILY, "table": table, **body}}}


def _on_elements(verb: str, table: str, elements: Iterable[Element]) -> list[Command]:
    grouped: dict[str, list[Any]] = {}
    for element in elements:
        key = _part(element.key)
        grouped.setdefault(element.set, []).append([key, _part(element.value)] if element.value else key)
    return [
        {verb: {"element": {"family": FAMILY, "table": table, "name": name, "elem": items}}}
        for name, items in sorted(grouped.items())
    ]


def _part(parts: tuple[str | int, ...]) -> Any:
    if len(parts) > 1:
        return {"concat": list(parts)}
    only = parts[0]
    if isinstance(only, str) and "/" in only:
        network = IPv4Network(only)
        return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}
    return only


def _read_parts(part: Any) -> tuple[str | int, ...]:
    if isinstance(part, dict) and "elem" in part:
        return _read_parts(part["elem"]["val"])
    if isinstance(part, dict) and "concat" in part:
        return tuple(value if isinstance(value, str | int) else str(value) for value in part["concat"])
    if isinstance(part, dict) and "prefix" in part:
        return (f"{part['prefix']['addr']}/{part['prefix']['len']}",)
    if isinstance(part, str | int):
        return (part,)
    return () if not part else (str(part),)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_plain(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_plain, value)) + "]"
    return str(value)


def _match(left: Expression, right: Any, op: str = "==") -> Expression:
    return {"match": {"op": op, "left": left, "right": right}}


def _map(*parts: Expression, data: str) -> Expression:
    return {"dnat": {"family": "ip", "addr": {"map": {"key": {"concat": list(parts)}, "data": data}}}}


_IN: Expression = {"meta": {"key": "iifname"}}
_OUT: Expression = {"meta": {"key": "oifname"}}
_PROTOCOL: Expression = {"meta": {"key": "l4proto"}}
_PORT: Expression = {"payload": {"protocol": "th", "field": "dport"}}
_SOURCE: Expression = {"payload": {"protocol": "ip", "field": "saddr"}}
_DESTINATION: Expression = {"payload": {"protocol": "ip", "field": "daddr"}}
_LOOPBACK = {"prefix": {"addr": "127.0.0.0", "len": 8}}
_IS_IPV4 = _match({"meta": {"key": "nfproto"}}, "ipv4")
_HAS_PORT = _match(_PROTOCOL, {"set": ["tcp", "udp", "sctp"]})
_IS_TRANSLATED = _match({"ct": {"key": "status"}}, "dnat", "in")
_ROUTE_BACK: Expression = {"fib": {"result": "oif", "flags": ["saddr", "iif"]}}
_FROM_OURS, _NOT_FROM_OURS = _match(_IN, "@bridges"), _match(_IN, "@bridges", "!=")
_TO_OURS, _NOT_TO_OURS = _match(_OUT, "@bridges"), _match(_OUT, "@bridges", "!=")
_ACCEPT, _DROP, _MASQUERADE = {"accept": None}, {"drop": None}, {"masquerade": None}

_SETS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("set", {"name": "bridges", "type": "ifname"}),
    ("set", {"name": "internal", "type": "ifname"}),
    ("set", {"name": "neighbours", "type": ["ifname", "ifname"]}),
    ("set", {"name": "subnets4", "type": "ipv4_addr", "flags": ["interval"]}),
    ("map", {
        "name": "published4", "type": ["inet_proto", "inet_service"], "map": ["ipv4_addr", "inet_service"],
    }),
    ("map", {
        "name": "published_on4", "type": ["ipv4_addr", "inet_proto", "inet_service"],
        "map": ["ipv4_addr", "inet_service"],
    }),
)  # fmt: skip


def _base(name: str, kind: str, hook: str, priority: int) -> dict[str, Any]:
    return {"name": name, "type": kind, "hook": hook, "prio": priority, "policy": "accept"}


# Priorities are those of linux/netfilter_ipv4.h: raw -300, dstnat -100, filter 0, srcnat 100.
_CHAINS: tuple[dict[str, Any], ...] = (
    _base("ingress", "filter", "prerouting", -300),
    _base("publish", "nat", "prerouting", -100),
    _base("publish_local", "nat", "output", -100),
    _base("forward", "filter", "forward", 0),
    {"name": "ours"},
    _base("masquerade", "nat", "postrouting", 100),
)

_TRANSLATE = (
    [_IS_IPV4, _HAS_PORT, _map(_DESTINATION, _PROTOCOL, _PORT, data="@published_on4")],
    [
        _IS_IPV4,
        _HAS_PORT,
        _match({"fib": {"result": "type", "flags": ["daddr"]}}, "local"),
        _map(_PROTOCOL, _PORT, data="@published4"),
    ],
)

_RULE_LISTS: tuple[tuple[str, tuple[list[Expression], ...]], ...] = (
    ("ingress", (
        [_match(_IN, "lo"), _ACCEPT],
        # The kernel drops these itself, until somebody sets route_localnet, as we do on our bridges.
        [_match(_DESTINATION, _LOOPBACK), _DROP],
        [_match(_SOURCE, _LOOPBACK), _DROP],
        [_NOT_FROM_OURS, _match(_DESTINATION, "@subnets4"), _DROP],
        # By the host's routes, not by our subnets: a container may be a router that the host knows of.
        [_FROM_OURS, _IS_IPV4, _match(_ROUTE_BACK, False), _DROP],
    )),
    ("publish", _TRANSLATE),
    ("publish_local", _TRANSLATE),
    ("forward", (
        [_FROM_OURS, {"goto": {"target": "ours"}}],
        [_TO_OURS, {"goto": {"target": "ours"}}],
    )),
    ("ours", (
        [_match({"ct": {"key": "state"}}, ["established", "related"], "in"), _ACCEPT],
        # Bridged frames come here too where br_netfilter is on.
        [_match({"concat": [_IN, _OUT]}, "@neighbours"), _ACCEPT],
        [_match(_IN, "@internal", "!="), _match(_OUT, "@internal", "!="), _IS_TRANSLATED, _ACCEPT],
        [_TO_OURS, _DROP],
        [_match(_IN, "@internal"), _DROP],
        [_ACCEPT],
    )),
    ("masquerade", (
        [_TO_OURS, _match(_SOURCE, _LOOPBACK), _MASQUERADE],
        # Hairpin, and a caller that has another way back to the callee than by the host.
        [_TO_OURS, _match(_SOURCE, "@subnets4"), _IS_TRANSLATED, _MASQUERADE],
        [_NOT_TO_OURS, _match(_OUT, "lo", "!="), _match(_SOURCE, "@subnets4"), _MASQUERADE],
    )),
)  # fmt: skip

_RULES: tuple[dict[str, Any], ...] = tuple(
    {"chain": chain, "expr": expressions} for chain, rules in _RULE_LISTS for expressions in rules
)
