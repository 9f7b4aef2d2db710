"""Where the agent listens on TCP: reads `tcp://HOST:PORT`, and decides whether it may. Pure but for looking
at the certificates' files.

Who reaches the API is root on this host, and on TCP that is everybody who can send a packet, so a client
shows a certificate. Loopback is no exception: every user, container and web page of this host is there.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import Invalid

OP = "listen"
PLAIN_PORT, TLS_PORT = 2375, 2376
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"

    @property
    def is_any(self) -> bool:
        """All addresses of this host."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False


def read_address(text: str) -> Address:
    """Invalid, with what to write, for all but tcp://HOST:PORT."""
    scheme, sign, rest = text.partition("://")
    if not sign or scheme != "tcp":
        known = scheme if sign else ""
        more = {
            "unix": "the UNIX socket is always served; more of them are manifests of kind: Socket",
            "fd": "sockets of systemd are not taken",
            "ssh": "clients use ssh:// without it: DOCKER_HOST=ssh://USER@HOST",
        }
        raise Invalid(OP, text[:80], "not tcp://HOST:PORT", more.get(known, "as tcp://127.0.0.1:2376"))
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:@/?#\[\]]*)(?::([0-9]{1,5}))?", rest)
    if found is None:
        raise Invalid(OP, text[:80], "more than a host and a port", "as tcp://127.0.0.1:2376")
    host, port = found[1].strip("[]"), int(found[2] or TLS_PORT)
    if not host:
        raise Invalid(
            OP, text[:80], "no host", f"all addresses are tcp://0.0.0.0:{port} and tcp://[::]:{port}"
        )
    if port > 65535:
        raise Invalid(OP, text[:80], f"{port} is no port")
    return Address(_host(host, text), port)


def _host(host: str, text: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        if ":" in host or not _NAME.fullmatch(host):
            raise Invalid(OP, text[:80], "neither a name nor an address") from None
        return host.lower()


def check_listen(addresses: tuple[Address, ...], tls: Path, *, is_plain_allowed: bool) -> None:
    """Invalid for an address that would be served without saying who comes."""
    if not addresses or is_plain_allowed:
        return
    from agent.api.tls import Certificates

    if not tls.is_dir():
        raise Invalid(
            OP,
            str(addresses[0]),
            "who reaches this API is root on this host, and on TCP that would be anybody, on loopback too: "
            f"it is served to clients with a certificate alone, and there are none in {tls}",
            "setpoint tls init; or use the UNIX socket, or ssh://",
        )
    Certificates(tls).load()


def plain_names(address: Address) -> frozenset[str]:
    """What a Host header may say where no certificate has names."""
    return frozenset({address.host, "localhost", "127.0.0.1", "::1", *(("*",) if address.is_any else ())})
