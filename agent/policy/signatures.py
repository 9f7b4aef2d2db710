"""Whether an image is signed by one of some keys, in the ways that cosign signs with a key. Pure.

A signature says something of an image only when what was signed names one of its digests: cosign's simple
signing (critical.image.docker-manifest-digest), or an in-toto statement of sigstore's bundle whose subject
it is. Keys are told by the policy, never by what is signed. Certificates and transparency logs are not
looked at.
"""

from __future__ import annotations

import fnmatch
import functools
import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from runtime.images.facts import DSSE, SIMPLE, Signature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

TYPE = "cosign container image signature"
PREDICATES = frozenset(("https://sigstore.dev/cosign/sign/v1",))
PAYLOAD_TYPE = "application/vnd.in-toto+json"
LEAST_RSA_BITS = 2048


class BadKey(ValueError):
    pass


def read_key(pem: str) -> bytes:
    """A public key as it is written, to bytes that `is_signed` takes. BadKey for what is none of a kind that
    cosign makes: ECDSA on a NIST curve, ed25519, RSA of 2048 bits or more."""
    _load(pem.encode())
    return pem.encode()


def is_signed(
    digests: Collection[str],
    signatures: Sequence[Signature],
    keys: Sequence[bytes],
    identities: Sequence[str],
) -> bool:
    """identities: patterns for the name that was signed for, () for any name."""
    return any(
        _says(signature, digests, identities) and any(is_by(key, signature) for key in keys)
        for signature in signatures
    )


# --- what was signed --------------------------------------------------------------------------


def _says(signature: Signature, digests: Collection[str], identities: Sequence[str]) -> bool:
    try:
        value = json.loads(signature.payload)
    except (ValueError, RecursionError):
        return False
    if signature.kind == SIMPLE:
        return _simple_says(value, digests, identities)
    return signature.kind == DSSE and not identities and _statement_says(value, digests)


def _simple_says(value: Any, digests: Collection[str], identities: Sequence[str]) -> bool:
    critical = _at(value, "critical")
    if _at(critical, "type") != TYPE:
        return False
    if _at(critical, "image", "docker-manifest-digest") not in digests:
        return False
    name = _at(critical, "identity", "docker-reference")
    return not identities or (
        isinstance(name, str) and any(fnmatch.fnmatchcase(name, pattern) for pattern in identities)
    )


def _statement_says(value: Any, digests: Collection[str]) -> bool:
    subjects = _at(value, "subject")
    if _at(value, "predicateType") not in PREDICATES or not isinstance(subjects, list):
        return False
    return any(f"sha256:{_at(subject, 'digest', 'sha256')}" in digests for subject in subjects)


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if not isinstance(value, dict) or keys else None


# --- by whom ----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def is_by(pem: bytes, signature: Signature) -> bool:
    """Remembered: the same few are asked for at every look."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key, data = _load(pem), _signed(signature)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            return _is_by_curve(key, signature.signature, data)
        if isinstance(key, rsa.RSAPublicKey):
            return _is_by_rsa(key, signature.signature, data)
        key.verify(signature.signature, data)
    except InvalidSignature:
        return False
    return True


def _is_by_curve(key: EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    """cosign hashes with SHA-256 whatever the curve."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    return True


def _is_by_rsa(key: RSAPublicKey, signature: bytes, data: bytes) -> bool:
    """PKCS #1 v1.5 from a key file, PSS from some of the services that keep keys."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    hashing = hashes.SHA256()
    try:
        key.verify(signature, data, padding.PKCS1v15(), hashing)
    except InvalidSignature:
        key.verify(signature, data, padding.PSS(padding.MGF1(hashing), padding.PSS.AUTO), hashing)
    return True


def _signed(signature: Signature) -> bytes:
    """The bytes that were signed; of an envelope those of DSSE's pre-authentication encoding."""
    if signature.kind == SIMPLE:
        return signature.payload
    kind, payload = PAYLOAD_TYPE.encode(), signature.payload
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@functools.lru_cache(maxsize=256)
def _load(pem: bytes) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey("is not a public key in PEM form") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < LEAST_RSA_BITS:
        raise BadKey(f"is an RSA key of {key.key_size} bits, and {LEAST_RSA_BITS} is the least")
    if isinstance(key, ec.EllipticCurvePublicKey):
        if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1):
            return key
    elif isinstance(key, rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        return key
    raise BadKey("is not of a kind that cosign signs with: ECDSA on P-256, ed25519 or RSA")
