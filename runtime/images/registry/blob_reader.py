"""The bytes of a blob, over as many connections as it takes.

Called by `pull` through `Repository.open_blob`. Goes on where a connection broke, by Range where the
registry knows it; gives up on one that breaks again and again.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import urllib3

from runtime.errors import Temporary
from runtime.images.registry.transport import explained

ATTEMPTS = 5  # in a row that bring less than this, each
GETS_ON_BYTES = 64 * 1024
MAX_BREAKS = 100  # in all
_CHUNK_BYTES = 1 << 20
# Starts a blob at a byte; returns the answer and the byte that it begins at.
Start = Callable[[int], tuple[urllib3.BaseHTTPResponse, int]]


class BlobReader:
    """Use it as a context. subject: the repository, for errors. size: in bytes, as its descriptor says."""

    def __init__(self, subject: str, size: int, start: Start) -> None:
        self._subject = subject
        self._size = size
        self._start = start
        self._at = 0
        self._answer: urllib3.BaseHTTPResponse | None = None
        self._failures = 0
        self._breaks = 0
        self._behind = 0
        self._broke_at = 0

    def __enter__(self) -> BlobReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    def read(self, n: int = _CHUNK_BYTES, /) -> bytes:
        """At most n bytes, b"" at the end. `Temporary` when the registry does not give them. What comes
        after all of it is not waited for."""
        while self._at < self._size:
            if self._answer is None:
                self._answer, self._behind = self._begin()
            try:
                data = self._read_some(self._answer, min(n, _CHUNK_BYTES))
            except Temporary as error:
                self._after_failure(error)
                continue
            if not data:
                self._after_failure(self._temporary("it ends in the middle of a layer"))
                continue
            self._at += len(data)
            return data
        return b""

    def _begin(self) -> tuple[urllib3.BaseHTTPResponse, int]:
        """A new answer, which has been asked for again and again as far as that helps, and how many bytes
        of it are known: a registry without ranges begins anew."""
        answer, begins_at = self._start(self._at)
        return answer, self._at - begins_at

    def _read_some(self, answer: urllib3.BaseHTTPResponse, n: int) -> bytes:
        self._skip(answer)
        with explained(self._subject):
            return answer.read1(n)

    def _skip(self, answer: urllib3.BaseHTTPResponse) -> None:
        while self._behind > 0:
            with explained(self._subject):
                data = answer.read1(min(self._behind, _CHUNK_BYTES))
            if not data:
                raise self._temporary("it ends in the middle of a layer")
            self._behind -= len(data)

    def _after_failure(self, error: Temporary) -> None:
        self._drop()
        self._failures = 1 if self._at - self._broke_at >= GETS_ON_BYTES else self._failures + 1
        self._breaks += 1
        self._broke_at = self._at
        if self._failures >= ATTEMPTS or self._breaks >= MAX_BREAKS:
            raise error

    def _temporary(self, reason: str) -> Temporary:
        return Temporary("pull image", self._subject, reason, "what is here already runs without it", 30)

    def _drop(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None
