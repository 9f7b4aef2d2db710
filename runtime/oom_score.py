"""Whom the kernel kills first when the host has no memory left (oom_score_adj, proc(5)): containers and what
works for us for a while, then the agent, and the supervisor last.

A child inherits its parent's value, so whoever is no part of the engine is set back. Called by the daemon,
and by those who start programs. The supervisor does it for itself.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

AGENT = -500
OTHERS = 0


def protect_agent() -> None:
    """This process is the agent. A service manager may have said so, or more, already; where it is not
    allowed (a nested host), all goes on as it is."""
    file = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):
        if int(file.read_text()) > AGENT:
            file.write_text(str(AGENT))


def unprotect(pid: int) -> None:
    """A process that was just started, and is no part of the engine. Nothing when it has ended."""
    file = Path(f"/proc/{pid}/oom_score_adj")
    with contextlib.suppress(OSError):
        if int(file.read_text()) < OTHERS:
            file.write_text(str(OTHERS))
