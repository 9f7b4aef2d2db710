"""Who we are to a registry, as it wants to hear it: Basic, or a Bearer token from where it says.

Called by `Repository` after a 401. A password goes to the registry's own hosts only, whatever a realm
says (distribution's spec/auth/token and spec/auth/oauth).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

import urllib3

from runtime.errors import Invalid, Temporary
from runtime.images.registry.challenge import Challenge
from runtime.images.registry.credentials import Credential
from runtime.images.registry.endpoints import Endpoint, host_name, may_be_told
from runtime.images.registry.said import json_object, retry_after, untrusted
from runtime.images.registry.told import DENIED
from runtime.images.registry.transport import Transport, explained

MAX_TOKEN_BYTES = 256 * 1024
WRONG = "the name or the password is wrong"


class Authorizer:
    """The Authorization header for one repository, for all threads that ask it."""

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        credential: Credential | None,
        subject: str,
        scope: str,
    ) -> None:
        self._transport = transport
        self._endpoint = endpoint
        self._credential = credential
        self._subject = subject
        self._scope = scope
        self._lock = threading.Lock()
        self.header = ""

    def answer(self, challenges: tuple[Challenge, ...], sent: str) -> str:
        """The header that a challenge asks for; sent: the one that was refused. One thread gets it, the
        others wait and use it, too. `Invalid` when the registry does not let us in."""
        with self._lock:
            if self.header and self.header != sent:
                return self.header
            if self._credential is not None and self._credential.registry_token:
                if sent:
                    raise self.denied(WRONG)
                self.header = "Bearer " + self._credential.registry_token
                return self.header
            for challenge in challenges:
                if challenge.scheme == "bearer":
                    self.header = "Bearer " + self._fetch_token(challenge)
                    return self.header
                if challenge.scheme == "basic" and self._credential and not sent:
                    self.header = self._credential.basic()
                    return self.header
        raise self.denied(WRONG if sent else "it wants to know who asks")

    def without_secrets(self, text: str) -> str:
        """What a registry says, should it say back what it was told."""
        known = self._credential
        secrets = [self.header.partition(" ")[2]]
        if known is not None:
            secrets += [known.password, known.identity_token, known.registry_token]
            secrets.append(known.basic().partition(" ")[2])
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def denied(self, reason: str) -> Invalid:
        host, reason = self._endpoint.host, self.without_secrets(reason)
        hint = f"see `setpoint login {host}`" if self._credential is None else "log in again"
        return Invalid("pull image", self._subject, f"{DENIED}: {reason}", hint)

    def _fetch_token(self, challenge: Challenge) -> str:
        realm = challenge.parameters.get("realm", "")
        fields = {"service": challenge.parameters.get("service", ""), "scope": self._scope}
        fields = {key: value for key, value in fields.items() if value}
        known = self._credential if self._checked(realm) else None
        if known is not None and known.identity_token:
            answer = self._post(realm, fields, known)
        else:
            headers = {"Authorization": known.basic()} if known is not None else {}
            answer = self._transport.request("GET", _with_query(realm, fields), headers)
        return self._read_token(answer)

    def _checked(self, realm: str) -> bool:
        """Whether the place that gives tokens may be told who we are. `Invalid` when it would have to be."""
        try:
            parts = urlsplit(realm if realm.isprintable() else "")
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise untrusted(self._subject, f"it names no place to get a token at: {realm[:100]!r}")
        may = may_be_told(self._endpoint, parts.netloc)
        if self._credential is not None and not may:
            raise Invalid(
                "pull image", self._subject,
                f"it wants its password to be sent to {host_name(parts.netloc)[:200]}",
                "name that host under token_hosts in registries.yaml if that is right",
            )  # fmt: skip
        return may

    def _post(self, realm: str, fields: Mapping[str, str], known: Credential) -> urllib3.BaseHTTPResponse:
        grant = {"grant_type": "refresh_token", "refresh_token": known.identity_token}
        body = urlencode({**fields, "client_id": "setpoint", **grant})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._transport.request("POST", realm, headers, body.encode())

    def _read_token(self, answer: urllib3.BaseHTTPResponse) -> str:
        try:
            if answer.status in (400, 401, 403):
                raise self.denied(WRONG if self._credential else "it lets nobody in")
            if answer.status == 429 or answer.status >= 500:
                wait = retry_after(answer.headers.get("Retry-After", ""))
                reason = f"its token service answers {answer.status}"
                raise Temporary("pull image", self._subject, reason, "", wait)
            if answer.status != 200:
                raise untrusted(self._subject, f"its token service answers {answer.status}")
            with explained(self._endpoint.host):
                value = json_object(answer.read(MAX_TOKEN_BYTES))
        finally:
            answer.close()
        token = value.get("token") or value.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise untrusted(self._subject, "its token service gives no token")
        return token


def _with_query(url: str, fields: Mapping[str, str]) -> str:
    """Several scopes are said one by one here, and with spaces between in a form (spec/auth)."""
    parts = urlsplit(url)
    pairs = [(key, each) for key, value in fields.items() for each in _scopes(key, value)]
    query = "&".join(filter(None, (parts.query, urlencode(pairs))))
    return parts._replace(query=query, fragment="").geturl()


def _scopes(key: str, value: str) -> list[str]:
    return value.split() if key == "scope" else [value]
