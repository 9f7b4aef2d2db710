"""Sockets that give up on a peer who sends next to nothing, whatever it is in the middle of.

A limit on silence alone lets one byte a moment go on for years: in a head, in the size of a chunk, in a
document. Only the time spent waiting counts, so that who reads slowly blames nobody. Called by `transport`.
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from typing import Any

from runtime.pace import SLOW_BYTES

SLOW_SECONDS = 60.0  # a while, in which less than SLOW_BYTES is as good as nothing
SEND_SECONDS = 60.0  # for each piece that is sent


class TooSlow(TimeoutError):
    """What http.client and urllib3 take for a time-out."""


class _Patience:
    """expires_at: time.monotonic() after which nothing more is read. left: how many bytes may still come."""

    expires_at = math.inf
    left = math.inf
    _waited = 0.0
    _received = 0

    def recv_into(self, *arguments: Any, **more: Any) -> int:
        begun = time.monotonic()
        if begun > self.expires_at:
            raise TooSlow("its answer takes too long")
        count: int = super().recv_into(*arguments, **more)  # type: ignore[misc]
        self._waited += time.monotonic() - begun
        self._received += count
        self.left -= count
        if self.left < 0:
            raise TooSlow("its answer does not end")
        if self._waited > SLOW_SECONDS:
            if self._received < SLOW_BYTES:
                raise TooSlow(f"it sends less than {SLOW_BYTES // 1024} KiB a minute")
            self._waited, self._received = 0.0, 0
        return count

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """With a time limit of its own: urllib3 sends with the one for connecting."""
        seconds = self.gettimeout()  # type: ignore[attr-defined]
        self.settimeout(SEND_SECONDS)  # type: ignore[attr-defined]
        try:
            super().sendall(data, flags)  # type: ignore[misc]
        finally:
            self.settimeout(seconds)  # type: ignore[attr-defined]


class PatientSocket(_Patience, socket.socket):
    pass


class PatientTLSSocket(_Patience, ssl.SSLSocket):
    pass


def too_slow(error: BaseException) -> str:
    """What a TooSlow below an error says, or ""."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, TooSlow):
            return str(inner)
        inner = inner.__cause__ or inner.__context__
    return ""
