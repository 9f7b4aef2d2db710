"""HTTP to registries: one request, one answer, nothing followed and nothing repeated by itself.

Called by `repository`. Knows TLS, time limits and which addresses are never spoken to; knows nothing of
what a registry says. Every failure is an error of ours with one clear reason.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from runtime.errors import Invalid, Temporary
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.patience import PatientSocket, PatientTLSSocket, too_slow
from runtime.images.registry.proxies import Proxy, proxy_for
from runtime.tls_client import client_context

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 30.0
HEAD_SECONDS = 60.0
DOCUMENT_SECONDS = 120.0  # for all of an answer; blobs have `take_time`
USER_AGENT = "setpoint"
_AT_ONCE = 8


class Transport:
    """Connections to an endpoint's host and to those that it sends us to."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._managers: dict[tuple[bool, Proxy | None], urllib3.PoolManager] = {}
        self._context = _context(endpoint)  # a certificate that cannot be read is said before all

    def close(self) -> None:
        for manager in self._managers.values():
            manager.clear()

    def _manager(self, scheme: str, host: str, *, is_own: bool) -> urllib3.PoolManager:
        """Others are met with the system's authorities, and never with the endpoint's client certificate."""
        proxy = proxy_for(scheme, host)
        if proxy is not None:
            _refuse(urlsplit(f"//{host}").hostname or "")  # the proxy would go there for us
        with self._lock:
            if (is_own, proxy) not in self._managers:
                context = self._context if is_own else _context(Endpoint(self._endpoint.host))
                self._managers[is_own, proxy] = _new_manager(context, proxy)
            return self._managers[is_own, proxy]

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None = None,
        read_seconds: float = 0.0,
    ) -> urllib3.BaseHTTPResponse:
        """The answer's head; its body is read by the caller, who closes it. `Temporary` when the host does
        not answer in read_seconds (0: IDLE_SECONDS), `Invalid` when it may not be trusted."""
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
        except ValueError as error:
            raise _nowhere(self._endpoint.host, error) from None
        is_own = parts.netloc.lower() == self._endpoint.host.lower()
        self._check_scheme(parts.scheme, host, is_own=is_own)
        with explained(parts.netloc):
            return self._manager(parts.scheme, parts.netloc, is_own=is_own).request(
                method, url, body=body, headers={"User-Agent": USER_AGENT, **headers},
                redirect=False, retries=False, preload_content=False, decode_content=False,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds or IDLE_SECONDS),
            )  # fmt: skip

    def _check_scheme(self, scheme: str, host: str, *, is_own: bool) -> None:
        """HTTPS, but with a host that the settings call insecure, and where that one sends us on itself."""
        same_host = is_own or host.lower() == self._endpoint.name.strip("[]")
        if scheme == "https" or (scheme == "http" and self._endpoint.is_insecure and same_host):
            return
        raise Invalid(
            "ask registry", self._endpoint.host, f"it sends us to {host[:200]} by {scheme[:20] or 'nothing'}",
            "only HTTPS is trusted",
        )  # fmt: skip


@contextlib.contextmanager
def explained(host: str) -> Iterator[None]:
    """Give what goes wrong on the way one clear reason."""
    try:
        yield
    except _Forbidden as error:
        raise Invalid("ask registry", host, str(error), "no registry is there") from None
    except urllib3.exceptions.LocationValueError as error:
        raise _nowhere(host, error) from None
    except urllib3.exceptions.SSLError as error:
        if _NO_TLS in str(error):
            raise Invalid("ask registry", host, "it speaks no TLS", _PLAIN_HINT) from None
        raise Invalid(
            "ask registry", host, f"its certificate is not trusted: {_tls_reason(error)}", _TLS_HINT
        ) from None
    except urllib3.exceptions.ProxyError as error:
        raise Temporary("ask registry", host, f"its proxy: {_proxy_reason(error)}", _PROXY_HINT) from None
    except urllib3.exceptions.NameResolutionError:
        raise Temporary(
            "ask registry", host, "there is no address for that name", "is it spelled right?"
        ) from None
    except urllib3.exceptions.NewConnectionError as error:  # which is a TimeoutError by its class
        raise Temporary("ask registry", host, _reason(error), _DOWN_HINT) from None
    except urllib3.exceptions.TimeoutError as error:
        raise Temporary("ask registry", host, too_slow(error) or "it does not answer", _DOWN_HINT) from None
    except (HTTPError, OSError) as error:
        raise Temporary("ask registry", host, _reason(error), _DOWN_HINT) from None


_DOWN_HINT = "what is here already runs without it"
_NO_TLS = "WRONG_VERSION_NUMBER"  # OpenSSL's word for an answer that is HTTP
_PLAIN_HINT = "set insecure for this registry in registries.yaml, if it is to be so"
_TLS_HINT = "set ca or insecure for this registry in registries.yaml"
_PROXY_HINT = "see HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the agent"


def _reason(error: Exception) -> str:
    """The innermost words: urllib3 wraps what the socket said."""
    inner: BaseException = error
    while (cause := inner.__cause__ or inner.__context__) is not None:
        inner = cause
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror.lower()
    return "the connection broke" if isinstance(error, HTTPError) else str(error)[:200]


def _proxy_reason(error: urllib3.exceptions.ProxyError) -> str:
    """What it answers to CONNECT is in the words of an OSError without a number."""
    inner = error.original_error
    text = str(inner) if type(inner) is OSError and not inner.strerror else _reason(error)
    return text[:200] if text.isprintable() else "it does not answer as a proxy does"


def _nowhere(host: str, error: Exception) -> Invalid:
    """urlsplit and urllib3 say it by a ValueError each."""
    return Invalid("ask registry", host, f"it sends us to no address: {str(error)[:200]!r}", "")


def _tls_reason(error: Exception) -> str:
    text = str(error.args[0] if error.args else error)
    for mark in ("certificate verify failed: ", "[SSL: "):
        if mark in text:
            return text.partition(mark)[2].partition(" (_ssl")[0].rstrip("]'\")")[:200]
    return text[:200]


def _new_manager(context: ssl.SSLContext, proxy: Proxy | None) -> urllib3.PoolManager:
    options: dict[str, Any] = {"maxsize": _AT_ONCE, "ssl_context": context, "retries": False}
    if proxy is None:
        manager = urllib3.PoolManager(**options)
    else:
        said = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
        manager = urllib3.ProxyManager(proxy.url, proxy_headers={"User-Agent": USER_AGENT, **said}, **options)
    manager.pool_classes_by_scheme = {"http": _CheckedPool, "https": _CheckedTLSPool}
    return manager


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    try:
        context = client_context(endpoint.ca_file or None)
        if endpoint.ca_file:
            context.load_default_certs()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = PatientTLSSocket
        if endpoint.certificate_file:
            context.load_cert_chain(endpoint.certificate_file, endpoint.key_file or None)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Invalid(
            "ask registry", endpoint.host, f"cannot read its certificates: {reason}",
            "see ca, certificate and key in registries.yaml",
        ) from error  # fmt: skip
    return context


# --- addresses --------------------------------------------------------------------------------


class _Forbidden(Exception):
    """An address that no registry has."""


class _Checked:
    """Looks at the address before it connects, and at the one that was connected to, before anything is
    said: what a name meant a moment ago counts for nothing. Link-local is where clouds keep their
    machines' secrets. Hands out sockets that do not wait for ever."""

    def _new_conn(self) -> socket.socket:
        _refuse(self._dns_host)  # type: ignore[attr-defined]
        connected: socket.socket = super()._new_conn()  # type: ignore[misc]
        if reason := _forbidden(connected.getpeername()[0]):
            connected.close()
            raise _Forbidden(reason)
        seconds = connected.gettimeout()
        patient = PatientSocket(connected.family, connected.type, connected.proto, connected.detach())
        patient.settimeout(seconds)
        return patient

    def getresponse(self) -> Any:
        """The whole head in HEAD_SECONDS (or what its asker gives it): each of its bytes alone may come in
        time."""
        # Kept here: the answer has it alone when the server closes after it.
        sock: PatientSocket | PatientTLSSocket = self.sock  # type: ignore[attr-defined]
        patience = max(HEAD_SECONDS, self.timeout or 0.0)  # type: ignore[attr-defined]
        sock.expires_at, sock.left = time.monotonic() + patience, math.inf
        answer = super().getresponse()  # type: ignore[misc]
        sock.expires_at = time.monotonic() + DOCUMENT_SECONDS
        answer.patience = sock
        return answer


def take_time(answer: urllib3.BaseHTTPResponse, size: int) -> None:
    """For a blob, of size bytes: it may take long while it comes fast enough. With the sizes of its chunks
    it is not many times as long."""
    sock: PatientSocket | PatientTLSSocket = answer.patience  # type: ignore[attr-defined]
    sock.expires_at, sock.left = math.inf, 8 * size + (1 << 20)


def _refuse(host: str) -> None:
    """Raises _Forbidden for a host all of whose addresses are; who has none is told by the connect."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return
    reasons = [_forbidden(str(entry[4][0])) for entry in found]
    if reasons and all(reasons):
        raise _Forbidden(reasons[0])


def _forbidden(text: str) -> str:
    """Why an address is none of a registry, or ""."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or address
    is_one = mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified
    return f"{mapped} is not an address to fetch images from" if is_one else ""


class _CheckedConnection(_Checked, HTTPConnection):
    pass


class _CheckedTLSConnection(_Checked, HTTPSConnection):
    pass


class _CheckedPool(HTTPConnectionPool):
    ConnectionCls = _CheckedConnection


class _CheckedTLSPool(HTTPSConnectionPool):
    ConnectionCls = _CheckedTLSConnection
