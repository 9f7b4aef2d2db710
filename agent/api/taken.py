"""Whether a client has read what it was sent: of a UNIX socket the kernel knows. For clients to whom it means
something in what order they find what is said on two connections, or what comes along with a head. Called by
`upgrade`.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import termios
import time

SOON_SECONDS = 0.0003  # in which most clients have: the event loop's own timers are no finer than 1 ms
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.001, 0.05  # between two; each is half as long again


def is_known(transport: asyncio.BaseTransport) -> bool:
    sock = transport.get_extra_info("socket")
    return sock is not None and sock.family == socket.AF_UNIX


async def wait_taken(transport: asyncio.BaseTransport, seconds: float) -> None:
    """Until all is read that was sent, the transport is closed, or the time is over. At once where it is not
    known."""
    if not is_known(transport):
        return
    sock, waiting = transport.get_extra_info("socket"), array.array("i", [0])
    begun, look = time.monotonic(), FIRST_LOOK_SECONDS
    while not transport.is_closing() and (passed := time.monotonic() - begun) < seconds:
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, waiting)  # unix_outq_len()
        if not waiting[0]:
            return
        if passed < SOON_SECONDS:
            await asyncio.sleep(0)
            continue
        await asyncio.sleep(look)
        look = min(look * 1.5, LONGEST_LOOK_SECONDS)
