"""Sockets that are bound to the published ports, and never listened on: as long as a port is published, no
process of the host and no other instance can take it and be silently led past. Used by `building`.

Not a socket is ever asked: nftables leads packets away before. They end with this process, and are bound
again when it starts; what was taken meanwhile is left to `status` of the other, not taken from it here.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable

from runtime.errors import SetpointError
from runtime.layout import Layout
from runtime.model import PortConfig
from runtime.network import ports


class Reservations:
    """The reserved ports of an instance."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._held: dict[tuple[str, str, int], socket.socket] = {}

    def take(self, subject: str, port: PortConfig) -> None:
        """Reserve a port; nothing when it is ours. Conflict when it is in use by another, Temporary when the
        host has not the address."""
        key = _key(port)
        if key in self._held or port.protocol == "sctp":
            return
        self._held[key] = ports.bind(subject, port, self._layout)

    def check(self, subject: str, wanted: Iterable[PortConfig]) -> None:
        """Raise what `take` would, for ports that are not ours already. Reserves nothing. One of several is
        looked for when it is published."""
        for port in wanted:
            is_fixed = port.host_port and port.among is None
            if is_fixed and port.protocol in ("tcp", "udp") and _key(port) not in self._held:
                ports.check(subject, port)
                ports.bind(subject, port, self._layout).close()

    def take_again(self, taken: Iterable[PortConfig]) -> None:
        """Those of an earlier life. What another has now stays published as it is."""
        for port in taken:
            with contextlib.suppress(SetpointError):
                self.take("", port)

    def give_back(self, released: Iterable[PortConfig], *, kept: Iterable[PortConfig] = ()) -> None:
        for key in {_key(port) for port in released} - {_key(port) for port in kept}:
            held = self._held.pop(key, None)
            if held is not None:
                held.close()

    def close(self) -> None:
        for held in self._held.values():
            held.close()
        self._held.clear()


def _key(port: PortConfig) -> tuple[str, str, int]:
    return port.protocol, "" if port.host_ip == "0.0.0.0" else port.host_ip, port.host_port
