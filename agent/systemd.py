"""The agent's sign of life to systemd, from its event loop: who hangs there is ended and started again."""

from __future__ import annotations

import asyncio
import faulthandler

from runtime.service_manager import notify, watchdog_seconds

__all__ = ["keep_watchdog_quiet", "notify", "watchdog_seconds"]


async def keep_watchdog_quiet() -> None:
    """A sign of life from the event loop itself: it stops when the loop does. SIGABRT, by which systemd then
    ends this process, leaves in the journal where every thread of it was."""
    seconds = watchdog_seconds()
    if seconds:
        faulthandler.enable()
    while seconds:
        notify("WATCHDOG=1")
        await asyncio.sleep(seconds)
