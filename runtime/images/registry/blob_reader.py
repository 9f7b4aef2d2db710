"""The bytes of a blob, over as many connections as it takes.

Called by `pull` through `Repository.open_blob`. Goes on where a connection broke, by Range where the
registry knows it; gives up on one that breaks again and again, or is so slow that it might as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

import urllib3

from runtime.errors import Temporary
from runtime.images.registry.transport import explained

ATTEMPTS = 5
# Slower than this over a minute is as good as not at all.
SLOW_SECONDS = 60.0
SLOW_BYTES = 64 * 1024
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
        self._window = (time.monotonic(), 0)

    def __enter__(self) -> BlobReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    def read(self, n: int = _CHUNK_BYTES, /) -> bytes:
        """At most n bytes, b"" at the end. `Temporary` when the registry does not give them."""
        while True:
            try:
                data = self._read_some(min(n, _CHUNK_BYTES))
            except Temporary as error:
                self._after_failure(error)
                continue
            if not data and self._at < self._size:
                self._after_failure(self._temporary("it ends in the middle of a layer"))
                continue
            self._at += len(data)
            self._failures = 0 if data else self._failures
            self._check_speed()
            return data

    def _read_some(self, n: int) -> bytes:
        if self._answer is None:
            self._answer, begins_at = self._start(self._at)
            self._skip(self._answer, self._at - begins_at)
        with explained(self._subject):
            return self._answer.read1(n)

    def _skip(self, answer: urllib3.BaseHTTPResponse, count: int) -> None:
        """A registry without ranges begins anew: what was read before is read again."""
        while count > 0:
            with explained(self._subject):
                data = answer.read1(min(count, _CHUNK_BYTES))
            if not data:
                raise self._temporary("it ends in the middle of a layer")
            count -= len(data)

    def _after_failure(self, error: Temporary) -> None:
        self._drop()
        self._failures += 1
        if self._failures >= ATTEMPTS:
            raise error

    def _check_speed(self) -> None:
        since, before = self._window
        now = time.monotonic()
        if now - since < SLOW_SECONDS:
            return
        if self._at - before < SLOW_BYTES and self._at < self._size:
            raise self._temporary(f"it sends less than {SLOW_BYTES // 1024} KiB a minute")
        self._window = (now, self._at)

    def _temporary(self, reason: str) -> Temporary:
        return Temporary("pull image", self._subject, reason, "what is here already runs without it", 30)

    def _drop(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None
