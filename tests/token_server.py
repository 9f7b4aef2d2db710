"""A token server as the distribution's registry knows them (its docs, spec/auth): who asks with the right
password or identity token gets a signed token for a scope. Threads on loopback.

with served(folder, login=("me", "secret"), identity="…") as server:
    with registry.started(folder, auth=server.auth) as …
    server.asked         the method, Authorization and form of each request
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

ISSUER, SERVICE = "issuer", "registry"
SECONDS = 300


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    authorization: str
    form: Mapping[str, str]


@dataclass(slots=True)
class TokenServer:
    """login: of who may read and write. identity: an identity token in place of it."""

    realm: str
    folder: Path
    login: tuple[str, str]
    identity: str
    key: rsa.RSAPrivateKey
    certificate: x509.Certificate
    seconds: int = SECONDS
    asked: list[Asked] = field(default_factory=list)

    @property
    def auth(self) -> dict[str, object]:
        """For a registry's configuration."""
        bundle = self.folder / "tokens.pem"
        bundle.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return {
            "token": {
                "realm": self.realm,
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(bundle),
            }
        }

    def token(self, scopes: str) -> str:
        """For all that is asked for, signed (RFC 7519)."""
        der = base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()
        now = int(time.time())
        access = []
        for scope in scopes.split():
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        claims = {
            "iss": ISSUER, "sub": self.login[0], "aud": SERVICE, "exp": now + self.seconds, "nbf": now - 60,
            "iat": now, "jti": str(time.monotonic_ns()), "access": access,
        }  # fmt: skip
        head = {"typ": "JWT", "alg": "RS256", "x5c": [der]}
        signed = f"{_packed(json.dumps(head).encode())}.{_packed(json.dumps(claims).encode())}"
        return f"{signed}.{_packed(self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def answer(self, asked: Asked) -> tuple[int, dict[str, object]]:
        self.asked.append(asked)
        if asked.method == "POST":
            form = asked.form
            is_known = (form.get("grant_type"), form.get("refresh_token")) == ("refresh_token", self.identity)
        else:
            pair = base64.b64encode(":".join(self.login).encode()).decode()
            is_known = asked.authorization == f"Basic {pair}"
        if not is_known or asked.form.get("service") != SERVICE:
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}
        name = "access_token" if asked.method == "POST" else "token"
        return 200, {name: self.token(asked.form.get("scope", "")), "expires_in": self.seconds}


class _Handler(BaseHTTPRequestHandler):
    server_of: TokenServer

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length).decode()
        text = body if self.command == "POST" else urlsplit(self.path).query
        form = {name: " ".join(values) for name, values in parse_qs(text).items()}
        status, value = self.server_of.answer(
            Asked(self.command, self.headers.get("Authorization", ""), form)
        )
        data = json.dumps(value).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _serve

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path, *, login: tuple[str, str], identity: str) -> Iterator[TokenServer]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    folder.mkdir(parents=True, exist_ok=True)
    key = rsa.generate_private_key(65537, 2048)
    realm = f"http://127.0.0.1:{http.server_address[1]}/token"
    server = TokenServer(realm, folder, login, identity, key, _certificate(key))
    http.RequestHandlerClass = type("Bound", (_Handler,), {"server_of": server})
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokens")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    day = datetime.timedelta(days=1)
    return builder.not_valid_before(now - day).not_valid_after(now + day).sign(key, hashes.SHA256())


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
