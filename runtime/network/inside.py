"""Hears what is taken away inside sandboxes, on one socket for all of them: addresses, routes, interfaces.

NETLINK_LISTEN_ALL_NSID (netlink(7), kernel 4.2) gives a socket the notifications of every namespace that
has an id here, and a namespace has one as soon as a link leads into it. A filter in the kernel lets through
only losses, so that making a sandbox wakes nobody. Read by `monitor`; tells where to look, and no more.
"""

from __future__ import annotations

import array
import errno
import socket
import struct
import time
from collections.abc import Callable, Collection, Mapping

from runtime.network import links

NETLINK_LISTEN_ALL_NSID = 8
_SOL_NETLINK = 270
_SO_ATTACH_FILTER = 26
_NSID = struct.Struct("=i")
_MAX_DATAGRAMS = 256  # in one read()
_ASK_AGAIN_SECONDS = 1.0  # namespaces that are not ours are not asked for more often


class Inside:
    """sock: a non-blocking route socket, subscribed. owners: asks the kernel for namespace id -> sandbox."""

    def __init__(self, sock: socket.socket, owners: Callable[[], Mapping[int, str]]) -> None:
        self._sock = sock
        self._ask = owners
        self._owners: Mapping[int, str] = {}
        self._asked_at = 0.0
        sock.setsockopt(_SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
        _attach_filter(sock)

    def read(self, leaving: Collection[str]) -> set[str]:
        """The sandboxes in which something was lost since the last read(). When the kernel dropped messages,
        those are lost: a container that may change its links could cause it, and the slow pass looks."""
        touched: set[int] = set()
        for _ in range(_MAX_DATAGRAMS):
            try:
                _data, ancillary, _flags, _address = self._sock.recvmsg(
                    64, 64
                )  # only where it is from counts
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue
            for level, kind, value in ancillary:
                if (level, kind) == (_SOL_NETLINK, NETLINK_LISTEN_ALL_NSID):
                    touched.add(_NSID.unpack_from(value)[0])
        return {owner for owner in self._owners_of(touched) if owner not in leaving}

    def _owners_of(self, touched: set[int]) -> set[str]:
        """Asked anew after a second: an id is given out again when its namespace has gone."""
        if touched and time.monotonic() - self._asked_at > _ASK_AGAIN_SECONDS:
            self._owners, self._asked_at = self._ask(), time.monotonic()
        return {self._owners[each] for each in touched if each in self._owners}


def _attach_filter(sock: socket.socket) -> None:
    """Losses only: a removed address, route or link, and a link that is set down by somebody. A new link is
    down, too, but all of its flags count as changed then (rtnetlink(7), ifi_change)."""
    gone = [_as_loaded(kind) for kind in (links.RTM_DELADDR, links.RTM_DELROUTE, links.RTM_DELLINK)]
    low_byte = 0 if struct.pack("=H", 1)[0] else 3  # of a 32-bit number: where IFF_UP is
    load_half, load_byte, load_word, equal, any_of, answer = 0x28, 0x30, 0x20, 0x15, 0x45, 0x06
    program = (  # (code, jump if so, jump if not, value); jumps count from the next one
        (load_half, 0, 0, 4),  # nlmsg_type
        (equal, 9, 0, gone[0]),
        (equal, 8, 0, gone[1]),
        (equal, 7, 0, gone[2]),
        (equal, 0, 7, _as_loaded(links.RTM_NEWLINK)),
        (load_word, 0, 0, 28),  # ifi_change
        (equal, 5, 0, 0xFFFFFFFF),
        (load_byte, 0, 0, 28 + low_byte),
        (any_of, 0, 3, links.IFF_UP),
        (load_byte, 0, 0, 24 + low_byte),  # ifi_flags
        (any_of, 1, 0, links.IFF_UP),
        (answer, 0, 0, 0xFFFFFFFF),
        (answer, 0, 0, 0),
    )
    code = array.array("B", b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    head = struct.pack("@HP", len(program), code.buffer_info()[0])
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)


def _as_loaded(value: int) -> int:
    return int.from_bytes(struct.pack("=H", value), "big")
