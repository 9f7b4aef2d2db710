"""Fetches one file for ADD, over http or https, bounded in bytes, time and redirects.

The address is looked at when it is connected to, so that no name leads to this machine, its link or a cloud's
metadata, and no redirect from the world into a private network.
"""

from __future__ import annotations

import email.utils
import hashlib
import http.client
import ipaddress
import os
import socket
import time
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from runtime.errors import Invalid, NotFound, Temporary
from runtime.images.build.transfer import Download
from runtime.images.content import write_all
from runtime.tls_client import client_context

MAX_BYTES = 16 << 30
MAX_REDIRECTS = 5
IDLE_SECONDS = 30.0
TOTAL_SECONDS = 3600.0
_CHUNK_BYTES = 1 << 18
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def fetch_file(url: str, name: str, place: Path, checksum: str, *, reaches_host: bool) -> Download:
    """Into the new file `place`. checksum: "" or `sha256:…`. `Invalid`, `NotFound`, `Temporary`."""
    end = time.monotonic() + TOTAL_SECONDS
    was_public = False
    here = url
    for _ in range(MAX_REDIRECTS + 1):
        connection, is_public = _connect(here, may_be_private=not was_public, reaches_host=reaches_host)
        try:
            answer = _ask(connection, here)
            if answer.status in _REDIRECTS:
                here = _next(here, answer)
                was_public = was_public or is_public
                continue
            _check(here, answer)
            digest = _save(answer, place, url, end)
            _compare(url, digest, checksum)
            return Download(place, name, digest, _modified(answer))
        except (OSError, http.client.HTTPException) as error:
            raise Temporary("fetch", _shown(url), str(error) or type(error).__name__, "", 5) from error
        finally:
            connection.close()
    raise Invalid("fetch", _shown(url), f"more than {MAX_REDIRECTS} redirects")


def _connect(
    url: str, *, may_be_private: bool, reaches_host: bool
) -> tuple[http.client.HTTPConnection, bool]:
    """A connection to the first address that may be spoken to, and whether that is one of the world."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid("fetch", _shown(url), "not an http or https URL")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise Invalid("fetch", _shown(url), "not a port") from None
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Temporary("fetch", _shown(url), f"there is no address for {parts.hostname}", "", 5) from error
    refused: str = ""
    failure: OSError | None = None
    for family, kind, protocol, _, where in found:
        address = _plain(str(where[0]))
        why = _why_not(address, may_be_private=may_be_private, reaches_host=reaches_host)
        if why:
            refused = f"{address} {why}"
            continue
        opened = socket.socket(family, kind, protocol)
        opened.settimeout(IDLE_SECONDS)
        try:
            opened.connect(where)
            return _speaking(opened, parts.scheme, parts.hostname, port), address.is_global
        except OSError as error:
            opened.close()
            failure = error
    if failure is not None:
        raise Temporary("fetch", _shown(url), str(failure), "is the server up?", 5) from failure
    raise Invalid("fetch", _shown(url), refused, "download it before the build, and COPY it")


def check_host(what: str, host: str, *, reaches_host: bool) -> None:
    """`Invalid` for a host that is this machine, or none: for who connects by other means."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Temporary("fetch", what, f"there is no address for {host}", "", 5) from error
    for *_, where in found:
        address = _plain(str(where[0]))
        if why := _why_not(address, may_be_private=True, reaches_host=reaches_host):
            raise Invalid("fetch", what, f"{address} {why}")


def _speaking(opened: socket.socket, scheme: str, host: str, port: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(host, port, timeout=IDLE_SECONDS)
    if scheme == "https":
        opened = client_context().wrap_socket(opened, server_hostname=host)
    connection.sock = opened
    return connection


def _plain(text: str) -> Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _why_not(address: Address, *, may_be_private: bool, reaches_host: bool) -> str:
    """ "" for one that a build may speak to."""
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return "is no address to fetch files from"
    if address.is_loopback and not reaches_host:
        return "is this machine, which a build does not reach (--network host lets it)"
    if not address.is_global and not may_be_private:
        return "is a private address, and the redirect came from outside"
    return ""


def _ask(connection: http.client.HTTPConnection, url: str) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query else path
    connection.request("GET", target, headers={"User-Agent": "setpoint", "Accept-Encoding": "identity"})
    return connection.getresponse()


def _next(url: str, answer: http.client.HTTPResponse) -> str:
    location = answer.getheader("Location") or ""
    if not location or len(location) > 4096 or not location.isprintable() or " " in location:
        raise Invalid("fetch", _shown(url), "redirected to nowhere")
    there = urljoin(url, location)
    if urlsplit(url).scheme == "https" and urlsplit(there).scheme != "https":
        raise Invalid("fetch", _shown(url), "redirected from https to something less safe")
    return there


def _check(url: str, answer: http.client.HTTPResponse) -> None:
    if answer.status == 200:
        return
    if answer.status in (404, 410):
        raise NotFound("fetch", _shown(url), f"the server answered {answer.status}")
    if answer.status == 429 or answer.status >= 500:
        raise Temporary("fetch", _shown(url), f"the server answered {answer.status}", "", 10)
    raise Invalid("fetch", _shown(url), f"the server answered {answer.status}")


def _save(answer: http.client.HTTPResponse, place: Path, url: str, end: float) -> str:
    hasher, size = hashlib.sha256(), 0
    descriptor = os.open(place, _NEW_FILE, 0o600)
    try:
        while data := answer.read(_CHUNK_BYTES):
            size += len(data)
            if size > MAX_BYTES:
                raise Invalid("fetch", _shown(url), f"longer than {MAX_BYTES} bytes")
            if time.monotonic() > end:
                raise Temporary("fetch", _shown(url), "it took too long", "", 60)
            hasher.update(data)
            write_all(descriptor, data)
    finally:
        os.close(descriptor)
    said = answer.getheader("Content-Length")
    if said is not None and said.isdecimal() and int(said) != size:
        raise Temporary("fetch", _shown(url), f"cut off after {size} of {said} bytes", "", 5)
    return f"sha256:{hasher.hexdigest()}"


def _compare(url: str, digest: str, checksum: str) -> None:
    if not checksum or checksum == digest:
        return
    if not checksum.startswith("sha256:"):
        raise Invalid("fetch", _shown(url), f"{checksum[:20]} is a digest that is not known", "use sha256")
    raise Invalid(
        "fetch", _shown(url), f"it has the digest {digest}, not {checksum}", "is it another version?"
    )


def _modified(answer: http.client.HTTPResponse) -> int | None:
    text = answer.getheader("Last-Modified") or ""
    try:
        return int(email.utils.parsedate_to_datetime(text).timestamp()) * 10**9
    except (ValueError, TypeError, OverflowError):
        return None


def _shown(url: str) -> str:
    """Without a password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"[:300]
