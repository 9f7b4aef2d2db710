"""The applier of `firewall`: keeps the instance's nftables tables as they are wanted.

Changes are collected and go out in one transaction by flush(). When one is refused, the tables are not
as we thought, so the whole of them is written anew, again in one transaction. Used by `networks`; `read` and
`write` by who looks from outside, too.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Collection, Iterable
from typing import Any

from runtime.errors import Unsupported
from runtime.network import conntrack, firewall, guard, set_elements
from runtime.network.firewall import Element
from runtime.network.libnftables import FirewallError, Nftables
from runtime.network.netlink import Netlink

log = logging.getLogger(__name__)
_UNGUARDED = (
    "this kernel has no nftables for bridges, so a container can send by the name of a neighbour on its "
    "network (needs CONFIG_NF_TABLES_BRIDGE): %s"
)


def can_guard(library: Nftables, name: str) -> str:
    """Why the kernel cannot have the table that guards ports, "" when it can. Changes nothing."""
    return library.check(firewall.guard_alone(name))


def write(library: Nftables, name: str, elements: Collection[Element]) -> str:
    """Both tables anew, or the one alone where the kernel cannot guard ports: why not, "" when it can.
    FirewallError."""
    try:
        library.run(firewall.replace_tables(name, elements), name)
    except FirewallError:
        reason = can_guard(library, name)
        if not reason:
            raise
        library.run(firewall.replace_tables(name, elements, has_guard=False), name)
        return reason
    return ""


def read(library: Nftables, name: str) -> list[dict[str, Any]] | None:
    """The objects of both tables, None when there is neither."""
    listed = library.list_table(firewall.FAMILY, name)
    guarding = None
    with contextlib.suppress(FirewallError):  # of a kernel that knows no such family
        guarding = library.list_table(guard.FAMILY, name)
    return None if listed is None and guarding is None else [*(listed or ()), *(guarding or ())]


class Table:
    """The nftables tables of an instance. wanted: all elements that they are to have. unguarded: why the
    kernel does not guard ports, "" when it does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.wanted: set[Element] = set()
        self.unguarded = ""
        self._added: set[Element] = set()
        self._removed: set[Element] = set()
        self._lock = threading.Lock()  # differences() may be called from another thread
        self._nftables: Nftables | None = None
        self._socket: Netlink | None = None
        self._skeleton: str | None = None  # as the kernel listed it right after we wrote it

    def open(self) -> None:
        """Have the library and its socket now. It waits with select(2), which aborts the process when
        the socket's number is 1024 or more: later, containers may have taken all below. A host without the
        library is told so by the first change."""
        with self._lock, contextlib.suppress(Unsupported):
            self._library()
            self._netlink()

    def close(self) -> None:
        with self._lock:
            if self._nftables is not None:
                self._nftables.close()
                self._nftables = None
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def change(self, *, removed: Iterable[Element] = (), added: Iterable[Element] = ()) -> None:
        """Collect elements to take out and to put in; flush() does it."""
        for element in removed:
            self.wanted.discard(element)
            if element in self._added:
                self._added.discard(element)
            else:
                self._removed.add(element)
        for element in added:
            self.wanted.add(element)
            if element in self._removed:
                self._removed.discard(element)
            else:
                self._added.add(element)

    def flush(self) -> None:
        """One transaction with all that was collected. FirewallError when even a whole rewrite fails."""
        if not self._added and not self._removed:
            return
        if self._skeleton is None:
            self.sync()
            return
        udp_ports = firewall.udp_ports(self._removed | self._added)
        try:
            with self._lock:
                self._change(self._possible(self._removed), self._possible(self._added))
        except (FirewallError, OSError):
            self.sync()
        self._settled()
        if udp_ports:
            conntrack.forget_udp(udp_ports)

    def _change(self, removed: set[Element], added: set[Element]) -> None:
        requests = set_elements.requests(self.name, removed, added)
        if requests is None:
            self._library().run(firewall.change(self.name, removed, added), self.name)
        elif requests:
            self._netlink().transact(set_elements.BEGIN, requests, set_elements.END)

    def sync(self) -> None:
        """Write all of it anew, in one transaction."""
        with self._lock:
            library = self._library()
            unguarded = write(library, self.name, self.wanted)
            if unguarded and not self.unguarded:
                log.warning(_UNGUARDED, unguarded)
            self.unguarded = unguarded
            self._skeleton = firewall.skeleton(read(library, self.name) or [])
        self._settled()

    def differences(self) -> list[str]:
        """How the kernel's tables differ from what is wanted, in words."""
        with self._lock:
            if self._skeleton is None:
                return []
            wanted = self._possible(self.wanted - self._added | self._removed)
            return firewall.differences(read(self._library(), self.name), self._skeleton, wanted)

    def delete(self) -> None:
        """Remove the tables; nothing when they are gone."""
        with self._lock:
            library = self._library()
            has_guard = not can_guard(library, self.name)
            library.run(firewall.delete_tables(self.name, has_guard=has_guard), self.name)
            self._skeleton = None
        self.wanted.clear()
        self._settled()

    def _possible(self, elements: set[Element]) -> set[Element]:
        """Those that the kernel can have."""
        if not self.unguarded:
            return elements
        return {element for element in elements if not firewall.is_guarding(element)}

    def _settled(self) -> None:
        self._added.clear()
        self._removed.clear()

    def _netlink(self) -> Netlink:
        if self._socket is None:
            self._socket = Netlink(set_elements.NETFILTER)
        return self._socket

    def _library(self) -> Nftables:
        if self._nftables is None:
            self._nftables = Nftables()
        return self._nftables
