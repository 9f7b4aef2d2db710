"""A laboratory of network namespaces: a throw-away host that an instance's networks live in, and another
host on a wire to it. Nothing touches the real host's network.

    lan host 198.51.100.2 ── wan0 198.51.100.1 (host) ── bridges ── sandboxes
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime import syscalls
from runtime.layout import Layout
from runtime.model import EndpointConfig, NetworkConfig, PortConfig, SandboxConfig, SandboxState
from runtime.network.networks import Networks
from runtime.network.remove import remove_all
from tests import leaks
from tests.native import PATIENCE_SECONDS

HOST_ADDRESS, LAN_ADDRESS = "198.51.100.1", "198.51.100.2"
HOST_ADDRESS6, LAN_ADDRESS6 = "2001:db8:9::1", "2001:db8:9::2"  # where a test gives them: `wire6`
_OWN = "/proc/thread-self/ns/net"
_SILENCE_SECONDS = 0.25  # after which nothing is taken to come


class Lab:
    """An instance whose host is a network namespace, and its surroundings."""

    def __init__(self, layout: Layout, lan: int) -> None:
        self.layout = layout
        self._lan = lan
        self.routers: set[str] = set()  # sandboxes of those that have NET_ADMIN
        self.networks = self._networks()
        self.networks.open()
        self._sockets: list[socket.socket] = []

    def close(self) -> None:
        for each in self._sockets:
            each.close()
        self.networks.close()

    def reopen(self) -> None:
        """As after a restart of the agent: only the disk and the kernel remember."""
        self.networks.close()
        self.networks = self._networks()
        self.networks.open()

    def _networks(self) -> Networks:
        return Networks(self.layout, is_router=self.routers.__contains__)

    @contextlib.contextmanager
    def lan(self) -> Iterator[None]:
        home = os.open(_OWN, os.O_RDONLY)
        syscalls.setns(self._lan, syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            syscalls.setns(home, syscalls.CLONE_NEWNET)
            os.close(home)

    # --- sockets, by where they are: "lan", "host" or a sandbox ---

    def socket_at(self, place: str, kind: int = socket.SOCK_STREAM, address: str = "") -> socket.socket:
        """address: of the family that it is to be of."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if place == "lan":
            with self.lan():
                made = socket.socket(family, kind)
        elif place == "host":
            made = socket.socket(family, kind)
        else:
            made = self.networks.socket_in(place, family, kind)
        made.settimeout(PATIENCE_SECONDS)
        self._sockets.append(made)
        return made

    def serve(
        self, place: str, port: int, kind: int = socket.SOCK_STREAM, address: str = ""
    ) -> socket.socket:
        server = self.socket_at(place, kind, address)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        if kind == socket.SOCK_STREAM:
            server.listen()
        return server

    def call(self, place: str, address: str, port: int, server: socket.socket) -> str:
        """Send from a place to an address and back: the peer's address as the server sees it."""
        client = self.socket_at(place, server.type, address)
        client.connect((address, port))
        if server.type == socket.SOCK_STREAM:
            answering, peer = server.accept()
            with answering:
                answering.sendall(b"here")
        else:
            client.send(b"question")
            _data, peer = server.recvfrom(100)
            server.sendto(b"here", peer)
        assert client.recv(100) == b"here"
        return str(peer[0])

    def is_reached(self, place: str, address: str, port: int, server: socket.socket) -> bool:
        """Whether anything sent from a place gets to the server."""
        client = self.socket_at(place, server.type, address)
        client.settimeout(_SILENCE_SECONDS)
        try:
            client.connect((address, port))
            if server.type == socket.SOCK_STREAM:
                server.accept()[0].close()
                return True
            client.send(b"question")
            server.settimeout(_SILENCE_SECONDS)
            server.recvfrom(100)
        except OSError:
            return False
        finally:
            server.settimeout(PATIENCE_SECONDS)
        return True

    def wire6(self) -> None:
        """IPv6 on the wire to the other host, which knows where containers live, too."""
        run("ip", "address", "add", f"{HOST_ADDRESS6}/64", "dev", "wan0", "nodad")
        with self.lan():
            run("ip", "address", "add", f"{LAN_ADDRESS6}/64", "dev", "lan0", "nodad")
            run("ip", "route", "add", "default", "via", HOST_ADDRESS6)

    # --- shorthand ---

    def network(self, name: str = "web", **changes: object) -> None:
        self.networks.create(NetworkConfig(name, **changes))  # type: ignore[arg-type]

    async def sandbox(
        self, id: str, *networks: str, ports: tuple[PortConfig, ...] = (), names: tuple[str, ...] = ()
    ) -> SandboxState:
        config = SandboxConfig("own", id, tuple(EndpointConfig(name) for name in networks), ports)
        return await self.networks.ensure_sandbox(config, hostname=id, names=names or (id,))


def run(*arguments: str) -> str:
    """A program in the network namespace of this thread."""
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    return done.stdout


async def until(is_so: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for what comes a moment after an answer."""
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.002)


@pytest.fixture
def lab(instance: Layout) -> Iterator[Lab]:
    home = os.open(_OWN, os.O_RDONLY)
    syscalls.unshare(syscalls.CLONE_NEWNET)
    lan = os.open(_OWN, os.O_RDONLY)
    run("ip", "link", "set", "lo", "up")
    syscalls.unshare(syscalls.CLONE_NEWNET)
    made: Lab | None = None
    try:
        run("ip", "link", "set", "lo", "up")
        _wire(lan)
        made = Lab(instance, lan)
        yield made
    finally:
        if made is not None:
            made.close()
        remove_all(instance)
        left = leaks.find_leaks(instance)
        syscalls.setns(home, syscalls.CLONE_NEWNET)
        os.close(home)
        os.close(lan)
    assert left == []


def _wire(lan: int) -> None:
    run("ip", "link", "add", "wan0", "type", "veth", "peer", "name", "lan0")
    run("ip", "link", "set", "lan0", "netns", f"/proc/{os.getpid()}/fd/{lan}")
    run("ip", "address", "add", f"{HOST_ADDRESS}/24", "dev", "wan0")
    run("ip", "link", "set", "wan0", "up")
    home = os.open(_OWN, os.O_RDONLY)
    syscalls.setns(lan, syscalls.CLONE_NEWNET)
    try:
        run("ip", "address", "add", f"{LAN_ADDRESS}/24", "dev", "lan0")
        run("ip", "link", "set", "lan0", "up")
        # A neighbour that knows where containers live, and tries.
        run("ip", "route", "add", "default", "via", HOST_ADDRESS)
    finally:
        syscalls.setns(home, syscalls.CLONE_NEWNET)
        os.close(home)


@pytest.fixture(params=[False, True], ids=["routed", "br_netfilter"])
def bridged(request: pytest.FixtureRequest, lab: Lab) -> bool:
    """Both kinds of host: on many, bridged frames go through the firewall too (net.bridge)."""
    for name in ("iptables", "ip6tables"):
        switch = Path(f"/proc/sys/net/bridge/bridge-nf-call-{name}")
        if request.param and not switch.exists():
            pytest.skip("br_netfilter is not loaded")
        if switch.exists():
            switch.write_text("1" if request.param else "0")
    return bool(request.param)
