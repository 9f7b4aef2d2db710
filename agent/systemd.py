"""Tell systemd what the agent is at (sd_notify(3)), by hand: a datagram with a few words. Does nothing
where no service manager listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket


def notify(text: str) -> None:
    """Send one state, as "READY=1". Never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(text.encode(), "\0" + address[1:] if address[0] == "@" else address)


def watchdog_seconds() -> float | None:
    """How often systemd wants to hear from this process (sd_watchdog_enabled(3)): half its limit."""
    limit = os.environ.get("WATCHDOG_USEC", "")
    for_pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not limit.isdecimal() or int(limit) == 0 or for_pid != str(os.getpid()):
        return None
    return int(limit) / 2e6


async def keep_watchdog_quiet() -> None:
    """A sign of life from the event loop itself: it stops when the loop does."""
    seconds = watchdog_seconds()
    while seconds:
        notify("WATCHDOG=1")
        await asyncio.sleep(seconds)
