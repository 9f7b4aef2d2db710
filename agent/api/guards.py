"""What every request must be, whatever it asks for, on every way in. A middleware before all others.

Whoever reaches this API is root on this host, so a web page must not: it cannot help sending `Origin`, cannot
choose `Host`, and cannot send JSON without asking first, which nothing here answers. What is refused is
refused before any handler has read of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web

from agent.api.ways import Inbound, Way, way_of
from agent.wire import PREFIX
from runtime.errors import Invalid
from runtime.pace import Pace

MAX_BODY_BYTES = 4 * 1024 * 1024  # of JSON; archives are streams with limits of their own
BODY_SECONDS = 30.0  # for a whole body of JSON
SILENCE_SECONDS = 60.0  # of a client in the middle of an archive
LOOK_SECONDS = 5.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STREAMS = re.compile(
    r"(/v[0-9.]+)?/(build|session|grpc|images/(load|create)|containers/[^/]+/archive)"
    + f"|{PREFIX}/image/(load|import|build)"
)
"""Paths whose body is no JSON."""
PACKED = ("gzip", "x-gzip", "bzip2", "xz", "zstd")
"""What clients say of a packed archive. It is read as it came: how it is packed, it says itself."""
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_LOCAL_NAME = re.compile(
    r"[A-Za-z0-9_-]*|([A-Za-z0-9-]+\.)+localhost|docker\.example\.com|v[0-9]+\.[0-9]+|[A-Za-z0-9_-]+\.sock"
)
"""What clients call the other end of a UNIX socket or of a pipe: localhost, docker, api.moby.localhost,
docker.example.com (the docker CLI through ssh), the path in hexadecimal digits or its last part (.NET's),
v1.40 (curl's, of http:/v1.40/info; no page's address ends in a number); no name that somebody could have in
the DNS, should a proxy on TCP lead here."""
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f]")


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check, read what is no stream, and hand on."""
    way = way_of(request)
    check_head(request, way)
    with _counted(request):
        if not request.body_exists:
            return await handler(request)
        if is_stream(request.path):
            async with _heard_from(request):
                return await handler(request)
        await _read(request)
        return await handler(request)


def check_head(request: web.BaseRequest, way: Way) -> None:
    """403, 400, 413, 415 or 501 for what no client of ours sends."""
    headers = request.headers
    is_of_page = "Origin" in headers and not _is_made_up(request, way)
    if is_of_page or headers.get("Sec-Fetch-Site", "none").lower() != "none":
        raise web.HTTPForbidden(reason="requests of web pages are refused")
    host = headers.get("Host", "")
    if not is_host_allowed(host, way.hosts() if way.hosts else None):
        raise web.HTTPForbidden(reason=f"the host {_shown(host)} is not one that this engine is reached by")
    _check_target(request)
    _check_body(request)


def _is_made_up(request: web.BaseRequest, way: Way) -> bool:
    """The origin that aiodocker and Docker's Go client name when they open a websocket, which asks for one.
    Only where no browser comes."""
    is_websocket = request.headers.get("Upgrade", "").lower() == "websocket"
    return way.hosts is None and is_websocket and request.headers["Origin"] == "http://localhost"


@functools.lru_cache(maxsize=256)
def is_host_allowed(text: str, hosts: frozenset[str] | None) -> bool:
    """Whether a Host header may be sent. hosts: those of a TCP address, "*" for any that is no name; None
    for a UNIX socket. Pure."""
    if hosts is None and ("/" in text or "%2f" in text.lower()):
        return True  # a path, as old docker clients have it
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]*)(:[0-9]{1,5})?", text)
    if found is None:
        return False
    name = found[1].strip("[]").lower().rstrip(".")
    if hosts is not None:
        return name != "" and (name in hosts or ("*" in hosts and is_address(name)))
    return _LOCAL_NAME.fullmatch(name) is not None or is_address(name)


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _check_target(request: web.BaseRequest) -> None:
    """Names in a path are looked up, never joined to one; what can be no name need not get that far."""
    if not request.raw_path.startswith("/"):
        raise web.HTTPBadRequest(reason="the request's target is no path")
    parts = request.path.split("/")
    if _NO_TEXT.search(request.path) or "." in parts or ".." in parts:
        raise web.HTTPBadRequest(reason="the request's path is no path of this API")
    if "\0" in request.query_string or any("\0" in name + value for name, value in request.query.items()):
        raise web.HTTPBadRequest(reason="a NUL byte in the query")


def _check_body(request: web.BaseRequest) -> None:
    headers = request.headers
    if headers.get("Transfer-Encoding", "chunked").strip().lower() != "chunked":
        raise web.HTTPNotImplemented(reason="only chunked transfers are taken")
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "") and not (encoding in PACKED and is_stream(request.path)):
        raise web.HTTPUnsupportedMediaType(reason="an encoded body is not taken")
    length = request.content_length or 0
    if not length and "Transfer-Encoding" not in headers:
        return
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if is_stream(request.path):
        if kind in _FORMS:
            raise web.HTTPUnsupportedMediaType(reason=f"a body of {kind} is not taken")
        return
    if kind != "application/json":
        raise web.HTTPUnsupportedMediaType(reason=f"the body must be application/json, not {_shown(kind)}")
    if length > MAX_BODY_BYTES:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, length)


def is_stream(path: str) -> bool:
    return STREAMS.fullmatch(path) is not None


def _shown(text: str) -> str:
    """Of what a stranger sent, as much as helps."""
    return repr(re.sub(r"[^\x20-\x7e]", "?", text)[:60])


@contextlib.contextmanager
def _counted(request: web.Request) -> Iterator[None]:
    """A connection that is answered is not idle."""
    connection = request.protocol
    assert isinstance(connection, Inbound)
    connection.begin()
    try:
        yield
    finally:
        connection.end()


async def _read(request: web.Request) -> None:
    """The whole body, which handlers then find read."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(reason=f"the body did not come within {BODY_SECONDS:g} s") from None
    except web.RequestPayloadError:
        raise web.HTTPBadRequest(reason="the body broke off") from None


@contextlib.asynccontextmanager
async def _heard_from(request: web.Request) -> AsyncIterator[None]:
    """Ends the reading of a stream whose client says nothing more."""
    watch = asyncio.ensure_future(_end_silence(request))
    try:
        yield
    finally:
        watch.cancel()


async def _end_silence(request: web.Request) -> None:
    """Silent is a client of whom nothing has come while all that came was read: a slow disk is no silence.
    One of whom next to nothing comes is no better (`Pace`). Of a connection that is lent, whoever reads it
    sees to that."""
    content: Any = request.content
    protocol: Any = request.protocol
    heard, silent, pace = 0, 0.0, Pace(SILENCE_SECONDS)
    while not content.is_eof() and not protocol.is_lent:
        await asyncio.sleep(LOOK_SECONDS)
        came, heard = content.total_bytes - heard, content.total_bytes
        waited = silent + (0.0 if content._size else LOOK_SECONDS)
        silent = 0.0 if came or content._size else waited
        try:
            if silent >= SILENCE_SECONDS:
                raise Invalid("read request", "body", f"nothing came for {SILENCE_SECONDS:g} s")
            if came:
                pace.receive(came)
                pace.wait(waited)
        except Invalid as error:
            content.set_exception(error)
            return
