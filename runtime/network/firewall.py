"""The firewall of one instance as a value, and the nftables commands that make it so. Pure.

One table (family inet) of our own, never a line in another's:

    raw prerouting   what comes from outside and names a container's address itself is dropped before any
                     translation; so is 127.0.0.0/8 from a wire, and what a container sends with an
                     address that is not its network's
    dstnat           published ports, by two maps: on every address of the host, and on a named one
    forward          what is not ours is left alone; ours: answers, neighbours on the same network, and
                     published ports, everything else between networks and from outside is dropped;
                     internal networks reach nothing but themselves
    srcnat           outbound, loopback and hairpin traffic takes the host's address; outbound of networks
                     that are routed keeps its own, and its answers are let in by what is under way

A second table of the same name (family bridge, see `guard`) lets in at a container's port only what is
honestly its own. Both are changed in one transaction.

IPv6 is led as IPv4 is, by sets of its own whose names end in 6; but nothing leads from ::1 to a container:
the kernel takes no answer for it from a bridge (no route_localnet, rt6_need_strict()), so that who calls
[::1]:PORT is to be refused at once, not to wait.

All that varies is in sets and maps, so that a port costs one element a family and the chains never change.
`networks` applies it by `libnftables`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from runtime.network import guard
from runtime.network.addresses import text_of

FAMILY = "inet"
FAMILIES = (FAMILY, guard.FAMILY)
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}  # /etc/protocols


class Element(NamedTuple):
    """One element of a set (value ()) or of a map, with parts as nftables lists them numerically."""

    set: str
    key: tuple[str | int, ...]
    value: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        target = f" -> {':'.join(map(str, self.value))}" if self.value else ""
        return f"{self.set}: {' '.join(map(_shown, self.key))}{target}"


def _shown(part: str | int) -> str:
    """As people write it: a MAC and an address of IPv6 may be numbers."""
    if isinstance(part, str) or part < 1 << 32:
        return str(part)
    return part.to_bytes(6, "big").hex(":") if part < 1 << 48 else text_of(part)


@dataclass(frozen=True, slots=True)
class NetworkRule:
    """What the firewall knows of a network. subnet: `a.b.c.d/n`. subnet6 "": it has no IPv6. routed: who is
    on it is seen outside by its own address."""

    bridge: str
    subnet: str
    internal: bool = False
    isolated: bool = False
    subnet6: str = ""
    routed: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """A port of the host that leads to a container. host_ip "" is every address of the host, of the family
    of `address`."""

    protocol: str
    host_ip: str
    host_port: int
    address: str
    port: int


def elements_of(network: NetworkRule) -> tuple[Element, ...]:
    """The set elements that a network takes."""
    found = [Element("bridges", (network.bridge,)), Element("subnets4", (network.subnet,))]
    if network.subnet6:
        found += [Element("bridges6", (network.bridge,)), Element("subnets6", (network.subnet6,))]
    if network.routed:
        found.append(Element("routed4", (network.subnet,)))
        found += [Element("routed6", (network.subnet6,))] if network.subnet6 else []
    if network.internal:
        found.append(Element("internal", (network.bridge,)))
    if not network.isolated:
        found.append(Element("neighbours", (network.bridge, network.bridge)))
    return tuple(found)


def element_of(port: Published) -> Element:
    """The map element that a published port takes."""
    protocol, target = PROTOCOLS[port.protocol], (port.address, port.port)
    family = 6 if ":" in port.address else 4
    if port.host_ip in ("", "0.0.0.0", "::"):
        return Element(f"published{family}", (protocol, port.host_port), target)
    return Element(f"published_on{family}", (port.host_ip, protocol, port.host_port), target)


def guarding(link: str, mac: str, address: str) -> tuple[Element, Element]:
    """The set elements that a guarded port of a bridge takes."""
    return Element("guarded", (link,)), Element("honest4", (link, mac, address))


def guarding6(link: str, mac: str, addresses: Iterable[int]) -> tuple[Element, ...]:
    """Those that a guarded port with IPv6 takes beside. Numbers, for what the set holds has no type."""
    number = int(mac.replace(":", ""), 16)
    return tuple(Element("honest6", (link, number, address)) for address in addresses)


def is_guarding(element: Element) -> bool:
    return element.set in guard.SETS


def udp_ports(elements: Iterable[Element]) -> set[int]:
    """The host's UDP ports among published ones."""
    found = set()
    for element in elements:
        if element.set.startswith("published") and element.key[-2] == PROTOCOLS["udp"]:
            found.add(int(element.key[-1]))
    return found


def replace_tables(table: str, elements: Collection[Element], *, has_guard: bool = True) -> str:
    """Both tables anew, in one transaction: no packet meets half of it. has_guard: the kernel can have the
    one of family bridge; without it, elements of that one are left out."""
    text = _replaced(FAMILY, table, _TABLE)
    if has_guard:
        text += _replaced(guard.FAMILY, table, guard.TABLE)
    chosen = elements if has_guard else [each for each in elements if not is_guarding(each)]
    return text + _on_elements("add", table, chosen)


def guard_alone(table: str) -> str:
    """What a kernel takes that can guard ports."""
    return _replaced(guard.FAMILY, table, guard.TABLE)


def _replaced(family: str, table: str, body: str) -> str:
    # The first line, so that the second cannot fail.
    return f"{_deleted(family, table)}table {family} {table} {{{body}}}\n"


def _deleted(family: str, table: str) -> str:
    return f"add table {family} {table}\ndelete table {family} {table}\n"


def change(table: str, removed: Iterable[Element], added: Iterable[Element]) -> str:
    """Elements to take out and to put in, in one transaction."""
    return _on_elements("delete", table, removed) + _on_elements("add", table, added)


def delete_tables(table: str, *, has_guard: bool = True) -> str:
    return _deleted(FAMILY, table) + (_deleted(guard.FAMILY, table) if has_guard else "")


def skeleton(listing: Sequence[dict[str, Any]]) -> str:
    """What of listed tables must never change: chains and rules in order, and the kinds of the sets."""
    parts = []
    for listed in listing:
        for kind, body in listed.items():
            if kind in ("chain", "rule", "set", "map"):
                kept = {key: value for key, value in body.items() if key not in ("handle", "elem")}
                parts.append(f"{kind} {_plain(kept)}")
    return "\n".join(parts)


def listed_elements(listing: Sequence[dict[str, Any]]) -> set[Element]:
    """The elements of listed tables' sets and maps."""
    found: set[Element] = set()
    for listed in listing:
        body = listed.get("set") or listed.get("map")
        if body is None:
            continue
        for element in body.get("elem", ()):
            pair = element if "map" in listed else (element, ())
            found.add(Element(body["name"], _read_parts(pair[0]), _read_parts(pair[1])))
    return found


def missing(listing: Sequence[dict[str, Any]], wanted_skeleton: str) -> list[str]:
    """The families of the tables that are to be there and are not listed."""
    there = families_of(listing)
    return [each for each in FAMILIES if each not in there and f"{{family:{each}," in wanted_skeleton]


def families_of(listing: Sequence[dict[str, Any]]) -> list[str]:
    return [listed["table"]["family"] for listed in listing if "table" in listed]


def differences(
    listing: Sequence[dict[str, Any]] | None, wanted_skeleton: str, wanted: set[Element]
) -> list[str]:
    """How the listed tables differ from what they should be, in words; [] when they do not."""
    if listing is None:
        return ["the table is missing"]
    told = [f"the table of family {family} is missing" for family in missing(listing, wanted_skeleton)]
    found = listed_elements(listing)
    told += [f"missing {element}" for element in sorted(wanted - found, key=str)]
    told += [f"unexpected {element}" for element in sorted(found - wanted, key=str)]
    if skeleton(listing) != wanted_skeleton:
        told.append("chains or rules are changed")
    return told


# --- the commands, in nft(8)'s own words ------------------------------------------------------
# Not in JSON: libnftables 1.0.6 (Debian 12) reads no map whose values have two parts there, and then
# crashes on a rule that uses it.


def _on_elements(verb: str, table: str, elements: Iterable[Element]) -> str:
    grouped: dict[str, list[str]] = {}
    for element in elements:
        key = " . ".join(map(_word, element.key))
        value = f" : {' . '.join(map(_word, element.value))}" if element.value else ""
        grouped.setdefault(element.set, []).append(key + value)
    return "".join(
        f"{verb} element {guard.FAMILY if name in guard.SETS else FAMILY} {table} {name} "
        f"{{ {', '.join(items)} }}\n"
        for name, items in sorted(grouped.items())
    )


def _word(part: str | int) -> str:
    """Numbers and addresses as they are, names of links quoted. Large numbers have to be hexadecimal."""
    if isinstance(part, int):
        return str(part) if part < 1 << 32 else hex(part)
    return part if part[0].isdigit() or ":" in part else f'"{part}"'


# Priorities are those of linux/netfilter_ipv4.h: raw -300, dstnat -100, filter 0, srcnat 100.
_TRANSLATE = """
    meta nfproto ipv4 meta l4proto { tcp, udp, sctp } dnat ip to ip daddr . meta l4proto . th dport map @published_on4
    meta nfproto ipv4 meta l4proto { tcp, udp, sctp } fib daddr type local dnat ip to meta l4proto . th dport map @published4
"""  # noqa: E501
_PORTS = "meta l4proto . th dport map"
_TRANSLATE += f"""    meta nfproto ipv6 meta l4proto {{ tcp, udp, sctp }} dnat ip6 to ip6 daddr . {_PORTS} @published_on6
    meta nfproto ipv6 meta l4proto {{ tcp, udp, sctp }} ip6 daddr != ::1 fib daddr type local dnat ip6 to {_PORTS} @published6
"""  # noqa: E501
_TABLE = f"""
  set bridges {{ type ifname; }}
  set internal {{ type ifname; }}
  set neighbours {{ type ifname . ifname; }}
  set subnets4 {{ type ipv4_addr; flags interval; }}
  set routed4 {{ type ipv4_addr; flags interval; }}
  set routed6 {{ type ipv6_addr; flags interval; }}
  set bridges6 {{ type ifname; }}
  set subnets6 {{ type ipv6_addr; flags interval; }}
  map published4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map published_on4 {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
  map published6 {{ type inet_proto . inet_service : ipv6_addr . inet_service; }}
  map published_on6 {{ type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }}

  chain ingress {{
    type filter hook prerouting priority -300; policy accept;
    iifname "lo" accept
    # The kernel drops these itself, until somebody sets route_localnet, as we do on our bridges.
    ip daddr 127.0.0.0/8 drop
    ip saddr 127.0.0.0/8 drop
    # Of those that are routed the chain ours decides: nothing new comes in but what is published.
    iifname != @bridges ip daddr @subnets4 ip daddr != @routed4 drop
    iifname != @bridges ip6 daddr @subnets6 ip6 daddr != @routed6 drop
    # By the host's routes, not by our subnets: a container may be a router that the host knows of.
    iifname @bridges meta nfproto ipv4 fib saddr . iif oif missing drop
    iifname @bridges6 meta nfproto ipv6 fib saddr . iif oif missing drop
  }}
  chain publish {{
    type nat hook prerouting priority -100; policy accept;{_TRANSLATE}  }}
  chain publish_local {{
    type nat hook output priority -100; policy accept;{_TRANSLATE}  }}
  chain ours {{
    ct state established,related accept
    # Bridged frames come here too where br_netfilter is on.
    iifname . oifname @neighbours accept
    iifname != @internal oifname != @internal ct status dnat accept
    oifname @bridges drop
    iifname @internal drop
    accept
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname @bridges goto ours
    oifname @bridges goto ours
  }}
  chain outbound {{
    type nat hook postrouting priority 100; policy accept;
    oifname @bridges ip saddr 127.0.0.0/8 masquerade
    # Hairpin, and a caller that has another way back to the callee than by the host.
    oifname @bridges ip saddr @subnets4 ct status dnat masquerade
    oifname != @bridges oifname != "lo" ip saddr @subnets4 ip saddr != @routed4 masquerade
    oifname @bridges ip6 saddr @subnets6 ct status dnat masquerade
    oifname != @bridges oifname != "lo" ip6 saddr @subnets6 ip6 saddr != @routed6 masquerade
  }}
"""


# --- a listing, which is JSON (libnftables-json(5)) ---------------------------------------------


def _read_parts(part: Any) -> tuple[str | int, ...]:
    if isinstance(part, dict) and "elem" in part:
        return _read_parts(part["elem"]["val"])
    if isinstance(part, dict) and "concat" in part:
        return tuple(map(_read_part, part["concat"]))
    if isinstance(part, dict) and "prefix" in part:
        return (f"{part['prefix']['addr']}/{part['prefix']['len']}",)
    if isinstance(part, str | int):
        return (part,)
    return () if not part else (str(part),)


def _read_part(value: Any) -> str | int:
    """Of a concatenation. A number that is too large for JSON is a text: 0x…"""
    if isinstance(value, str):
        return int(value, 16) if value.startswith("0x") else value
    return value if isinstance(value, int) else str(value)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_plain(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_plain, value)) + "]"
    return str(value)
