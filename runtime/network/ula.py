"""Which IPv6 subnet a network gets that names none. Pure, but for machine_seed(). Called by `networks`.

A /64 of the instance's own /48 of unique local addresses (RFC 4193): the 40 bits that are to be random follow
from the machine and the instance, and the 16 of the subnet from the network's name. So a network that is made
again has the same one, and two hosts that are joined one day do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from ipaddress import IPv6Network
from pathlib import Path

from runtime.errors import Conflict

_MACHINE_ID = Path("/etc/machine-id")
_ULA = 0xFD << 120
_SUBNETS = 1 << 16


def machine_seed() -> str:
    """What tells this machine from others, "" where nothing does. Not to be shown: machine-id(5)."""
    try:
        return _MACHINE_ID.read_text().strip()
    except OSError:
        return ""


def range_of(instance: str, seed: str) -> IPv6Network:
    """The /48 of an instance."""
    digest = hashlib.sha256(f"setpoint/{instance}/{seed}".encode()).digest()
    return IPv6Network((_ULA | int.from_bytes(digest[:5], "big") << 80, 48))


def choose_subnet(name: str, whole: IPv6Network, taken: Iterable[IPv6Network]) -> IPv6Network:
    """The /64 of a name, or the next one that overlaps nothing taken; Conflict when there is none."""
    in_the_way = [network for network in taken if network.prefixlen and network.overlaps(whole)]
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:2], "big")
    first = int(whole.network_address)
    for offset in range(_SUBNETS):
        number = (start + offset) % _SUBNETS
        found = IPv6Network((first | number << 64, 64))
        if not any(network.overlaps(found) for network in in_the_way):
            return found
        if any(network.prefixlen <= whole.prefixlen for network in in_the_way):
            break
    raise Conflict(
        "create network", name, f"no free IPv6 subnet is left in {whole}", "name a subnet in the manifest"
    )
