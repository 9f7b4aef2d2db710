"""Image references: `name[:tag][@digest]`, with the short names that people know. Pure.

    busybox  ==  docker.io/library/busybox:latest      familiar and canonical form of one reference
    └─ path                  domain / path : tag

Called wherever a name comes in: manifests, archives, the command line, the API. The grammar is the
distribution project's (github.com/distribution/reference). Reads nothing and asks no registry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from runtime.errors import Invalid

DEFAULT_DOMAIN = "docker.io"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
MAX_NAME_LENGTH = 255  # of domain and path together; tags and digests are bounded by their own grammar

DIGEST_PATTERN = re.compile(r"sha256:[0-9a-f]{64}")
_TAG_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_COMPONENT_PATTERN = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN_PATTERN = re.compile(rf"(?:{_HOST}(?:\.{_HOST})*|\[[0-9a-fA-F:]{{2,39}}\])(?::[0-9]{{1,5}})?")
_HEX_ID_PATTERN = re.compile(r"[0-9a-f]{64}")

_MAX_LENGTH = MAX_NAME_LENGTH + len(":") + 128 + len("@sha256:") + 64
_FORM = "NAME[:TAG][@sha256:DIGEST]"


@dataclass(frozen=True, slots=True)
class Reference:
    """A checked name of an image. tag "" only with a digest; digest "" when it is not pinned."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """`docker.io/library/busybox`."""
        return f"{self.domain}/{self.path}"

    @property
    def canonical(self) -> str:
        """`docker.io/library/busybox:latest`."""
        return self.repository + self._suffix

    @property
    def familiar(self) -> str:
        """`busybox:latest`: as people write it and as tables show it."""
        return self.familiar_repository + self._suffix

    @property
    def familiar_repository(self) -> str:
        first, slash, _ = self.path.partition("/")
        if self.domain != DEFAULT_DOMAIN or (slash and _looks_like_host(first)):
            return self.repository  # docker.io/r.io/x: without its domain it would be another registry's
        return self.path.removeprefix(DEFAULT_NAMESPACE + "/") if self.path.count("/") == 1 else self.path

    @property
    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def with_digest(self, digest: str) -> Reference:
        """The same repository, pinned to a digest and without a tag."""
        return replace(self, tag="", digest=digest)

    def __str__(self) -> str:
        return self.canonical


def parse_reference(text: str) -> Reference:
    """Read a name as a person writes it. `Invalid` says which part is wrong and how it is written."""
    if len(text) > _MAX_LENGTH:
        raise _invalid(text, f"longer than {_MAX_LENGTH} characters")
    name, digest = _split_digest(text)
    name, tag = _split_tag(text, name)
    domain, path = _split_domain(name)
    _check_domain(text, domain)
    _check_path(text, path)
    if len(domain) + 1 + len(path) > MAX_NAME_LENGTH:
        raise _invalid(text, f"the name is longer than {MAX_NAME_LENGTH} characters")
    return Reference(domain, path, tag or ("" if digest else DEFAULT_TAG), digest)


def is_digest(text: str) -> bool:
    """Whether it is a SHA-256 digest in the one form that is used for names of files."""
    return DIGEST_PATTERN.fullmatch(text) is not None


def _split_digest(text: str) -> tuple[str, str]:
    name, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise _invalid(text, "the digest is not sha256 and 64 lower-case hex digits")
    return name, digest


def _split_tag(text: str, name: str) -> tuple[str, str]:
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:  # the colon of a port: localhost:5000/app
        return name, ""
    if not _TAG_PATTERN.fullmatch(tag):
        raise _invalid(
            text, f"the tag {tag[:130]!r} is not valid", "letters, digits, '_', '.' and '-', at most 128"
        )
    return head, tag


def _split_domain(name: str) -> tuple[str, str]:
    """Docker's rule: the first part is a domain when it looks like a host, else it is the hub's."""
    first, slash, rest = name.partition("/")
    domain, path = (first, rest) if slash and _looks_like_host(first) else (DEFAULT_DOMAIN, name)
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"{DEFAULT_NAMESPACE}/{path}"
    return domain, path


def _looks_like_host(first: str) -> bool:
    return "." in first or ":" in first or first == "localhost" or first != first.lower()


def _check_domain(text: str, domain: str) -> None:
    if not _DOMAIN_PATTERN.fullmatch(domain):
        raise _invalid(text, f"{domain[:80]!r} is not a registry's host name")


def _check_path(text: str, path: str) -> None:
    name = path.removeprefix(DEFAULT_NAMESPACE + "/")
    if _HEX_ID_PATTERN.fullmatch(name):
        raise _invalid(text, "64 hex digits are an image's id, not a name", f"write sha256:{name}")
    if not name:
        raise _invalid(text, "the name is empty")
    if name != name.lower():
        raise _invalid(text, "the name has upper-case letters", f"write {name.lower()[:80]}")
    for component in path.split("/"):
        if not _COMPONENT_PATTERN.fullmatch(component):
            raise _invalid(
                text, f"{component[:80]!r} is not a valid part of a name",
                "lower-case letters and digits, with single '.', '_', '__' or '-' between them",
            )  # fmt: skip


def _invalid(text: str, reason: str, hint: str = f"write {_FORM}") -> Invalid:
    return Invalid("read image reference", repr(text[:300]), reason, hint)
