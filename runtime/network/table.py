"""The applier of `firewall`: keeps the instance's nftables table as it is wanted.

Changes are collected and go out in one transaction by flush(). When one is refused, the table is not
as we thought, so the whole of it is written anew, again in one transaction. Used by `networks`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable

from runtime.errors import Unsupported
from runtime.network import conntrack, firewall
from runtime.network.firewall import Element
from runtime.network.libnftables import FirewallError, Nftables


class Table:
    """One nftables table. wanted: all elements that it is to have."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.wanted: set[Element] = set()
        self._added: set[Element] = set()
        self._removed: set[Element] = set()
        self._lock = threading.Lock()  # differences() may be called from another thread
        self._nftables: Nftables | None = None
        self._skeleton: str | None = None  # as the kernel listed it right after we wrote it

    def open(self) -> None:
        """Have the library and its socket now. It waits with select(2), which aborts the process when
        the socket's number is 1024 or more: later, containers may have taken all below. A host without the
        library is told so by the first change."""
        with self._lock, contextlib.suppress(Unsupported):
            self._library()

    def close(self) -> None:
        with self._lock:
            if self._nftables is not None:
                self._nftables.close()
                self._nftables = None

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
                self._library().run(firewall.change(self.name, self._removed, self._added), self.name)
        except FirewallError:
            self.sync()
        self._settled()
        if udp_ports:
            conntrack.forget_udp(udp_ports)

    def sync(self) -> None:
        """Write the whole table anew, in one transaction."""
        with self._lock:
            library = self._library()
            library.run(firewall.replace_table(self.name, self.wanted), self.name)
            self._skeleton = firewall.skeleton(library.list_table(firewall.FAMILY, self.name) or [])
        self._settled()

    def differences(self) -> list[str]:
        """How the kernel's table differs from what is wanted, in words."""
        with self._lock:
            if self._skeleton is None:
                return []
            wanted = self.wanted - self._added | self._removed
            listing = self._library().list_table(firewall.FAMILY, self.name)
            return firewall.differences(listing, self._skeleton, wanted)

    def delete(self) -> None:
        """Remove the table; nothing when it is gone."""
        with self._lock:
            self._library().run(firewall.delete_table(self.name), self.name)
            self._skeleton = None
        self.wanted.clear()
        self._settled()

    def _settled(self) -> None:
        self._added.clear()
        self._removed.clear()

    def _library(self) -> Nftables:
        if self._nftables is None:
            self._nftables = Nftables()
        return self._nftables
