"""Tell systemd what a process is at (sd_notify(3)), by hand: a datagram with a few words. Does nothing where
no service manager listens.

Called by the agent and by the supervisor, each from its own loop. Standard library only.
"""

from __future__ import annotations

import os
import socket


def notify(text: str) -> None:
    """Send one state, as "READY=1". Never raises; waits a second at most."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1.0)
            sock.sendto(text.encode(), "\0" + address[1:] if address[0] == "@" else address)
    except OSError:
        return


def watchdog_seconds() -> float | None:
    """How often systemd wants to hear from this process (sd_watchdog_enabled(3)): half its limit. None when
    not at all; what a service starts inherits the environment, and is not meant."""
    limit = os.environ.get("WATCHDOG_USEC", "")
    for_pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not limit.isdecimal() or int(limit) == 0 or for_pid != str(os.getpid()):
        return None
    return int(limit) / 2e6
