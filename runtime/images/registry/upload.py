"""Brings a blob to a registry: not at all when it is there, by a mount from a neighbour, else its bytes.

    HEAD ─ there                      POST ?mount=&from= ─ 201: mounted
                                                         └ 202: an upload ─> PUT with all of it
                                                                         └> PATCH, PATCH, … PUT

OCI distribution-spec 1.1, "Pushing blobs". After a broken connection the registry is asked how far it
came, and the rest is sent; where it does not know, all of it is sent again. Called by `push`, from several
threads at once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import IO
from urllib.parse import quote, urlencode, urlsplit

import urllib3

from runtime.errors import Invalid, NotFound, SetpointError, Temporary
from runtime.images.registry.repository import Repository, Request
from runtime.images.registry.said import MAX_WAIT_SECONDS, message_of, untrusted

# What many a proxy lets through at once is 100 MB; docker-registry forgets all of an upload whose PATCH
# was cut off, so that smaller ones would save nothing there.
CHUNK_BYTES = 32 << 20
MAX_CHUNK_BYTES = 1 << 30
ATTEMPTS = 5  # in a row that bring the upload no further
MAX_BREAKS = 100
PIECE_BYTES = 128 * 1024
ANSWER_SECONDS = 300.0  # a registry hashes all of a blob before it takes it
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")
_UPLOADS = "blobs/uploads/"
_OCTETS = {"Content-Type": "application/octet-stream"}
# What they answer who do not take a blob in parts.
_NO_CHUNKS = (400, 404, 405, 411, 415, 416, 501)


class Way(StrEnum):
    """How a blob came to be there."""

    THERE = "there"
    MOUNTED = "mounted"
    SENT = "sent"


@dataclass(frozen=True, slots=True)
class Blob:
    """What is to be brought. open: its bytes from the beginning. neighbour: the path of a repository of the
    same registry that may have it, or ""."""

    digest: str
    size: int
    open: Callable[[], IO[bytes]]
    neighbour: str = ""


class _Broken(Exception):
    """An upload is of no use any more: begin anew. Says why."""


def upload_blob(
    repository: Repository,
    blob: Blob,
    advance: Callable[[int], None],
    is_given_up: Callable[[], bool],
    mounter: Repository | None = None,
) -> Way:
    """Returns when the registry has it. advance: is told how many bytes it has more, and less where it lost
    some. mounter: the same repository, with a token that reads the neighbours too. `Temporary` for a
    registry in need, also when it is given up."""
    if repository.again(lambda: _is_there(repository, blob)):
        return Way.THERE
    url = ""
    if mounter is not None and blob.neighbour:
        is_mounted, url = _mount(mounter, blob)
        if is_mounted:
            return Way.MOUNTED
    _Upload(repository, blob, advance, is_given_up, url).run()
    return Way.SENT


def _is_there(repository: Repository, blob: Blob) -> bool:
    try:
        answer = repository.ask(Request("HEAD", f"blobs/{blob.digest}"))
    except NotFound:
        return False
    answer.close()
    said = answer.headers.get("Content-Length", "")
    return not said.isdecimal() or int(said) == blob.size


def _mount(mounter: Repository, blob: Blob) -> tuple[bool, str]:
    """Whether the registry took it from its neighbour; else the upload that it began instead, or "". One
    that does not let us is no failure."""
    query = urlencode({"mount": blob.digest, "from": blob.neighbour})
    request = Request("POST", f"{_UPLOADS}?{query}", {"Content-Length": "0"}, good=(201, 202))
    try:
        answer = mounter.ask(request)
    except SetpointError:
        return False, ""
    answer.close()
    location = answer.headers.get("Location", "")
    if answer.status == 201 or not location:
        return answer.status == 201, ""
    return False, mounter.next_url(f"{mounter.url}/{_UPLOADS}", location)


class _Upload:
    """The bytes of one blob, over as many connections and uploads as it takes."""

    def __init__(
        self,
        repository: Repository,
        blob: Blob,
        advance: Callable[[int], None],
        is_given_up: Callable[[], bool],
        url: str,
    ) -> None:
        self._repository = repository
        self._blob = blob
        self._advance = advance
        self._is_given_up = is_given_up
        self._url = url  # of the upload, "" when there is none
        self._at = 0  # so many bytes the registry has for certain
        self._is_unsure = False  # what it has after a connection broke
        self._told = 0
        self._chunk = CHUNK_BYTES
        self._failures = 0
        self._breaks = 0

    def run(self) -> None:
        while True:
            before = self._at
            try:
                if self._is_unsure:
                    self._ask_how_far()
                self._go_on()
                return
            except _Broken as broken:
                failure: SetpointError = self._temporary(str(broken))
                self._begin_anew()
            except Temporary as error:
                if self._is_given_up():
                    raise
                failure = error
                self._is_unsure = bool(self._url)
                time.sleep(self._pause(error))
            self._failures = 1 if self._at > before else self._failures + 1
            self._breaks += 1
            if self._failures >= ATTEMPTS or self._breaks >= MAX_BREAKS:
                raise failure

    def _go_on(self) -> None:
        if not self._url:
            self._begin()
        while self._blob.size - self._at > self._chunk:
            self._send_chunk()
        self._send_last()

    def _begin(self) -> None:
        request = Request("POST", _UPLOADS, {"Content-Length": "0"}, good=(202,))
        answer = self._repository.ask(request)
        answer.close()
        least = answer.headers.get("OCI-Chunk-Min-Length", "")
        if least.isdecimal() and len(least) < 19 and self._chunk < int(least):
            self._chunk = int(least)
            if self._chunk > MAX_CHUNK_BYTES:
                self._chunk = self._blob.size  # all at once
        self._at, self._url = 0, self._next(answer, f"{self._repository.url}/{_UPLOADS}")
        self._tell(0)

    def _send_chunk(self) -> None:
        end = self._at + self._chunk
        request = self._request("PATCH", self._url, end, (202, *_NO_CHUNKS))
        answer = self._repository.ask(request)
        if answer.status != 202:
            if self._at == 0:
                self._chunk = self._blob.size
            raise self._broken(answer)
        answer.close()
        self._url = self._next(answer, self._url)
        said = answer.headers.get("Range", "")
        self._at = _end_of(said) if said else end
        if self._at != end:
            raise _Broken("it does not take all that is sent")

    def _send_last(self) -> None:
        """What is left, and the digest: the registry answers whether it is the whole blob."""
        join = "&" if urlsplit(self._url).query else "?"
        url = f"{self._url}{join}digest={quote(self._blob.digest, safe='')}"
        good = (200, 201, 204, 404, 416)
        answer = self._repository.ask(self._request("PUT", url, self._blob.size, good))
        if answer.status in (404, 416):
            raise self._broken(answer)
        answer.close()
        said = answer.headers.get("Docker-Content-Digest", "")
        if said and said != self._blob.digest:
            raise untrusted(self._repository.subject, f"it takes a layer for {said[:80]!r}")
        self._tell(self._blob.size)

    def _request(self, method: str, url: str, end: int, good: tuple[int, ...]) -> Request:
        begin = self._at
        headers = {**_OCTETS, "Content-Length": str(end - begin)}
        if begin or end < self._blob.size:
            headers["Content-Range"] = f"{begin}-{end - 1}"
        return Request(method, url, headers, lambda: self._pieces(begin, end), good, ANSWER_SECONDS)

    def _pieces(self, begin: int, end: int) -> Iterator[bytes]:
        at = begin
        self._tell(at)
        with self._blob.open() as file:
            file.seek(begin)
            while at < end:
                if self._is_given_up():
                    raise self._temporary("given up")
                data = file.read(min(PIECE_BYTES, end - at))
                if not data:
                    raise Invalid(
                        "push image", self._blob.digest[:19], "shorter than it was",
                        "`setpoint image check --repair`",
                    )  # fmt: skip
                yield data
                at += len(data)
                self._tell(at)

    # --- when it breaks ---------------------------------------------------------------------------

    def _ask_how_far(self) -> None:
        """How far the registry came; from the beginning when it does not know. `Temporary` for one that
        does not answer yet."""
        try:
            answer = self._repository.ask(Request("GET", self._url, good=(204,)))
        except (NotFound, Invalid):
            self._begin_anew()
            return
        answer.close()
        at = _end_of(answer.headers.get("Range", ""))
        if at > self._blob.size:
            self._begin_anew()
            return
        self._at, self._is_unsure = at, False
        self._url = self._next(answer, self._url)

    def _broken(self, answer: urllib3.BaseHTTPResponse) -> _Broken:
        said = message_of(answer, self._repository.subject)
        return _Broken("it forgets what was sent" + (f": {said}" if said else ""))

    def _begin_anew(self) -> None:
        self._url, self._at, self._is_unsure = "", 0, False

    def _next(self, answer: urllib3.BaseHTTPResponse, url: str) -> str:
        target = answer.headers.get("Location", "")
        if not target and self._url:
            return self._url
        return self._repository.next_url(url, target)

    def _pause(self, error: Temporary) -> float:
        wait = max(float(1 << min(self._failures, 6)) / 2, error.retry_after_seconds)
        if wait > MAX_WAIT_SECONDS:
            raise error
        return wait

    def _tell(self, at: int) -> None:
        if at != self._told:
            self._advance(at - self._told)
            self._told = at

    def _temporary(self, reason: str) -> Temporary:
        return Temporary("push image", self._repository.subject, reason, "push it again", 1.0)


def _end_of(said: str) -> int:
    """How many bytes a Range header says are there. "0-0" is nothing: docker-registry says so of an upload
    that has just begun."""
    match = _RANGE.fullmatch(said)
    last = int(match[1]) if match else 0
    return last + 1 if last else 0
