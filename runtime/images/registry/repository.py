"""One repository of a registry: manifests and blobs by tag and digest (OCI distribution-spec 1.1).

    manifest(tag or digest) ─> Document        open_blob(digest, size) ─> a reader that resumes
    put_manifest(tag or digest, Document)      ask(Request) ─> any answer, for `upload` and `listing`

Called by `pull` and `push`, from several threads at once. Answers a 401 once, follows a few redirections
without taking along who we are, and asks again where that may help. Documents are checked against their
digest, blobs by whoever reads them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Request:
    """where: "manifests/TAG", "blobs/DIGEST", … below the repository, or a URL that the registry gave.
    body: makes it anew for each try. good: which answers are no errors.
    read_seconds: how long it may be silent, 0 for as long as all others."""

    method: str
    where: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], Iterable[bytes]] | None = None
    good: tuple[int, ...] = (200, 206)
    read_seconds: float = 0.0


class Repository:
    """path: "library/busybox". credential: None asks as anybody. attempts: how often it is asked
    when it does not answer. scope: what a token is asked for beside reading it, as
    "repository:PATH:pull,push", several with a space between."""

    def __init__(
        self,
        endpoint: Endpoint,
        path: str,
        credential: Credential | None = None,
        *,
        attempts: int = ATTEMPTS,
        scope: str = "",
    ) -> None:
        self.subject = f"{endpoint.host}/{path}"
        self._endpoint = endpoint
        self.url = f"{endpoint.url}/v2/{endpoint.prefix}{path}"
        self._attempts = attempts
        self._transport = Transport(endpoint)
        scope = scope or f"repository:{endpoint.prefix}{path}:pull"
        self._authorizer = Authorizer(self._transport, endpoint, credential, self.subject, scope)

    def close(self) -> None:
        self._transport.close()

    def manifest(self, name: str) -> Document:
        """By tag or digest. `NotFound`, `Invalid` for one that lies, `Temporary` for a registry in need."""
        return self.again(lambda: self._manifest(name))

    def digest(self, tag: str) -> str:
        """What a tag means now, without fetching it; "" where the registry does not say."""
        return self.again(lambda: self._digest(tag))

    def put_manifest(self, name: str, document: Document) -> None:
        """Under a tag or its own digest; the blobs that it names are there already."""
        self.again(lambda: self._put_manifest(name, document))

    def open_blob(self, digest: str, size: int) -> BlobReader:
        """A reader of a blob's bytes; use it as a context."""
        return BlobReader(self.subject, size, lambda offset: self._start_blob(digest, offset, size))

    # --- what is there ------------------------------------------------------------------------

    def _manifest(self, name: str) -> Document:
        answer = self.ask(Request("GET", f"manifests/{name}", {"Accept": _ACCEPT}))
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
        answer = self.ask(Request("HEAD", f"manifests/{tag}", {"Accept": _ACCEPT}))
        answer.close()
        said = answer.headers.get("Docker-Content-Digest", "")
        return said if is_digest(said) else ""

    def _put_manifest(self, name: str, document: Document) -> None:
        headers = {"Content-Type": document.media_type, "Content-Length": str(len(document.data))}
        request = Request("PUT", f"manifests/{name}", headers, lambda: (document.data,), (200, 201))
        answer = self.ask(request)
        answer.close()
        said = answer.headers.get("Docker-Content-Digest", "")
        if said and said != document.digest:
            raise untrusted(self.subject, f"it says that the manifest {name} has the digest {said[:80]!r}")

    def _start_blob(self, digest: str, offset: int, size: int) -> tuple[urllib3.BaseHTTPResponse, int]:
        """The answer, and at which byte it begins: not every registry knows ranges."""
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={offset}-"} if offset else {})}
        answer = self.again(lambda: self.ask(Request("GET", f"blobs/{digest}", headers)))
        take_time(answer, size)
        if answer.status != 206:
            return answer, 0
        said = answer.headers.get("Content-Range", "")
        if not said.startswith(f"bytes {offset}-"):
            answer.close()
            raise untrusted(self.subject, f"asked for byte {offset} on, it answers with {said[:60]!r}")
        return answer, offset

    # --- asking -------------------------------------------------------------------------------

    def again(self, ask: Callable[[], _Result]) -> _Result:
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

    def ask(self, request: Request) -> urllib3.BaseHTTPResponse:
        """An answer that is good; all others are errors with what the registry says of them."""
        sent = self._authorizer.header
        answer = self._follow(request, sent)
        if answer.status == 401:
            challenges = parse_challenges(answer.headers.getlist("WWW-Authenticate"))
            answer.close()
            answer = self._follow(request, self._authorizer.answer(challenges, sent))
        if answer.status in request.good:
            return answer
        if answer.status in (401, 403):
            said = message_of(answer, self.subject)
            is_wrong = answer.status == 401 and self._authorizer.header.startswith("Basic ")
            raise self._authorizer.denied(WRONG if is_wrong else said or "it lets nobody in")
        raise to_error(answer, self.subject, request.where, self._authorizer.without_secrets)

    def _follow(self, request: Request, authorization: str) -> urllib3.BaseHTTPResponse:
        is_url = "://" in request.where
        url = request.where if is_url else f"{self.url}/{request.where}"
        for _ in range(MAX_REDIRECTS + 1):
            is_own = urlsplit(url).netloc.lower() == self._endpoint.host.lower()
            own = {"Authorization": authorization} if authorization and is_own else {}
            body = request.body() if request.body is not None else None
            answer = self._transport.request(
                request.method, url, {**request.headers, **own}, body, request.read_seconds
            )
            if answer.status not in _REDIRECTIONS:
                return answer
            target = answer.headers.get("Location", "")
            answer.close()
            url = self.next_url(url, target)
        raise untrusted(self.subject, f"it sends us on more than {MAX_REDIRECTS} times")

    def next_url(self, url: str, target: str) -> str:
        """Where an answer to url sends us on to. `Invalid` for nowhere."""
        try:
            url = urljoin(url, target)
            parts = urlsplit(url)
            is_good = bool(target and parts.hostname) and parts.username is None and target.isprintable()
        except ValueError:
            is_good = False
        if not is_good:
            raise untrusted(self.subject, f"it sends us on to nowhere: {target[:100]!r}")
        return url
