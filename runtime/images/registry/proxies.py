"""Through which proxy a host is reached: what the environment says, as curl and Docker's engine read it.

    HTTPS_PROXY, HTTP_PROXY, NO_PROXY (or in lower case; HTTP_PROXY only so, or as Docker has it, both)

Called by `transport`, and by the worker's parent, which hands nothing else of its environment on.
A registry on this machine is never reached through a proxy. Pure but for the environment.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from runtime.errors import Invalid

_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class Proxy:
    """url: without who we are to it. authorization: of a Proxy-Authorization header, or ""."""

    url: str
    authorization: str = field(default="", repr=False)


def proxies(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that say something about proxies."""
    known = os.environ if environment is None else environment
    wanted = (*_NAMES, *(name.lower() for name in _NAMES))
    return {name: known[name] for name in wanted if known.get(name)}


def proxy_for(scheme: str, host: str, environment: Mapping[str, str] | None = None) -> Proxy | None:
    """scheme: of the URL that is asked. host: with its port, if it has one. `Invalid` for a proxy that
    is none."""
    said = proxies(environment)
    text = said.get(f"{scheme}_proxy") or said.get(f"{scheme.upper()}_PROXY", "")
    if not text or _is_direct(host, said.get("no_proxy") or said.get("NO_PROXY", "")):
        return None
    return _parse(text, f"{scheme.upper()}_PROXY")


def _parse(text: str, name: str) -> Proxy:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or not text.isprintable():
        raise Invalid("ask registry", name, "it names no proxy", "write http://HOST:PORT")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    url = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
    if parts.username is None:
        return Proxy(url)
    from runtime.images.registry.credentials import Credential

    return Proxy(url, Credential(unquote(parts.username), unquote(parts.password or "")).basic())


def _is_direct(host: str, said: str) -> bool:
    """What golang.org/x/net/http/httpproxy takes: "*", domains with all below them, addresses, networks,
    each also with a port."""
    try:
        parts = urlsplit(f"//{host}")
        name, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return False
    address = _address(name)
    if name == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches(each.strip().lower(), name, address, port) for each in said.split(","))


def _matches(
    pattern: str,
    name: str,
    address: ipaddress.IPv4Address | ipaddress.IPv6Address | None,
    port: int | None,
) -> bool:
    if pattern == "*":
        return True
    if not pattern:
        return False
    if "/" in pattern:
        try:
            return address is not None and address in ipaddress.ip_network(pattern, strict=False)
        except ValueError:
            return False
    try:
        parts = urlsplit(f"//{pattern}" if pattern.count(":") < 2 or "]" in pattern else f"//[{pattern}]")
        wanted, wanted_port = (parts.hostname or "").lstrip("*"), parts.port
    except ValueError:
        return False
    if wanted_port is not None and wanted_port != port:
        return False
    if _address(wanted) is not None:
        return _address(wanted) == address
    return name == wanted.lstrip(".") or name.endswith("." + wanted.lstrip("."))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
