"""Logins that come with one build (`X-Registry-Config`): for its base images, never kept or logged. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from agent.api.docker.bodies import read_json
from runtime.errors import Invalid
from runtime.images.reference import DEFAULT_DOMAIN
from runtime.images.registry.credentials import Credential

_HUB = ("index.docker.io", "registry-1.docker.io", "docker.io")


def read_logins(header: str) -> dict[str, Credential]:
    """Domain -> who asks there. header: JSON in base64, as the docker command line sends it; "" for none."""
    if not header:
        return {}
    try:
        data = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
    except (ValueError, binascii.Error):
        raise Invalid("read request", "X-Registry-Config", "not base64") from None
    found: dict[str, Credential] = {}
    for host, fields in read_json(data).items():
        if not isinstance(fields, dict):
            raise Invalid("read request", "X-Registry-Config", "not an object of logins")
        credential = _credential(fields)
        if credential is not None:
            found[domain_of(host)] = credential
    return found


def domain_of(host: str) -> str:
    """`https://index.docker.io/v1/` is docker.io."""
    name = host.partition("://")[2] or host
    name = name.partition("/")[0]
    return DEFAULT_DOMAIN if name in _HUB else name


def _credential(fields: Mapping[str, Any]) -> Credential | None:
    """None for one without a word in it, which clients send for hosts that they have no login for."""
    user, password, token = (
        str(fields.get(name) or "") for name in ("username", "password", "identitytoken")
    )
    packed = str(fields.get("auth") or "")
    if packed and not password:
        try:
            user, _, password = base64.b64decode(packed).decode().partition(":")
        except ValueError:
            raise Invalid("read request", "X-Registry-Config", "auth is not base64 of text") from None
    return Credential(user, password, token) if password or token else None
