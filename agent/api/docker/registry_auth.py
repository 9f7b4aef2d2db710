"""Who a client is to a registry, from `X-Registry-Auth` or the body of `/auth`, for one request. Pure.

Nothing of it is kept, logged or said back: errors name the fault, never the value.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from agent.api.docker.bodies import read_json, text_of
from runtime.errors import Invalid
from runtime.images.reference import DEFAULT_DOMAIN, Reference, parse_reference
from runtime.images.registry.credentials import Credential

HEADER = "X-Registry-Auth"
MAX_BYTES = 65536
_KNOWN = frozenset((
    "username", "password", "email", "auth", "serveraddress", "identitytoken", "registrytoken",
))  # fmt: skip
_HUB = frozenset((
    "docker.io", "index.docker.io", "registry-1.docker.io", "hub.docker.com", "registry.hub.docker.com",
    "auth.docker.io",
))  # fmt: skip


def read_header(text: str, reference: Reference) -> Credential | None:
    """None for a header that says nobody. `Invalid` for one that is no header, or that is for another
    registry than the image's: it would be told a password that is not for it."""
    if not text:
        return None
    return credential_of(decoded(text), reference.domain)


def decoded(text: str) -> dict[str, Any]:
    """base64url of a JSON object, with or without what fills it up; the plain alphabet is taken too."""
    if len(text) > MAX_BYTES:
        raise _invalid(f"longer than {MAX_BYTES} bytes")
    packed = text.strip().rstrip("=").replace("+", "-").replace("/", "_")
    try:
        data = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("not base64") from None
    if not data.strip():
        return {}
    try:
        return read_json(data)
    except Invalid:
        raise _invalid("not a JSON object") from None  # what it is may be a password


def credential_of(data: Mapping[str, Any], domain: str) -> Credential | None:
    """domain: of the registry that is going to be asked."""
    for name in data:
        if name not in _KNOWN:
            raise _invalid("a field that means nothing")
    username, password = text_of(data, "username"), text_of(data, "password")
    if packed := text_of(data, "auth"):
        username, password = _pair(packed) if not username else (username, password)
    address = text_of(data, "serveraddress")
    found = Credential(username, password, text_of(data, "identitytoken"), text_of(data, "registrytoken"))
    if found == Credential():
        return None
    if address and domain_of(address) != domain:
        shown = domain_of(address)[:100]
        raise Invalid("", "", f"the login in {HEADER} is for {shown!r}, and not for {domain}")
    return found


def domain_of(address: str) -> str:
    """The domain that names of images have, of a `serveraddress`: a host, or a URL such as the hub's
    https://index.docker.io/v1/; "" is the hub, as for the daemon. `Invalid` for what is no host."""
    try:
        host = urlsplit(address if "://" in address else f"//{address}").netloc if address else DEFAULT_DOMAIN
    except ValueError:
        host = ""
    if host.lower() in _HUB:
        return DEFAULT_DOMAIN
    try:
        reference = parse_reference(f"{host}/x/y")
    except Invalid:
        raise Invalid("", "", "serveraddress is no registry's host") from None
    if reference.domain != host:
        raise Invalid("", "", "serveraddress is no registry's host", "write HOST or HOST:PORT")
    return host


def _pair(packed: str) -> tuple[str, str]:
    """`auth` of Docker's config.json: base64 of NAME:PASSWORD."""
    try:
        name, colon, password = base64.b64decode(packed, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise _invalid("auth is not base64") from None
    if not colon:
        raise _invalid("auth is not NAME:PASSWORD")
    return name, password.rstrip("\0")


def _invalid(reason: str) -> Invalid:
    return Invalid("", "", f"invalid {HEADER} header: {reason}")
