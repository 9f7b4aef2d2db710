"""Which hosts are asked for a name, and how each may be spoken to. Pure values.

    Registries (what registries.yaml says) ─> endpoints(domain) ─> mirrors first, then the registry itself

A host is spoken to by HTTPS unless the settings name it as insecure: nothing falls back by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.errors import Invalid
from runtime.images.reference import DEFAULT_DOMAIN

HUB_HOST = "registry-1.docker.io"
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]{2,39}\])(?::[0-9]{1,5})?")
# Second levels under which anybody gets a name, in countries' domains (example.co.uk).
_PUBLIC_SECOND_LEVELS = frozenset(
    ("ac", "co", "com", "edu", "gob", "gov", "gouv", "govt", "mil", "ne", "net", "nom", "or", "org", "sch")
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One host, with its port if it has one. The paths are of files on this machine, "" for none.

    is_insecure: plain HTTP is spoken. token_hosts: further hosts that may be sent its credentials.
    """

    host: str
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    is_insecure: bool = False
    token_hosts: tuple[str, ...] = ()
    prefix: str = ""

    @property
    def url(self) -> str:
        return f"{'http' if self.is_insecure else 'https'}://{self.host}"

    @property
    def name(self) -> str:
        """Without the port, in lower case."""
        return host_name(self.host)


@dataclass(frozen=True, slots=True)
class Registry:
    """The settings of one registry. mirrors are asked before it, in this order."""

    endpoint: Endpoint
    mirrors: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Registries:
    """All settings, by the domain that names of images have. logins: project -> the file with who it is to
    registries, as Docker's config.json, for what that file tells of."""

    by_domain: Mapping[str, Registry] = field(default_factory=dict)
    logins: Mapping[str, str] = field(default_factory=dict)

    def endpoints(self, domain: str) -> tuple[Endpoint, ...]:
        registry = self.by_domain.get(domain)
        if registry is None:
            return (Endpoint(host_of(domain)),)
        return (*registry.mirrors, registry.endpoint)


def host_of(domain: str) -> str:
    """Where a domain's registry is: the hub's is elsewhere."""
    return HUB_HOST if domain == DEFAULT_DOMAIN else domain


def host_name(host: str) -> str:
    """`Example.com:5000` is `example.com`; an IPv6 address keeps its brackets."""
    return re.sub(r":[0-9]+$", "", host).lower()


def check_host(text: str) -> str:
    """A host with or without a port; `Invalid` for a URL or anything else."""
    if not _HOST.fullmatch(text):
        raise Invalid("read registries", repr(text[:200]), "not a host", "write HOST or HOST:PORT")
    return text


def may_be_told(endpoint: Endpoint, host: str) -> bool:
    """Whether a host may be sent the credentials of an endpoint: itself, one that the settings name, or
    one of the same owner as far as names tell (auth.example.com for registry.example.com)."""
    other = host_name(host)
    if other == endpoint.name or other in endpoint.token_hosts:
        return True
    ours = _owner(endpoint.name)
    return bool(ours) and ours == _owner(other)


def _owner(name: str) -> str:
    """`example.com` of `auth.example.com`; "" for addresses and single words."""
    labels = name.split(".")
    if len(labels) < 2 or name.startswith("[") or labels[-1].isdecimal():
        return ""
    is_public = len(labels[-1]) == 2 and labels[-2] in _PUBLIC_SECOND_LEVELS
    size = 3 if is_public else 2
    return ".".join(labels[-size:]) if len(labels) >= size else ""
