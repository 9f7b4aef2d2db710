"""Keys, and signatures as cosign makes them: for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from runtime.images.facts import DSSE, SIMPLE, Signature

Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def public(key: Any) -> str:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def sign(key: Private, data: bytes, *, pss: bool = False) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(hashes.SHA256()))
    if isinstance(key, rsa.RSAPrivateKey):
        hashing = hashes.SHA256()
        pads: Any = padding.PSS(padding.MGF1(hashing), hashing.digest_size) if pss else padding.PKCS1v15()
        return key.sign(data, pads, hashing)
    return key.sign(data)


def payload_of(digest: str, name: str = "", **more: object) -> bytes:
    """cosign's simple signing (specs/SIGNATURE_SPEC.md)."""
    critical: Mapping[str, object] = {
        "identity": {"docker-reference": name},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
        **more,
    }
    return json.dumps({"critical": critical, "optional": None}).encode()


def simple(key: Private, digest: str, name: str = "", *, pss: bool = False) -> Signature:
    payload = payload_of(digest, name)
    return Signature(SIMPLE, payload, sign(key, payload, pss=pss))


def statement_of(digest: str, predicate: str = "https://sigstore.dev/cosign/sign/v1") -> bytes:
    value = {
        "_type": "https://in-toto.io/Statement/v1", "predicateType": predicate, "predicate": {},
        "subject": [{"name": "", "digest": {"sha256": digest.removeprefix("sha256:")}}],
    }  # fmt: skip
    return json.dumps(value).encode()


def enveloped(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding (secure-systems-lab/dsse, protocol.md)."""
    kind = b"application/vnd.in-toto+json"
    return b" ".join((b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload))


def bundle(key: Private, digest: str) -> Signature:
    payload = statement_of(digest)
    return Signature(DSSE, payload, sign(key, enveloped(payload)))
