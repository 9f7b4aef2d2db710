"""Elements of the firewall's sets and maps as nfnetlink messages. Pure.

Called by `table` for what changes with each container. libnftables asks the kernel for all tables, chains and
sets before each transaction, and takes ten times as long for an element as the kernel does. It makes the
tables, and what is rare: ranges, and all that has no form here. See linux/netfilter/nf_tables.h, nfnetlink.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Collection, Mapping

from runtime.network import guard
from runtime.network.firewall import Element
from runtime.network.netlink import NLM_F_CREATE, Request, attribute, nested, text

NETFILTER = 12
MOST_BYTES = 48 << 10  # of one transaction: it has to fit the socket's buffer, which counts more than that
_SUBSYSTEM = 10
_NEW, _DELETE = _SUBSYSTEM << 8 | 12, _SUBSYSTEM << 8 | 14
_TABLE, _SET, _ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_
_ONE, _KEY, _DATA, _VALUE = 1, 1, 2, 1  # NFTA_LIST_ELEM, NFTA_SET_ELEM_, NFTA_DATA_VALUE
_INET, _BRIDGE = 1, 7  # NFPROTO_
_HEAD = struct.Struct(">BBH")  # struct nfgenmsg
BEGIN, END = (Request(kind, _HEAD.pack(0, 0, _SUBSYSTEM), "change firewall") for kind in (16, 17))

Part = str | int
Encode = Callable[[Part], bytes]


def _name(part: Part) -> bytes:
    return str(part).encode().ljust(16, b"\0")


def _address(part: Part) -> bytes:
    return socket.inet_pton(socket.AF_INET, str(part))


def _address6(part: Part) -> bytes:
    return part.to_bytes(16, "big") if isinstance(part, int) else socket.inet_pton(socket.AF_INET6, part)


def _mac(part: Part) -> bytes:
    return part.to_bytes(6, "big") if isinstance(part, int) else bytes.fromhex(part.replace(":", ""))


def _protocol(part: Part) -> bytes:
    return int(part).to_bytes(1, "big")


def _port(part: Part) -> bytes:
    return int(part).to_bytes(2, "big")


# Of each set the parts of a key, and of a value, as `firewall` and `guard` declare them.
_FORMS: Mapping[str, tuple[tuple[Encode, ...], tuple[Encode, ...]]] = {
    "guarded": ((_name,), ()),
    "honest4": ((_name, _mac, _address), ()),
    "honest6": ((_name, _mac, _address6), ()),
    "published4": ((_protocol, _port), (_address, _port)),
    "published_on4": ((_address, _protocol, _port), (_address, _port)),
    "published6": ((_protocol, _port), (_address6, _port)),
    "published_on6": ((_address6, _protocol, _port), (_address6, _port)),
}


def requests(
    table: str, removed: Collection[Element], added: Collection[Element]
) -> tuple[Request, ...] | None:
    """What takes elements out and puts others in, in this order; None for what libnftables is to do."""
    if any(element.set not in _FORMS for group in (removed, added) for element in group):
        return None
    found = (
        *(_request(_DELETE, 0, table, element) for element in removed),
        *(_request(_NEW, NLM_F_CREATE, table, element) for element in added),
    )
    return found if sum(len(each.body) for each in found) <= MOST_BYTES else None


def _request(kind: int, flags: int, table: str, element: Element) -> Request:
    keys, values = _FORMS[element.set]
    parts = [nested(_KEY, attribute(_VALUE, _joined(keys, element.key)))]
    if element.value:
        parts.append(nested(_DATA, attribute(_VALUE, _joined(values, element.value))))
    family = _BRIDGE if element.set in guard.SETS else _INET
    body = _HEAD.pack(family, 0, 0) + text(_TABLE, table) + text(_SET, element.set)
    return Request(kind, body + nested(_ELEMENTS, nested(_ONE, *parts)), str(element), flags)


def _joined(forms: tuple[Encode, ...], parts: tuple[Part, ...]) -> bytes:
    """A concatenation has each part begin at a register of four bytes."""
    if len(forms) == 1:
        return forms[0](parts[0])
    found = b""
    for form, part in zip(forms, parts, strict=True):
        value = form(part)
        found += value + bytes(-len(value) % 4)
    return found
