"""A program on a terminal of its own, as a person has it: typed to, and read until something shows."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

SECONDS = 30.0


class Terminal:
    """shown: all that came; `expect` looks at what came since the last one."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.shown = b""
        self._master = master
        self._seen = 0

    def type(self, text: bytes) -> None:
        os.write(self._master, text)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def expect(self, text: bytes) -> None:
        deadline = time.monotonic() + SECONDS
        while (at := self.shown.find(text, self._seen)) < 0:
            assert self._read(deadline - time.monotonic()), f"no {text!r} in {self.shown[self._seen :]!r}"
        self._seen = at + len(text)

    def _read(self, seconds: float) -> bool:
        """More of what it shows; False at its end, or when the time is over."""
        ready, _, _ = select.select([self._master], [], [], max(seconds, 0.0))
        try:
            data = os.read(self._master, 65536) if ready else b""
        except OSError:  # EIO: nobody has the other end
            data = b""
        self.shown += data
        return bool(data)

    def wait(self) -> int:
        """Its exit code, all that it shows read."""
        deadline = time.monotonic() + SECONDS
        while self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(max(deadline - time.monotonic(), 0.1))


@contextmanager
def on_terminal(environment: Mapping[str, str], *words: str) -> Iterator[Terminal]:
    """Ended with the block, if it has not by then."""
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, env=dict(environment), start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
    finally:
        os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)
