"""Keys, and signatures as cosign makes them: for tests."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.request import Request, urlopen

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from runtime.images.facts import DSSE, SIMPLE, Signature

IN_TOTO = "application/vnd.in-toto+json"
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
    kind = IN_TOTO.encode()
    return b" ".join((b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload))


def bundle(key: Private, digest: str) -> Signature:
    payload = statement_of(digest)
    return Signature(DSSE, payload, sign(key, enveloped(payload)))


# --- into a registry --------------------------------------------------------------------------

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def layer_of(signature: Signature) -> tuple[bytes, dict[str, Any]]:
    """The blob that holds it, and its descriptor."""
    packed = base64.b64encode(signature.signature).decode()
    if signature.kind == DSSE:
        payload = base64.b64encode(signature.payload).decode()
        envelope = {
            "payload": payload,
            "payloadType": IN_TOTO,
            "signatures": [{"sig": packed}],
        }
        data = json.dumps({
            "mediaType": BUNDLE, "verificationMaterial": {"publicKey": {"hint": ""}}, "dsseEnvelope": envelope
        }).encode()  # fmt: skip
        return data, descriptor(BUNDLE, data)
    notes = {"dev.cosignproject.cosign/signature": packed}
    return signature.payload, {**descriptor(SIMPLE_SIGNING, signature.payload), "annotations": notes}


def manifest_of(layers: Sequence[dict[str, Any]], subject: str = "", kind: str = "") -> bytes:
    value: dict[str, Any] = {
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": list(layers),
        "config": descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
    }  # fmt: skip
    if subject:
        value |= {"artifactType": kind, "subject": {"mediaType": MANIFEST, "digest": subject, "size": 1}}
    return json.dumps(value).encode()


def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


class Signer:
    """Puts signatures beside an image in a registry that speaks plain HTTP, as cosign would."""

    def __init__(self, host: str, repository: str, login: tuple[str, str] | None = None) -> None:
        self._url = f"http://{host}/v2/{repository}"
        pair = base64.b64encode(":".join(login).encode()).decode() if login else ""
        self._headers = {"Authorization": f"Basic {pair}"} if pair else {}

    def digest(self, tag: str) -> str:
        return "sha256:" + hashlib.sha256(self.manifest(tag)).hexdigest()

    def manifest(self, tag: str) -> bytes:
        headers = {"Accept": f"{INDEX}, {MANIFEST}"}
        with self._ask(Request(f"{self._url}/manifests/{tag}", headers=headers)) as answer:
            return bytes(answer.read())

    def put_tag(self, digest: str, *signatures: Signature) -> None:
        """Under `sha256-HEX.sig`."""
        layers = [self._layer(signature) for signature in signatures]
        self._blob(b"{}")
        self.put_manifest(digest.replace(":", "-") + ".sig", manifest_of(layers))

    def put_referrer(self, digest: str, signature: Signature) -> None:
        """As OCI 1.1 says for a registry that does not know referrers: an index under `sha256-HEX`."""
        kind = BUNDLE if signature.kind == DSSE else SIGNATURE
        self._blob(b"{}")
        data = manifest_of([self._layer(signature)], digest, kind)
        entry = {**descriptor(MANIFEST, data), "artifactType": kind}
        self.put_manifest(entry["digest"], data)
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        self.put_manifest(digest.replace(":", "-"), json.dumps(index).encode(), INDEX)

    def _layer(self, signature: Signature) -> dict[str, Any]:
        data, entry = layer_of(signature)
        self._blob(data)
        return entry

    def _blob(self, data: bytes) -> None:
        with self._ask(Request(f"{self._url}/blobs/uploads/", method="POST")) as answer:
            where = str(answer.headers["Location"])
        joined = "&" if "?" in where else "?"
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        headers = {"Content-Type": "application/octet-stream"}
        self._ask(Request(f"{where}{joined}digest={digest}", data, headers, method="PUT")).close()

    def put_manifest(self, name: str, data: bytes, media_type: str = MANIFEST) -> None:
        self._ask(
            Request(f"{self._url}/manifests/{name}", data, {"Content-Type": media_type}, method="PUT")
        ).close()

    def _ask(self, request: Request) -> Any:
        for name, value in self._headers.items():
            request.add_header(name, value)
        return urlopen(request, timeout=30)
