"""The scoped sockets as the loop sees them: which listen, and how to open and close one. Made by the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from agent.manifest.spec import SocketSpec
from runtime.errors import Unsupported
from store.records import Key


class Sockets(Protocol):
    listening: Mapping[Key, str]
    """Key -> the hash of the spec that it listens by; the same mapping for ever."""

    async def open(self, key: Key, spec: SocketSpec, spec_hash: str) -> None:
        """In place of what listens for this key. Who is connected to that is no more."""

    async def close(self, key: Key) -> None: ...


class NoSockets:
    """Where there is no API."""

    def __init__(self) -> None:
        self.listening: Mapping[Key, str] = {}

    async def open(self, key: Key, spec: SocketSpec, spec_hash: str) -> None:
        raise Unsupported("open socket", str(key), "there is no API here")

    async def close(self, key: Key) -> None:
        """None is open."""
