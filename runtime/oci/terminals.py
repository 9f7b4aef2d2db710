"""Terminals of `oci`: hand a pty's master to a console socket, or stand between it and our own.

Called by the create, run and exec commands.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import termios
import tty
from contextlib import suppress

from runtime.errors import Invalid

_CHUNK = 32768


def hand_over(path: str, master: int) -> None:
    """Send the master to the UNIX socket that --console-socket names, and close it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
        try:
            console.connect(path)
        except OSError as error:
            raise Invalid(
                "open console socket", path, error.strerror or "", "is somebody listening?"
            ) from error
        # Some byte has to go along; the name of a pty of another devpts means nothing here.
        socket.send_fds(console, [b"pty"], [master])
    os.close(master)


def relay(master: int, pidfd: int) -> None:
    """Copy between our stdin/stdout and a terminal until the program has ended and all is printed."""
    before = termios.tcgetattr(0) if os.isatty(0) else None
    if before is not None:
        tty.setraw(0)
        copy_size(master)
        signal.signal(signal.SIGWINCH, lambda *_: copy_size(master))
    try:
        _copy(master, pidfd)
    finally:
        if before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def copy_size(master: int) -> None:
    """Give a terminal the size of ours."""
    with suppress(OSError):
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *struct.unpack("HHHH", size)))


def _copy(master: int, pidfd: int) -> None:
    sources = [0, master]
    while True:
        ready, _, _ = select.select([*sources, pidfd], [], [])
        if 0 in ready:
            data = os.read(0, _CHUNK)
            if data:
                os.write(master, data)
            else:
                sources.remove(0)
        if master in ready:
            try:
                data = os.read(master, _CHUNK)
            except OSError:  # EIO: the last slave is closed
                return
            os.write(1, data)
        elif pidfd in ready:
            return
