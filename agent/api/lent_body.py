"""Bodies that the agent does not read: of an archive that goes into a container, which a worker takes from
the client's connection itself, past the event loop.

    head ─ parsed here ─> handler ─ `incoming` ─> a worker reads the rest ─> the answer, and the end of both

What of the body came with the head goes along. Not in TLS, which only we can read, nor for a request that was
sent before the one before it was answered: then the body comes as any other. A small one that says how long
it is has been read with its head (`early_reader`), and the connection stays.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from runtime.copies.inlet import Incoming

if TYPE_CHECKING:
    from aiohttp import web

_PATH = re.compile(r"(/v[0-9.]+)?/containers/[^/?]+/archive(\?.*)?", re.DOTALL)


@runtime_checkable
class Lender(Protocol):
    """A connection (`ways.Inbound`)."""

    def lend(self) -> bytes | None: ...


def is_for_others(message: Any, payload: Any, transport: asyncio.Transport | None) -> bool:
    """Whether the body that follows a head is one of them."""
    if getattr(message, "method", "") != "PUT" or message.upgrade or payload.is_eof():
        return False
    if transport is None or transport.get_extra_info("sslcontext") is not None:
        return False
    return _PATH.fullmatch(message.path) is not None


@contextmanager
def incoming(
    request: web.Request, silence_seconds: float
) -> Iterator[Incoming | bytes | AsyncIterator[bytes]]:
    """The body of a request. silence_seconds: after which one that stays out is given up."""
    if request._read_bytes is not None:
        yield request._read_bytes
        return
    protocol, transport = request.protocol, request.transport
    early = protocol.lend() if isinstance(protocol, Lender) else None
    if early is None:
        yield request.content.iter_any()
        return
    if transport is None:
        raise ConnectionResetError("the client is gone")
    connection = os.dup(transport.get_extra_info("socket").fileno())
    try:
        length = None if "Transfer-Encoding" in request.headers else request.content_length
        yield Incoming(connection, early, length, silence_seconds)
        request.content.feed_eof()
    finally:
        os.close(connection)
