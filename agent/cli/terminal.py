"""The terminal of who runs `exec`: its keys and its size go to the container's, and it is put back whatever
happens. One thread reads stdin and sends it; the main thread writes what comes, so that neither waits for the
other.
"""

from __future__ import annotations

import contextlib
import os
import signal
import termios
import threading
import tty
from collections.abc import Iterator

from agent.wire import Session


def pass_stdin_on(session: Session) -> None:
    threading.Thread(target=_send_stdin, args=(session,), daemon=True).start()


def _send_stdin(session: Session) -> None:
    # The other end may be gone already: the main thread knows its exit code.
    with contextlib.suppress(OSError):
        while content := os.read(0, 65536):
            session.send_stdin(content)
        session.close_stdin()


@contextlib.contextmanager
def raw(session: Session) -> Iterator[None]:
    """Every key goes to the container's terminal, and its size follows ours."""
    before = termios.tcgetattr(0)
    resized = signal.signal(signal.SIGWINCH, lambda *_: session.resize(*size()))
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSAFLUSH, before)
        signal.signal(signal.SIGWINCH, resized)


def size() -> tuple[int, int]:
    """(rows, columns)."""
    columns, rows = os.get_terminal_size(0)
    return rows, columns
