"""Who signed an image: by a key of the policy, over one of its digests, and nothing else."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from agent.policy.signatures import BadKey, is_signed, read_key
from runtime.images.facts import DSSE, SIMPLE, Signature
from tests.signing import (
    bundle,
    enveloped,
    payload_of,
    public,
    sign,
    simple,
    statement_of,
)

DIGEST, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
CURVE = ec.generate_private_key(ec.SECP256R1())
STRANGER = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
EDWARDS = ed25519.Ed25519PrivateKey.generate()
KEYS = {"P-256": CURVE, "P-384": ec.generate_private_key(ec.SECP384R1()), "ed25519": EDWARDS, "RSA": RSA}


def test_each_kind_of_key_and_of_signature() -> None:
    for name, key in KEYS.items():
        keys = [read_key(public(STRANGER)), read_key(public(key))]
        for found in (simple(key, DIGEST), bundle(key, DIGEST)):
            assert is_signed((OTHER, DIGEST), [found], keys, ()), name
            assert not is_signed((OTHER,), [found], keys, ()), name
            assert not is_signed((DIGEST,), [found], keys[:1], ()), name
    assert is_signed((DIGEST,), [simple(RSA, DIGEST, pss=True)], [read_key(public(RSA))], ())
    assert not is_signed((DIGEST,), [], [read_key(public(RSA))], ())


def broken(text: bytes) -> Signature:
    return Signature(SIMPLE, text, sign(CURVE, text))


WRONG = {
    "no json": broken(b"{"),
    "nested": broken(b"[" * 100_000),
    "a list": broken(b"[]"),
    "a text": broken(b'"critical"'),
    "nothing": broken(b"{}"),
    "critical is a list": broken(b'{"critical": []}'),
    "another type": broken(payload_of(DIGEST, type="atomic container signature")),
    "no image": broken(payload_of(DIGEST, image=None)),
    "image is a text": broken(payload_of(DIGEST, image=DIGEST)),
    "digest is an object": broken(payload_of(DIGEST, image={"docker-manifest-digest": {}})),
    "of another digest": simple(CURVE, OTHER),
    "an empty signature": Signature(SIMPLE, payload_of(DIGEST), b""),
    "a long signature": Signature(SIMPLE, payload_of(DIGEST), b"0" * 5000),
    "a changed payload": Signature(SIMPLE, payload_of(DIGEST) + b" ", sign(CURVE, payload_of(DIGEST))),
    "a simple payload as a statement": Signature(DSSE, payload_of(DIGEST), sign(CURVE, payload_of(DIGEST))),
    "no envelope": Signature(DSSE, statement_of(DIGEST), sign(CURVE, statement_of(DIGEST))),
    "a statement as a simple payload": broken(statement_of(DIGEST)),
    "another predicate": Signature(
        DSSE, p := statement_of(DIGEST, "https://slsa.dev/provenance/v1"), sign(CURVE, enveloped(p))
    ),
    "no subject": Signature(
        DSSE, p := statement_of(DIGEST).replace(b"subject", b"object"), sign(CURVE, enveloped(p))
    ),
    "a subject that is a text": Signature(
        DSSE,
        p := json.dumps({**json.loads(statement_of(DIGEST)), "subject": [DIGEST]}).encode(),
        sign(CURVE, enveloped(p)),
    ),
    "a statement of another digest": bundle(CURVE, OTHER),
    "another kind": Signature("gpg", payload_of(DIGEST), sign(CURVE, payload_of(DIGEST))),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_says_nothing_of_the_image(name: str) -> None:
    keys = [read_key(public(key)) for key in KEYS.values()]
    assert not is_signed((DIGEST,), [WRONG[name]], keys, ())


def test_under_which_name_it_was_signed() -> None:
    keys = [read_key(public(CURVE))]
    signed = [simple(CURVE, DIGEST, "registry.example.com/shop/web")]
    assert is_signed((DIGEST,), signed, keys, ("registry.example.com/shop/*",))
    assert not is_signed((DIGEST,), signed, keys, ("registry.example.com/lab/*",))
    assert not is_signed((DIGEST,), [simple(CURVE, DIGEST)], keys, ("registry.example.com/*",))
    nameless = payload_of(DIGEST, identity={"docker-reference": ["*"]})
    assert not is_signed((DIGEST,), [Signature(SIMPLE, nameless, sign(CURVE, nameless))], keys, ("*",))
    assert not is_signed((DIGEST,), [bundle(CURVE, DIGEST)], keys, ("*",))  # it says no name


BAD = {
    "": "not a public key",
    "cosign.pub": "not a public key",
    "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n": "not a public key",
    public(rsa.generate_private_key(65537, 1024)): "1024 bits, and 2048 is the least",
    public(ec.generate_private_key(ec.SECP256K1())): "not of a kind",
    public(dsa.generate_private_key(2048)): "not of a kind",
}


@pytest.mark.parametrize("pem", BAD)
def test_what_is_no_key(pem: str) -> None:
    with pytest.raises(BadKey, match=BAD[pem]):
        read_key(pem)
