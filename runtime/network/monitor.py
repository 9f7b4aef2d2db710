"""Listens to the kernel and tells which network or sandbox to look at again.

The engine polls fileno() and then calls read(). A hint is never a fact to act upon: find_drift() looks.
Of a burst of messages about one link only the last counts, so that what Setpoint does itself leaves no
hint where the end is as it should be; an nftables transaction tells whose it was. When the kernel's
queue overflowed, one hint says that a full look is due.
"""

from __future__ import annotations

import array
import errno
import os
import select
import socket
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Literal, NamedTuple

from runtime.network import bridges, links
from runtime.network.addresses import text_of
from runtime.network.book import Book
from runtime.network.inside import Inside
from runtime.network.netlink import NETLINK_ROUTE, Answer, attributes, messages

_NETLINK_NETFILTER = 12
_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
# linux/rtnetlink.h: RTNLGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_NETCONF; those of IPv6
_ROUTE_GROUPS = (1, 5, 7, 24)
_INSIDE_GROUPS = (1, 5, 7)
_ROUTE_GROUPS6 = (9, 11, 25)
_INSIDE_GROUPS6 = (9, 11)
_NFT_GROUP = 7  # linux/netfilter/nfnetlink.h, NFNLGRP_NFTABLES
_NFT_SUBSYSTEM = 10
_NFT_NEWGEN = 15
_NFTA_TABLE_NAME = 1  # the same number in every nftables message about a thing in a table
_NFTA_GEN_PROC_PID = 2
_NFGENMSG_BYTES = 4
_RTM_NEWNETCONF = 80
_AF_BRIDGE = 7
_NETCONFA_IFINDEX, _NETCONFA_FORWARDING = 1, 2
_RECEIVE_BYTES = 16384
_QUEUE_BYTES = 2 << 20  # the kernel doubles it, and counts some 3 KiB a message: a burst of 200 sandboxes
_SO_RCVBUFFORCE = 33
_SO_ATTACH_FILTER = 26
_MAX_DATAGRAMS = 4096  # in one read(); the rest is there for the next


class Hint(NamedTuple):
    """Look at this: a network or a sandbox by its name, the firewall, or everything."""

    kind: Literal["network", "sandbox", "firewall", "forwarding", "overflow"]
    name: str = ""


class Monitor:
    """Three netlink sockets behind one descriptor.

    own_ports: netlink addresses whose changes are ours. leaving: sandboxes that are being deleted.
    namespace_ids: asks the kernel for its id of a sandbox's namespace -> the sandbox.
    """

    def __init__(
        self,
        book: Book,
        table: str,
        own_ports: Collection[int],
        leaving: Collection[str] = (),
        namespace_ids: Callable[[], Mapping[int, str]] = dict,
    ) -> None:
        self._book = book
        self._leaving = leaving
        self._table = table.encode() + b"\0"
        self._own_ports = own_ports
        self._route = _listen(NETLINK_ROUTE, _ROUTE_GROUPS)
        _attach_filter(self._route)
        self._nft = _listen(_NETLINK_NETFILTER, (_NFT_GROUP,))
        self._losses = _listen(NETLINK_ROUTE, _INSIDE_GROUPS)
        self._inside = Inside(self._losses, namespace_ids)
        self._hears_ipv6 = False
        self._hear_ipv6()
        self._touched = False  # our table, in a transaction whose end has not been read yet
        self._epoll = select.epoll()
        for listening in (self._route, self._nft, self._losses):
            self._epoll.register(listening, select.EPOLLIN)

    def _hear_ipv6(self) -> None:
        """From the first network with IPv6 on: links that have only link-local addresses tell much, too."""
        if self._hears_ipv6 or not self._book.has_ipv6_network():
            return
        self._hears_ipv6 = True
        for listening, groups in ((self._route, _ROUTE_GROUPS6), (self._losses, _INSIDE_GROUPS6)):
            _join(listening, groups)

    def fileno(self) -> int:
        """Readable when there is something to read."""
        return self._epoll.fileno()

    def close(self) -> None:
        self._epoll.close()
        self._route.close()
        self._nft.close()
        self._losses.close()

    def read(self) -> frozenset[Hint]:
        """What to look at since the last read(). Does not block."""
        hints: set[Hint] = set()
        self._hear_ipv6()  # its bridge's link has just been told of
        try:
            hints |= self._read_route()
        except _OverflowError:
            hints.add(Hint("overflow"))
        try:
            hints |= self._read_nft()
        except _OverflowError:
            hints.add(Hint("overflow"))
        hints |= {Hint("sandbox", owner) for owner in self._inside.read(self._leaving)}
        return frozenset(hints)

    def _read_route(self) -> set[Hint]:
        last_links: dict[str, tuple[int, int, bytes]] = {}
        last_addresses: dict[tuple[int, str], int] = {}
        hints: set[Hint] = set()
        for kind, port, body in _receive(self._route):
            if kind in (links.RTM_NEWLINK, links.RTM_DELLINK):
                last_links[links.name_of(body)] = (kind, port, body)
            elif kind in (links.RTM_NEWADDR, links.RTM_DELADDR):
                address = links.read_address(Answer(kind, body))
                last_addresses[address.index, address.address] = kind
            elif kind == links.RTM_DELROUTE:
                hints |= self._of_route(links.read_route(Answer(kind, body)))
            elif kind == _RTM_NEWNETCONF and _stops_forwarding(body):
                hints.add(Hint("forwarding"))
        for name, (kind, port, body) in last_links.items():
            hints |= self._of_link(name, kind, port, body)
        for (_index, gone), kind in last_addresses.items():
            if kind == links.RTM_DELADDR:
                hints |= {Hint("network", name) for name in self._networks_with(gone)}
        return hints

    def _of_link(self, name: str, kind: int, port: int, body: bytes) -> set[Hint]:
        owner = self._book.owner_of_link(name)
        if owner is None or owner in self._leaving:
            return set()
        if kind == links.RTM_DELLINK and port in self._own_ports:
            return set()
        link, network = links.read_link(Answer(kind, body)), self._book.networks.get(owner)
        is_bridge = network is not None and network.bridge == name
        if kind == links.RTM_NEWLINK and link.is_up and (is_bridge or link.master):
            return set()
        return {Hint("network" if is_bridge else "sandbox", owner)}

    def _of_route(self, route: links.Route) -> set[Hint]:
        return {
            Hint("network", name)
            for name, record in self._book.networks.items()
            for subnet in (record.subnet, record.subnet6)
            if subnet and (route.destination, route.prefix) == (text_of(subnet.first), subnet.prefix)
        }

    def _networks_with(self, gateway: str) -> Iterator[str]:
        for name, record in self._book.networks.items():
            if gateway in (address for address, _prefix in bridges.addresses_of(record)):
                yield name

    def _read_nft(self) -> set[Hint]:
        hints: set[Hint] = set()
        for kind, _port, body in _receive(self._nft):
            if kind >> 8 != _NFT_SUBSYSTEM:
                continue
            found = attributes(body, _NFGENMSG_BYTES)
            if kind & 0xFF != _NFT_NEWGEN:
                self._touched |= found.get(_NFTA_TABLE_NAME) == self._table
                continue
            # The end of a transaction names the process that made it (pids of the first namespace).
            pid = struct.unpack(">I", found.get(_NFTA_GEN_PROC_PID, bytes(4)))[0]
            if self._touched and pid != os.getpid():
                hints.add(Hint("firewall"))
            self._touched = False
        return hints


class _OverflowError(Exception):
    """The kernel dropped messages (ENOBUFS, netlink(7))."""


def _listen(protocol: int, groups: Collection[int]) -> socket.socket:
    flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    listening = socket.socket(socket.AF_NETLINK, flags, protocol)
    listening.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _QUEUE_BYTES)
    listening.bind((0, 0))
    _join(listening, groups)
    return listening


def _join(listening: socket.socket, groups: Collection[int]) -> None:
    for group in groups:
        listening.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)


def _attach_filter(listening: socket.socket) -> None:
    """Leave half of all messages in the kernel: a bridge's own on its ports' states (every one comes as a
    link's message too), and settings of single interfaces. Classic BPF, socket(7) and filter.txt."""
    new_link, new_netconf = (_as_loaded(kind) for kind in (links.RTM_NEWLINK, _RTM_NEWNETCONF))
    load_half, load_byte, load_word, equal, leave = 0x28, 0x30, 0x20, 0x15, 0x06
    program = (
        (load_half, 0, 0, 4),  # nlmsg_type
        (equal, 0, 2, new_link),
        (load_byte, 0, 0, 16),  # ifi_family
        (equal, 4, 3, _AF_BRIDGE),
        (equal, 0, 2, new_netconf),
        (load_word, 0, 0, 24),  # the first attribute, the interface
        (equal, 0, 1, 0xFFFFFFFF),  # all of them
        (leave, 0, 0, 0xFFFFFFFF),
        (leave, 0, 0, 0),
    )
    code = array.array("B", b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    head = struct.pack("@HP", len(program), code.buffer_info()[0])
    listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)


def _as_loaded(value: int) -> int:
    """A 16-bit number of this machine as BPF loads it, most significant byte first."""
    return int.from_bytes(struct.pack("=H", value), "big")


def _receive(listening: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """(type, port, body) of what is queued."""
    for _ in range(_MAX_DATAGRAMS):
        try:
            data = listening.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise _OverflowError from None
            raise
        for kind, _flags, _sequence, port, body in messages(data):
            yield kind, port, body


def _stops_forwarding(body: bytes) -> bool:
    found = attributes(body, 4)  # struct netconfmsg, padded
    index = struct.unpack("=i", found.get(_NETCONFA_IFINDEX, bytes(4)))[0]
    is_all = index == -1  # NETCONFA_IFINDEX_ALL
    return is_all and found.get(_NETCONFA_FORWARDING, b"\1") == bytes(4)
