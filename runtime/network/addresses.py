"""Which subnet a network gets and which address an endpoint gets. Pure functions.

Called by `networks`, which keeps no list of its own: what is taken are the networks and endpoints
that are on disk, and the routes and addresses of the host. Addresses are integers inside and strings at the
edge: those of IPv6 are the integers of more than 32 bits. Which IPv6 subnet a network gets is in `ula`.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import socket
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, NetmaskValueError
from typing import TypeVar

from runtime.errors import Conflict, Invalid

# Private ranges (RFC 1918) outside of what container engines and home routers hand out by default.
DEFAULT_POOLS = ("10.201.0.0/16", "172.28.0.0/14")
DEFAULT_PREFIX = 24
_FIRST_PUBLIC_PREFIX = 1  # a default route covers everything and takes nothing
_SMALLEST_PREFIX = 29  # five endpoints beside the gateway; /30 has one, /31 and /32 have no broadcast
BITS, BITS6 = 32, 128
_LARGEST_PREFIX6, _SMALLEST_PREFIX6 = 16, 125
_EMBEDDED = (IPv6Network("::/96"), IPv6Network("::ffff:0:0/96"))  # IPv4 addresses, written as IPv6's
_LINK_LOCAL = 0xFE80 << 112
_Network = TypeVar("_Network", IPv4Network, IPv6Network)


@dataclass(frozen=True, slots=True)
class Subnet:
    """A network's range and its gateway, as integers, worked out once. bits: of an address."""

    first: int
    prefix: int
    gateway: int
    bits: int = BITS

    @property
    def last(self) -> int:
        """The broadcast address. IPv6 has none; there no host gets it all the same, nor the first."""
        return self.first + (1 << (self.bits - self.prefix)) - 1

    def __str__(self) -> str:
        return f"{text_of(self.first)}/{self.prefix}"


def parse_network(op: str, subject: str, value: str) -> IPv4Network:
    """An IPv4 network from `a.b.c.d/n`; Invalid when it is none, or has host bits set."""
    try:
        return IPv4Network(value)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise Invalid(
            op, subject, f"{value!r} is not an IPv4 subnet: {error}", "as in 10.20.0.0/24"
        ) from None


def parse_network6(op: str, subject: str, value: str) -> IPv6Network:
    try:
        return IPv6Network(value)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise Invalid(
            op, subject, f"{value!r} is not an IPv6 subnet: {error}", "as in fd00:1:2:3::/64"
        ) from None


def parse_address(op: str, subject: str, value: str, bits: int = BITS) -> int:
    try:
        if bits == BITS6 and "%" in value:
            raise AddressValueError("a zone is of one host alone")
        return int(IPv4Address(value) if bits == BITS else IPv6Address(value))
    except AddressValueError as error:
        version = 4 if bits == BITS else 6
        raise Invalid(op, subject, f"{value!r} is not an IPv{version} address: {error}") from None


def subnet_of(name: str, subnet: str, gateway: str, bits: int = BITS) -> Subnet:
    """The Subnet of a network's own words; gateway "" is the first address. Invalid when they disagree."""
    network = _checked4(name, subnet) if bits == BITS else _checked6(name, subnet)
    first = int(network.network_address)
    chosen = parse_address("create network", name, gateway, bits) if gateway else first + 1
    result = Subnet(first, network.prefixlen, chosen, bits)
    if not first < chosen < result.last:
        raise Invalid("create network", name, f"gateway {gateway} is not a host address of {subnet}")
    return result


def _checked4(name: str, subnet: str) -> IPv4Network:
    network = parse_network("create network", name, subnet)
    if network.prefixlen > _SMALLEST_PREFIX:
        raise Invalid(
            "create network", name, f"subnet {subnet} is too small", f"/{_SMALLEST_PREFIX} is the smallest"
        )
    if network.is_loopback or network.is_multicast or network.is_unspecified or network.is_link_local:
        raise Invalid("create network", name, f"subnet {subnet} is not for hosts", "use a private range")
    return network


def _checked6(name: str, subnet: str) -> IPv6Network:
    network = parse_network6("create network", name, subnet)
    if not _LARGEST_PREFIX6 <= network.prefixlen <= _SMALLEST_PREFIX6:
        size = "small" if network.prefixlen > _SMALLEST_PREFIX6 else "large"
        raise Invalid(
            "create network", name, f"subnet {subnet} is too {size}",
            f"from /{_LARGEST_PREFIX6} to /{_SMALLEST_PREFIX6}; /64 is usual",
        )  # fmt: skip
    is_for_hosts = not (network.is_multicast or network.is_link_local or network.is_unspecified)
    if not is_for_hosts or any(network.overlaps(each) for each in _EMBEDDED):
        raise Invalid(
            "create network", name, f"subnet {subnet} is not for hosts", "use a unique local one, fdXX:…/64"
        )
    return network


def choose_subnet(
    name: str,
    taken: Iterable[IPv4Network],
    pools: Iterable[str] = DEFAULT_POOLS,
    prefix: int = DEFAULT_PREFIX,
) -> IPv4Network:
    """The first free range of the pools that overlaps nothing taken; Conflict when there is none."""
    spans = _spans(taken)
    step = 1 << (32 - prefix)
    for pool in pools:
        network = IPv4Network(pool)
        candidate, end = int(network.network_address), int(network.broadcast_address)
        for first, last in spans:
            if last < candidate:
                continue
            if first > candidate + step - 1:
                break
            candidate = -(-(last + 1) // step) * step
        if candidate + step - 1 <= end:
            return IPv4Network((candidate, prefix))
    raise Conflict(
        "create network", name, "no free subnet is left in the pools",
        "remove networks that nobody uses, or name a subnet in the manifest",
    )  # fmt: skip


def _spans(taken: Iterable[IPv4Network]) -> list[tuple[int, int]]:
    """Sorted, merged (first, last) spans, default routes left out."""
    raw = sorted(
        (int(network.network_address), int(network.broadcast_address))
        for network in taken
        if network.prefixlen >= _FIRST_PUBLIC_PREFIX
    )
    merged: list[tuple[int, int]] = []
    for first, last in raw:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def check_overlap(name: str, wanted: _Network, taken: Iterable[tuple[_Network, str]]) -> None:
    """Conflict when `wanted` overlaps one of (network, whose it is in words)."""
    for network, whose in taken:
        if network.prefixlen >= _FIRST_PUBLIC_PREFIX and network.overlaps(wanted):
            raise Conflict(
                "create network", name, f"subnet {wanted} overlaps {whose} ({network})",
                "name another subnet, or leave it out and one is found",
            )  # fmt: skip


def check_parts(name: str, subnet: Subnet, ip_range: str, reserved: Iterable[str]) -> None:
    """Invalid for a range or an address that is to be reserved and is not of the subnet."""
    if ip_range:
        parse = parse_network if subnet.bits == BITS else parse_network6
        part = parse("create network", name, ip_range)
        if not subnet.first <= int(part.network_address) <= int(part.broadcast_address) <= subnet.last:
            raise Invalid("create network", name, f"range {ip_range} is not a part of {subnet}")
    for address in reserved:
        if not subnet.first <= parse_address("create network", name, address, subnet.bits) <= subnet.last:
            raise Invalid("create network", name, f"{address} is not an address of {subnet}")


@functools.lru_cache(maxsize=256)
def part_of(ip_range: str) -> Subnet:
    """A range as the first and last of its addresses."""
    network = ipaddress.ip_network(ip_range)
    return Subnet(int(network.network_address), network.prefixlen, 0, network.max_prefixlen)


@functools.lru_cache(maxsize=256)
def numbers_of(reserved: tuple[str, ...]) -> frozenset[int]:
    return frozenset(int(ipaddress.ip_address(address)) for address in reserved)


def choose_address(
    name: str, subnet: Subnet, used: Collection[int], after: int = 0, within: Subnet | None = None
) -> int:
    """A free host address: the next one behind `after`, around the end to the start. within: only of that
    part of the subnet.

    Next, not lowest: an address is not given to another while packets, or names in caches, for its
    last owner are still about. Conflict when all are used.
    """
    low, high = subnet.first + 1, subnet.last - 1
    if within is not None:
        low, high = max(low, within.first), min(high, within.last)
    start = after + 1 if low <= after < high else low
    for candidate in range(start, high + 1):
        if candidate not in used and candidate != subnet.gateway:
            return candidate
    for candidate in range(low, start):
        if candidate not in used and candidate != subnet.gateway:
            return candidate
    raise Conflict(
        "give an address on", name, f"all addresses of {within or subnet} are in use",
        "use a network with a larger subnet",
    )  # fmt: skip


def check_static(name: str, subnet: Subnet, used: Collection[int], wanted: str) -> int:
    """The address asked for; Invalid when it can't be on this network, Conflict when it is taken."""
    value = parse_address("give an address on", name, wanted, subnet.bits)
    if not subnet.first < value < subnet.last:
        raise Invalid("give an address on", name, f"{wanted} is not a host address of {subnet}")
    if value == subnet.gateway:
        raise Invalid("give an address on", name, f"{wanted} is the network's gateway")
    if value in used:
        raise Conflict("give an address on", name, f"{wanted} is in use by another container")
    return value


def text_of(address: int) -> str:
    if address >> BITS:
        return socket.inet_ntop(socket.AF_INET6, address.to_bytes(16, "big"))
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def mac_of(address: int) -> str:
    """02:42 (locally administered) and the address: unique where the address is, as Docker has it."""
    return f"02:42:{address >> 24:02x}:{address >> 16 & 255:02x}:{address >> 8 & 255:02x}:{address & 255:02x}"


def link_local_of(mac: str) -> int:
    """The address that the kernel gives an interface of that MAC by itself (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))
    return _LINK_LOCAL | int.from_bytes(identifier, "big")


def host_mac_of(link: str) -> str:
    """The MAC of a host end: from its name, and the same on each repair."""
    digest = hashlib.sha256(link.encode()).digest()
    return f"0a:{digest[:5].hex(':')}"


def check_mac(subject: str, mac: str) -> str:
    """A MAC in its plain form; Invalid unless it is one of a single interface."""
    parts = mac.lower().replace("-", ":").split(":")
    is_hex = len(parts) == 6 and all(
        len(part) == 2 and set(part) <= set("0123456789abcdef") for part in parts
    )
    if not is_hex or int(parts[0], 16) & 1 or set(parts) == {"00"}:
        raise Invalid("make sandbox", subject, f"{mac!r} is not a MAC address", "as in 02:42:0a:00:00:02")
    return ":".join(parts)
