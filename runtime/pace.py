"""How slowly somebody may send who is waited for: slower than SLOW_BYTES in a while is as good as not at all.
A limit on silence alone lets one byte a moment hold a place for years. Only the time spent waiting counts, so
that a slow disk of ours blames nobody. Used by `copies.inlet`, and by the agent's guards; standard library
only.
"""

from __future__ import annotations

from runtime.errors import Invalid

SLOW_BYTES = 64 * 1024  # a kilobyte a second, where a while is a minute


class Pace:
    """Of one sender. seconds: a while."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waited = 0.0
        self._received = 0

    def receive(self, size: int) -> None:
        """So many bytes came."""
        self._received += size

    def wait(self, seconds: float) -> None:
        """For so long nothing was there to be read. Invalid once that is a while in which too little came."""
        self._waited += seconds
        if self._waited < self._seconds:
            return
        if self._received < SLOW_BYTES:
            reason = f"less than {SLOW_BYTES // 1024} KiB came in {self._seconds:g} s"
            raise Invalid("read request", "body", reason, "send it from a file, or over a faster link")
        self._waited, self._received = 0.0, 0
