"""Finds the signatures of an image where cosign leaves them: in the image's own repository.

    sha256-HEX.sig            a manifest whose layers are payloads, each with its signature in an annotation
    referrers/DIGEST          OCI 1.1: an index of what refers to the image, manifests of the same kind or
    sha256-HEX                sigstore's bundles; the tag is for registries that do not know the question

Called by `pull`, where signatures are asked for. Believes nothing and checks no signature: what cannot be
read is left out, and an image with fewer signatures is allowed less.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from typing import Any

from runtime.errors import Invalid, NotFound, Unsupported
from runtime.images.content import MAX_DOCUMENT_BYTES, digest_of
from runtime.images.documents import OCI_INDEX, OCI_MANIFEST
from runtime.images.facts import DSSE, SIMPLE, Signature
from runtime.images.reference import is_digest
from runtime.images.registry.repository import Repository, Request
from runtime.images.registry.transport import explained

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_KEY = "dev.cosignproject.cosign/signature"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
ARTIFACTS = frozenset((BUNDLE, "application/vnd.dev.cosign.artifact.sig.v1+json"))
IN_TOTO = "application/vnd.in-toto+json"
MAX_BLOB_BYTES = 64 * 1024  # a bundle has certificates and a log's proof beside what is signed
MAX_PAYLOAD_BYTES = 16 * 1024  # is kept in memory for each image in use; cosign's have some hundred bytes
MAX_REFERRERS = 16  # of one digest; whoever may push there may add more than anybody reads
MAX_PAYLOADS = 16  # of one manifest
_NONE = (NotFound, Invalid, Unsupported)


def find_signatures(repository: Repository, digests: Sequence[str]) -> tuple[Signature, ...]:
    """All that are there for an image, by its manifest or the index above it. `Temporary` for a registry in
    need: that there are none is not known then."""
    return tuple(each for digest in digests for each in _of_digest(repository, digest))


def _of_digest(repository: Repository, digest: str) -> Iterator[Signature]:
    tag = digest.replace(":", "-")
    yield from _payloads(repository, _manifest(repository, f"{tag}.sig"))
    index = _referrers(repository, digest)
    if index is None:
        index = _manifest(repository, tag)
    found = [each for each in _objects(index.get("manifests")) if each.get("artifactType") in ARTIFACTS]
    for entry in found[:MAX_REFERRERS]:
        if is_digest(str(entry.get("digest"))):
            yield from _payloads(repository, _manifest(repository, str(entry["digest"])))


def _manifest(repository: Repository, name: str) -> dict[str, Any]:
    """{} where there is none, or none that can be read."""
    try:
        return _object(repository.manifest(name).data)
    except _NONE:
        return {}


def _referrers(repository: Repository, digest: str) -> dict[str, Any] | None:
    """None from a registry that does not know the question."""
    request = Request("GET", f"referrers/{digest}", {"Accept": f"{OCI_INDEX}, {OCI_MANIFEST}"})
    try:
        return _object(repository.again(lambda: _read(repository, request)))
    except _NONE:
        return None


def _read(repository: Repository, request: Request) -> bytes:
    answer = repository.ask(request)
    parts, left = [], MAX_DOCUMENT_BYTES + 1
    try:
        with explained(repository.subject):
            while left and (data := answer.read1(left)):
                parts.append(data)
                left -= len(data)
    finally:
        answer.close()
    return b"".join(parts) if left else b""


def _payloads(repository: Repository, manifest: dict[str, Any]) -> Iterator[Signature]:
    for layer in _objects(manifest.get("layers"))[:MAX_PAYLOADS]:
        kind = layer.get("mediaType")
        if kind not in (SIMPLE_SIGNING, BUNDLE):
            continue
        payload = _blob(repository, layer)
        found = _of_bundle(payload) if kind == BUNDLE else _simple(payload, layer.get("annotations"))
        if found is not None and len(found.payload) <= MAX_PAYLOAD_BYTES and len(found.signature) <= 2048:
            yield found


def _blob(repository: Repository, layer: dict[str, Any]) -> bytes:
    """b"" for one that is too long, or another than its descriptor says."""
    digest, size = str(layer.get("digest")), layer.get("size")
    if not is_digest(digest) or type(size) is not int or not 0 < size <= MAX_BLOB_BYTES:
        return b""
    data = b""
    try:
        with repository.open_blob(digest, size) as reader:
            while more := reader.read(size):
                data += more
    except _NONE:
        return b""
    return data if digest_of(data) == digest else b""


def _simple(payload: bytes, annotations: object) -> Signature | None:
    text = annotations.get(SIGNATURE_KEY) if isinstance(annotations, dict) else None
    signature = _unpacked(text)
    return Signature(SIMPLE, payload, signature) if payload and signature else None


def _of_bundle(data: bytes) -> Signature | None:
    """The in-toto statement of a bundle that is signed with a key, and the first of its signatures."""
    envelope = _object(data).get("dsseEnvelope")
    if not isinstance(envelope, dict) or envelope.get("payloadType") != IN_TOTO:
        return None
    signatures = _objects(envelope.get("signatures"))
    payload = _unpacked(envelope.get("payload"))
    signature = _unpacked(signatures[0].get("sig")) if signatures else b""
    return Signature(DSSE, payload, signature) if payload and signature else None


def _unpacked(text: object) -> bytes:
    """b"" for what is no base64."""
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        return b""


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
