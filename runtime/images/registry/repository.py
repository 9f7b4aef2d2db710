"""One repository of a registry: manifests and blobs by tag and digest (OCI distribution-spec 1.1).

    manifest(tag or digest) ─> Document        open_blob(digest, size) ─> a reader that resumes

Called by `pull`, from several threads at once. Answers a 401 once, follows a few redirections without
taking along who we are, and asks again where that may help. Documents are checked against their digest,
blobs by whoever reads them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import urllib3

from runtime.errors import Temporary, Unsupported
from runtime.images.content import MAX_DOCUMENT_BYTES, digest_of
from runtime.images.documents import INDEX_TYPES, MANIFEST_TYPES
from runtime.images.reference import is_digest
from runtime.images.registry.blob_reader import BlobReader
from runtime.images.registry.challenge import parse_challenges
from runtime.images.registry.credentials import Credential
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.said import MAX_WAIT_SECONDS, message_of, to_error, untrusted
from runtime.images.registry.tokens import WRONG, Authorizer
from runtime.images.registry.transport import Transport, explained, take_time

MAX_REDIRECTS = 5
ATTEMPTS = 5
_ACCEPT = ", ".join(sorted(INDEX_TYPES | MANIFEST_TYPES))
_OLD_MANIFESTS = "application/vnd.docker.distribution.manifest.v1+"
_REDIRECTIONS = (301, 302, 303, 307, 308)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or an index, with the digest that it was checked to have."""

    data: bytes
    media_type: str
    digest: str


class Repository:
    """path: "library/busybox". credential: None asks as anybody. attempts: how often it is asked
    when it does not answer."""

    def __init__(
        self,
        endpoint: Endpoint,
        path: str,
        credential: Credential | None = None,
        *,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.subject = f"{endpoint.host}/{path}"
        self._endpoint = endpoint
        self._url = f"{endpoint.url}/v2/{endpoint.prefix}{path}"
        self._attempts = attempts
        self._transport = Transport(endpoint)
        scope = f"repository:{endpoint.prefix}{path}:pull"
        self._authorizer = Authorizer(self._transport, endpoint, credential, self.subject, scope)

    def close(self) -> None:
        self._transport.close()

    def manifest(self, name: str) -> Document:
        """By tag or digest. `NotFound`, `Invalid` for one that lies, `Temporary` for a registry in need."""
        return self._again(lambda: self._manifest(name))

    def digest(self, tag: str) -> str:
        """What a tag means now, without fetching it; "" where the registry does not say."""
        return self._again(lambda: self._digest(tag))

    def open_blob(self, digest: str, size: int) -> BlobReader:
        """A reader of a blob's bytes; use it as a context."""
        return BlobReader(self.subject, size, lambda offset: self._start_blob(digest, offset, size))

    # --- what is there ------------------------------------------------------------------------

    def _manifest(self, name: str) -> Document:
        answer = self._ask("GET", f"manifests/{name}", {"Accept": _ACCEPT})
        data = self._read_all(answer, name)
        digest = digest_of(data)
        for said in (name, answer.headers.get("Docker-Content-Digest", "")):
            if is_digest(said) and said != digest:
                raise untrusted(self.subject, f"the manifest {name} has the digest {digest}, not {said}")
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        if media_type.startswith(_OLD_MANIFESTS):
            reason = "its manifest is of the first kind that Docker had"
            raise Unsupported("pull image", self.subject, reason, "push it again with a newer program")
        if media_type not in INDEX_TYPES | MANIFEST_TYPES:
            raise untrusted(self.subject, f"the manifest {name} is said to be {media_type[:100]!r}")
        return Document(data, media_type, digest)

    def _read_all(self, answer: urllib3.BaseHTTPResponse, name: str) -> bytes:
        parts, left = [], MAX_DOCUMENT_BYTES + 1
        try:
            with explained(self._endpoint.host):
                while left and (data := answer.read1(left)):
                    parts.append(data)
                    left -= len(data)
        finally:
            answer.close()
        if not left:
            raise untrusted(self.subject, f"the manifest {name} is longer than {MAX_DOCUMENT_BYTES} bytes")
        return b"".join(parts)

    def _digest(self, tag: str) -> str:
        answer = self._ask("HEAD", f"manifests/{tag}", {"Accept": _ACCEPT})
        answer.close()
        said = answer.headers.get("Docker-Content-Digest", "")
        return said if is_digest(said) else ""

    def _start_blob(self, digest: str, offset: int, size: int) -> tuple[urllib3.BaseHTTPResponse, int]:
        """The answer, and at which byte it begins: not every registry knows ranges."""
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={offset}-"} if offset else {})}
        answer = self._again(lambda: self._ask("GET", f"blobs/{digest}", headers))
        take_time(answer, size)
        if answer.status != 206:
            return answer, 0
        said = answer.headers.get("Content-Range", "")
        if not said.startswith(f"bytes {offset}-"):
            answer.close()
            raise untrusted(self.subject, f"asked for byte {offset} on, it answers with {said[:60]!r}")
        return answer, offset

    # --- asking -------------------------------------------------------------------------------

    def _again(self, ask: Callable[[], _Result]) -> _Result:
        """Again after a while, when the registry says or shows that this may help."""
        for attempt in range(self._attempts):
            try:
                return ask()
            except Temporary as error:
                wait = max(0.5 * 2**attempt, error.retry_after_seconds)
                if attempt == self._attempts - 1 or wait > MAX_WAIT_SECONDS:
                    raise
                time.sleep(wait)
        raise AssertionError("unreachable")

    def _ask(self, method: str, what: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """An answer that is a success; all others are errors with what the registry says of them."""
        url, sent = f"{self._url}/{what}", self._authorizer.header
        answer = self._follow(method, url, headers, sent)
        if answer.status == 401:
            challenges = parse_challenges(answer.headers.getlist("WWW-Authenticate"))
            answer.close()
            answer = self._follow(method, url, headers, self._authorizer.answer(challenges, sent))
        if answer.status in (200, 206):
            return answer
        if answer.status in (401, 403):
            said = message_of(answer, self.subject)
            is_wrong = answer.status == 401 and self._authorizer.header.startswith("Basic ")
            raise self._authorizer.denied(WRONG if is_wrong else said or "it lets nobody in")
        raise to_error(answer, self.subject, what, self._authorizer.without_secrets)

    def _follow(
        self, method: str, url: str, headers: Mapping[str, str], authorization: str
    ) -> urllib3.BaseHTTPResponse:
        for _ in range(MAX_REDIRECTS + 1):
            is_own = urlsplit(url).netloc.lower() == self._endpoint.host.lower()
            own = {"Authorization": authorization} if authorization and is_own else {}
            answer = self._transport.request(method, url, {**headers, **own})
            if answer.status not in _REDIRECTIONS:
                return answer
            target = answer.headers.get("Location", "")
            answer.close()
            url = self._next(url, target)
        raise untrusted(self.subject, f"it sends us on more than {MAX_REDIRECTS} times")

    def _next(self, url: str, target: str) -> str:
        try:
            url = urljoin(url, target)
            parts = urlsplit(url)
            is_good = bool(target and parts.hostname) and parts.username is None and target.isprintable()
        except ValueError:
            is_good = False
        if not is_good:
            raise untrusted(self.subject, f"it sends us on to nowhere: {target[:100]!r}")
        return url
