"""Certificates for the way in by TCP: an authority of this instance's own, and what it signs. Called by
`setpoint tls`; serves nothing (see `agent.api.tls`).

    DIRECTORY/ca.pem ca-key.pem                    the authority
    DIRECTORY/server.pem server-key.pem            what the agent shows
    DIRECTORY/clients/NAME/ca.pem cert.pem key.pem what a client shows: DOCKER_CERT_PATH

Keys are ECDSA on P-256. A client's certificate serves no server and the other way round. Everything is
replaced whole: who reads meanwhile finds the old or the new file.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from runtime.errors import Conflict, Invalid, NotFound

AUTHORITY_DAYS = 3650
LEAF_DAYS = 397
RENEW_DAYS = 30  # before its end a certificate is named as one to renew
CA, CA_KEY, SERVER, SERVER_KEY = "ca.pem", "ca-key.pem", "server.pem", "server-key.pem"
CLIENTS = "clients"
FIRST_CLIENT = "admin"
_CLIENT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


# --- values ---------------------------------------------------------------------------------------


def make_authority(instance: str, now: datetime.datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Setpoint {instance} authority")
    builder = _builder(name, name, key, now, AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(is_authority=True), critical=True)
    return Pair(builder.sign(key, hashes.SHA256()), key)


def make_server(authority: Pair, names: Sequence[str], now: datetime.datetime) -> Pair:
    """For a server that is reached by these names and addresses. Invalid for what is neither."""
    alternative = x509.SubjectAlternativeName([_general_name(name) for name in names])
    return _sign(authority, names[0][:64], ExtendedKeyUsageOID.SERVER_AUTH, now, alternative)


def make_client(authority: Pair, name: str, now: datetime.datetime) -> Pair:
    """Invalid for a name that is none."""
    return _sign(authority, check_client(name), ExtendedKeyUsageOID.CLIENT_AUTH, now, None)


def check_client(name: str) -> str:
    if not _CLIENT_NAME.fullmatch(name):
        raise Invalid(
            "make certificate", name[:80], "not a client's name", "letters, digits, . _ -; at most 63"
        )
    return name


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The names and addresses that a server's certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    return (*found.get_values_for_type(x509.DNSName), *addresses)


def own_names() -> tuple[str, ...]:
    """What this host is called by itself."""
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname()]
    return tuple(dict.fromkeys(name for name in names if _is_name(name)))


def _is_name(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST_NAME.fullmatch(text) is not None
    return True


def _general_name(text: str) -> x509.GeneralName:
    if not _is_name(text):
        raise Invalid("make certificate", text[:80], "neither a host's name nor an address", "--host NAME")
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # a client's clock may be behind
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(
    authority: Pair,
    name: str,
    purpose: x509.ObjectIdentifier,
    now: datetime.datetime,
    alternative: x509.SubjectAlternativeName | None,
) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(name), authority.certificate.subject, key, now, LEAF_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(is_authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = builder.add_extension(issuer, critical=False)
    if alternative is not None:
        builder = builder.add_extension(alternative, critical=False)
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


# --- files ----------------------------------------------------------------------------------------


def init(directory: Path, instance: str, names: Sequence[str], now: datetime.datetime) -> Path:
    """An authority, a server's and a first client's certificate; returns the client's directory. Conflict
    where there is an authority: another one would shut out every client."""
    wanted = tuple(dict.fromkeys((*own_names(), *names)))
    if (directory / CA).exists() or (directory / CA_KEY).exists():
        hint = f"setpoint tls renew, setpoint tls client NAME; or remove {directory} to begin anew"
        raise Conflict("make certificates", str(directory), "there is an authority already", hint)
    authority = make_authority(instance, now)
    server = make_server(authority, wanted, now)
    _make_directory(directory)
    _write(directory, CA_KEY, authority.key_pem)
    _write(directory, CA, authority.certificate_pem)
    _write(directory, SERVER_KEY, server.key_pem)
    _write(directory, SERVER, server.certificate_pem)
    return write_client(directory, FIRST_CLIENT, now)


def write_client(directory: Path, name: str, now: datetime.datetime) -> Path:
    """A client's certificate, also in place of one that it has; returns its directory."""
    authority = read_authority(directory)
    client = make_client(authority, name, now)
    place = directory / CLIENTS / name
    _make_directory(directory / CLIENTS)
    _make_directory(place)
    _write(place, "key.pem", client.key_pem)
    _write(place, "cert.pem", client.certificate_pem)
    _write(place, CA, authority.certificate_pem)
    return place


def renew(directory: Path, more_names: Sequence[str], now: datetime.datetime) -> tuple[str, ...]:
    """New certificates and keys of the same authority for the server and each client; returns whose."""
    authority = read_authority(directory)
    names = tuple(dict.fromkeys((*names_of(read_certificate(directory / SERVER)), *more_names)))
    server = make_server(authority, names or own_names(), now)
    _write(directory, SERVER_KEY, server.key_pem)
    _write(directory, SERVER, server.certificate_pem)
    clients = sorted(path.parent.name for path in (directory / CLIENTS).glob("*/cert.pem"))
    for name in clients:
        write_client(directory, name, now)
    return ("server", *clients)


def read_authority(directory: Path) -> Pair:
    certificate = read_certificate(directory / CA)
    try:
        key = serialization.load_pem_private_key((directory / CA_KEY).read_bytes(), None)
    except OSError as error:
        raise NotFound(
            "read key", str(directory / CA_KEY), error.strerror or str(error), "setpoint tls init"
        ) from None
    except (ValueError, TypeError):
        raise Invalid("read key", str(directory / CA_KEY), "not a key in PEM form") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise Invalid("read key", str(directory / CA_KEY), f"not the key of {directory / CA}")
    return Pair(certificate, key)


def read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise NotFound(
            "read certificate", str(path), error.strerror or str(error), "setpoint tls init"
        ) from None
    except ValueError:
        raise Invalid("read certificate", str(path), "not a certificate in PEM form") from None


def days_left(certificate: x509.Certificate, now: datetime.datetime) -> float:
    return (certificate.not_valid_after_utc - now).total_seconds() / 86400


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise Invalid(
            "make certificates", str(path), error.strerror or str(error), "run it as root"
        ) from None


def _write(directory: Path, name: str, data: bytes) -> None:
    """0600 from its first byte on. The key before its certificate: who finds a pair that does not fit keeps
    the one it has."""
    part = directory / f".{name}.{os.getpid()}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(directory / name)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Invalid(
            "write", str(directory / name), error.strerror or str(error), "run it as root"
        ) from None
