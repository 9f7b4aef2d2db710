"""Which servers a client of ours speaks to: the same with each Python, and as clients in Go do."""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runtime.tls_client import client_context

NAME = "registry.example"
NOW = datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True)
class Made:
    """A certificate as `openssl req` makes it without a word more: no keyUsage, no authorityKeyIdentifier."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, path: Path, *, with_key: bool = False) -> Path:
        pem = serialization.Encoding.PEM
        data = self.certificate.public_bytes(pem)
        if with_key:
            kind = serialization.PrivateFormat.PKCS8
            data += self.key.private_bytes(pem, kind, serialization.NoEncryption())
        path.write_bytes(data)
        return path


def _made(name: str, by: Made | None = None, *, is_authority: bool = True, days: int = 1) -> Made:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=2))
        .not_valid_after(NOW + datetime.timedelta(days=days))
    )
    if is_authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return Made(builder.sign(by.key if by else key, hashes.SHA256()), key)


def _speak(client: ssl.SSLContext, server: Path, name: str = NAME) -> None:
    """A handshake in memory."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(server)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(back, there, server_hostname=name), serving.wrap_bio(there, back, server_side=True),
    ]  # fmt: skip
    for _ in range(10):
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
        if not ends:
            return
    raise AssertionError("no end to it")


def test_an_authority_that_does_not_say_what_its_key_is_for(tmp_path: Path) -> None:
    root = _made("Our own")
    server = _made(NAME, root, is_authority=False).write(tmp_path / "server", with_key=True)
    _speak(client_context(str(root.write(tmp_path / "ca"))), server)


def test_an_authority_below_the_root_is_enough(tmp_path: Path) -> None:
    below = _made("Below", _made("The root"))
    server = _made(NAME, below, is_authority=False).write(tmp_path / "server", with_key=True)
    _speak(client_context(str(below.write(tmp_path / "ca"))), server)


@pytest.mark.parametrize("wrong", ["name", "authority", "time", "system"])
def test_whom_it_does_not_speak_to(tmp_path: Path, wrong: str) -> None:
    root = _made("Our own")
    days = -1 if wrong == "time" else 1
    server = _made(NAME, root, is_authority=False, days=days).write(tmp_path / "server", with_key=True)
    authority = _made("Our own") if wrong == "authority" else root
    file = None if wrong == "system" else str(authority.write(tmp_path / "ca"))
    with pytest.raises(ssl.SSLCertVerificationError):
        _speak(client_context(file), server, "other.example" if wrong == "name" else NAME)
