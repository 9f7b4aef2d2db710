"""Makes the kernel forget where UDP to a host port went before. Called by `table` when one changes hands.

Translation is decided for the first packet of a flow, and a UDP flow is the same one as long as packets
come: a client that never pauses would be led to the container that had the port before, or to nobody.
(A TCP client opens a new connection, which is decided anew.)
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterable

from runtime.network.netlink import Netlink, NetlinkError, Request, attribute, attributes, nested

_NETLINK_NETFILTER = 12
# linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h
_SUBSYSTEM = 1
_GET, _DELETE = _SUBSYSTEM << 8 | 1, _SUBSYSTEM << 8 | 2
_TUPLE_ORIG, _ID, _ZONE, _FILTER = 1, 12, 18, 25
_TUPLE_PROTO = 2
_PROTO_NUM, _PROTO_DST_PORT = 1, 3
_FILTER_ORIG_FLAGS = 1
# net/netfilter/nf_internals.h, CTA_FILTER_F_*: protocol number, destination port
_BY_PROTOCOL_AND_PORT = 1 << 3 | 1 << 5
_HEADS = [
    struct.pack("=BBH", family, 0, 0) for family in (socket.AF_INET, socket.AF_INET6)
]  # struct nfgenmsg


def forget_udp(ports: Iterable[int]) -> None:
    """Drop the entries of flows that were sent to these UDP ports. A kernel without ctnetlink keeps them.

    The kernel filters (5.8); an older one lists every entry, and then we do.
    """
    try:
        netlink = Netlink(_NETLINK_NETFILTER)
    except OSError:
        return
    with netlink, contextlib.suppress(NetlinkError):
        for port, head in ((port, head) for port in ports for head in _HEADS):
            refused = netlink.send(_entries_to(netlink, port, head))
            for error in refused:
                if error.errno != errno.ENOENT:  # it ended meanwhile
                    raise error


def _entries_to(netlink: Netlink, port: int, head: bytes) -> list[Request]:
    number, wanted = bytes([socket.IPPROTO_UDP]), struct.pack(">H", port)
    parts = (
        head,
        nested(
            _TUPLE_ORIG,
            nested(_TUPLE_PROTO, attribute(_PROTO_NUM, number), attribute(_PROTO_DST_PORT, wanted)),
        ),
        nested(_FILTER, attribute(_FILTER_ORIG_FLAGS, struct.pack("=I", _BY_PROTOCOL_AND_PORT))),
    )
    requests = []
    for answer in netlink.dump(Request(_GET, b"".join(parts), f"list flows to udp port {port}")):
        found = attributes(answer.body, len(head))
        flow = attributes(attributes(found.get(_TUPLE_ORIG, b"")).get(_TUPLE_PROTO, b""))
        if flow.get(_PROTO_NUM) != number or flow.get(_PROTO_DST_PORT) != wanted:
            continue
        body = head + nested(_TUPLE_ORIG, found[_TUPLE_ORIG])
        for kind in (_ID, _ZONE):
            body += attribute(kind, found[kind]) if kind in found else b""
        requests.append(Request(_DELETE, body, f"forget a flow to udp port {port}"))
    return requests
