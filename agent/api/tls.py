"""TLS for the API: who comes must show a certificate of the instance's own authority. Renewed files are used
for the next connection, without a restart; ones that do not fit together change nothing. Called by `server`.
"""

from __future__ import annotations

import datetime
import logging
import ssl
import stat
from pathlib import Path
from typing import Any

from agent import certificates
from agent.certificates import CA, RENEW_DAYS, SERVER, SERVER_KEY
from runtime.errors import Invalid, SetpointError

log = logging.getLogger("setpoint.api")
OP = "serve TLS"


class Certificates:
    """The files of `setpoint tls init` in a directory. `context` is what a listening socket is given."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: tuple[object, ...] = ()
        self._current: ssl.SSLContext | None = None
        self._names: frozenset[str] = frozenset()

    def load(self) -> None:
        """Invalid or NotFound, with the file, when it cannot be served with."""
        seen = self._look()
        self._current, self._names = self._make()
        self._seen = seen

    def names(self) -> frozenset[str]:
        """What a Host header may say."""
        return self._names

    @property
    def context(self) -> ssl.SSLContext:
        """One that asks for the newest files at each handshake. `load` comes first."""
        assert self._current is not None
        context = _context()
        # Certificates are those of the context that the callback sets; it is called without SNI, too.
        context.sni_callback = self._on_hello
        return context

    def _on_hello(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        self._reload()
        connection.context = self._current

    def _reload(self) -> None:
        seen = self._look()
        if seen == self._seen:
            return
        try:
            self._current, self._names = self._make()
        except SetpointError as error:  # half of them is written: the old ones serve until they fit
            log.warning("%s", error)
        else:
            log.info("certificates were read anew from %s", self._directory)
        self._seen = seen

    def _look(self) -> tuple[object, ...]:
        return tuple(_signature(self._directory / name) for name in (CA, SERVER, SERVER_KEY))

    def _make(self) -> tuple[ssl.SSLContext, frozenset[str]]:
        authority, server, key = (self._directory / name for name in (CA, SERVER, SERVER_KEY))
        certificate = certificates.read_certificate(server)
        certificates.read_certificate(authority)
        _check_private(key)
        _check_dates(server, certificates.days_left(certificate, datetime.datetime.now(datetime.UTC)))
        context = _context()
        try:
            context.load_cert_chain(server, key)
            context.load_verify_locations(authority)
        except (ssl.SSLError, OSError) as error:
            hint = "setpoint tls renew"
            raise Invalid(OP, str(server), f"cannot be used with its key: {error}", hint) from None
        names = certificates.names_of(certificate)
        if not names:
            raise Invalid(OP, str(server), "it names no host (subjectAltName)", "setpoint tls renew")
        return context, frozenset(name.lower() for name in names)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # each connection shows its certificate
    context.set_alpn_protocols(["http/1.1"])
    return context


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _check_private(key: Path) -> None:
    try:
        mode = key.stat().st_mode
    except OSError as error:
        raise Invalid(OP, str(key), error.strerror or str(error), "setpoint tls init") from None
    if stat.S_IMODE(mode) & 0o077:
        raise Invalid(OP, str(key), "others may read it", f"chmod 600 {key}")


def _check_dates(path: Path, days: float) -> None:
    if days <= 0:
        raise Invalid(OP, str(path), "its time is over", "setpoint tls renew")
    if days < RENEW_DAYS:
        log.warning("%s is good for %d more days: setpoint tls renew", path, days)
