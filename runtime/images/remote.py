"""What registries say of images without a pull: what a tag means, what an image is, which tags and
repositories there are. Called by the worker; each answer is a list of plain values.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from runtime.errors import NotFound, SetpointError, Temporary
from runtime.images.content import digest_of
from runtime.images.documents import INDEX_TYPES, parse_index, parse_json, parse_manifest
from runtime.images.error_view import to_view
from runtime.images.facts import Signature, signature_to_json
from runtime.images.images import host_platform
from runtime.images.platforms import check_platform, parse_platform
from runtime.images.pull import find_image, first_that_has, read_config
from runtime.images.reference import parse_reference
from runtime.images.registry.listing import list_tags, search
from runtime.images.registry.origin import Origin
from runtime.images.registry.repository import Document, Repository
from runtime.images.registry.signatures import find_signatures
from runtime.images.registry.told import (
    RemoteDescriptor,
    RemoteDigest,
    RemoteImage,
    RemoteSignatures,
    RemoteTag,
)


@dataclass(frozen=True, slots=True)
class LetIn:
    """The registry knows who asks."""

    host: str


_OPS = {
    "digest": "ask for image", "describe": "inspect image", "tags": "list tags", "search": "search images",
    "resolve": "inspect image", "login": "log in to", "signatures": "ask for signatures of",
}  # fmt: skip


def ask(what: str, subject: str, origins: Sequence[Origin], more: Mapping[str, Any]) -> Sequence[Any]:
    """what: one of `_OPS`; more: what else it takes."""
    verbs: Mapping[str, Callable[..., Sequence[Any]]] = {
        "digest": _digest, "describe": _describe, "tags": _tags, "search": _search,
        "resolve": _resolve, "login": _login, "signatures": _signatures,
    }  # fmt: skip
    try:
        return verbs[what](subject, origins, **more)
    except SetpointError as error:
        raise _worded(what, error) from None


def _worded(what: str, error: SetpointError) -> SetpointError:
    """A registry's client words them for pulls."""
    if isinstance(error, Temporary):
        wait = error.retry_after_seconds
        return Temporary(_OPS[what], error.subject, error.reason, error.hint, wait)
    return type(error)(_OPS[what], error.subject, error.reason, error.hint)


def _digest(name: str, origins: Sequence[Origin]) -> Sequence[RemoteDigest]:
    """By HEAD; a registry that does not say it then is asked for the document."""
    asked = parse_reference(name)

    def find(repository: Repository) -> str:
        return repository.digest(asked.tag) or repository.manifest(asked.tag).digest

    return (RemoteDigest(asked.digest or first_that_has(asked, origins, find)),)


def _describe(name: str, origins: Sequence[Origin], platform: str = "") -> Sequence[RemoteImage]:
    asked = parse_reference(name)
    wanted = parse_platform(platform) if platform else host_platform()

    def find(repository: Repository) -> RemoteImage:
        top = repository.manifest(asked.digest or asked.tag)
        platforms: tuple[str, ...] = ()
        if top.media_type in INDEX_TYPES:
            entries = parse_index(top.data, top.media_type, repository.subject)
            platforms = tuple(str(entry.platform) for entry in entries if entry.platform)
        found = find_image(repository, asked, wanted)
        if platform:
            check_platform(found.config, wanted, repository.subject)
        manifest = parse_manifest(found.manifest, found.manifest_type, repository.subject)
        layers = tuple(
            {"media_type": each.media_type, "digest": each.digest, "size_bytes": each.size}
            for each in manifest.layers
        )
        return RemoteImage(
            asked.familiar, digest_of(found.manifest), found.source_digest, found.manifest_type,
            sum(each.size for each in manifest.layers), layers, platforms,
            parse_json(found.config, "config"), manifest.config.digest,
        )  # fmt: skip

    return (first_that_has(asked, origins, find),)


def _resolve(name: str, origins: Sequence[Origin]) -> Sequence[RemoteDescriptor]:
    asked = parse_reference(name)

    def find(repository: Repository) -> RemoteDescriptor:
        top = repository.manifest(asked.digest or asked.tag)
        return RemoteDescriptor(top.digest, top.media_type, len(top.data), _platforms(repository, top))

    return (first_that_has(asked, origins, find),)


def _platforms(repository: Repository, top: Document) -> tuple[Mapping[str, Any], ...]:
    """Those of an index; of a single image the one that its config tells."""
    if top.media_type in INDEX_TYPES:
        entries = parse_index(top.data, top.media_type, repository.subject)
        found = (entry.platform for entry in entries if entry.platform)
        return tuple(asdict(each) for each in found if each.os != "unknown")
    manifest = parse_manifest(top.data, top.media_type, repository.subject)
    config = parse_json(read_config(repository, manifest.config), "config")
    fields = {name: config.get(name) for name in ("os", "architecture", "variant")}
    return ({name: value if isinstance(value, str) else "" for name, value in fields.items()},)


def _signatures(name: str, origins: Sequence[Origin], digests: Sequence[str]) -> Sequence[RemoteSignatures]:
    """Of an image that is here, by its digests: no tag is asked for, which may mean another by now. Mirrors
    may lack them, so all are asked; the registry itself comes last, and what it says is all that there is."""
    asked = parse_reference(name)
    found: dict[Signature, None] = {}
    failure: SetpointError | None = None
    for origin in origins:
        failure = None
        try:
            found |= dict.fromkeys(first_that_has(asked, (origin,), partial(_signatures_in, digests)))
        except SetpointError as error:
            failure = error
    told = to_view(_worded("signatures", failure)) if failure is not None else None
    return (RemoteSignatures(tuple(map(signature_to_json, found)), told),)


def _signatures_in(digests: Sequence[str], repository: Repository) -> tuple[Signature, ...]:
    """A registry that lets nobody in seems to have none: who finds none asks for the image itself, and that
    one says why."""
    found = find_signatures(repository, digests)
    if not found:
        with contextlib.suppress(NotFound):
            repository.digest(digests[-1])
    return found


def _login(domain: str, origins: Sequence[Origin]) -> Sequence[LetIn]:
    from runtime.images.registry.credentials import Credential
    from runtime.images.registry.login import check_login

    origin = origins[-1]
    check_login(origin.endpoint, origin.credential or Credential())
    return (LetIn(origin.endpoint.host),)


def _tags(name: str, origins: Sequence[Origin], most: int) -> Sequence[RemoteTag]:
    asked = parse_reference(name)
    return tuple(map(RemoteTag, first_that_has(asked, origins, lambda each: list_tags(each, most))))


def _search(word: str, origins: Sequence[Origin], domain: str, most: int) -> Sequence[Any]:
    """The registry itself: mirrors have only what somebody asked them for."""
    return search(domain, word, origins[-1], most)
