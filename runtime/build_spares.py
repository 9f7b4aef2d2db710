"""The processes of builds, and one that waits for the next: to start one costs more than a build with nothing
to do. Called by `builds`, in the event loop.

A spare is made after a build, knows nothing of any, and goes when none came for a while, or with the agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

from runtime.fence import Fence
from runtime.images.build.asks import MAX_LINE_BYTES
from runtime.images.worker import environment
from runtime.layout import Layout

SPARE_SECONDS = 120.0


class Spares:
    """At most one."""

    def __init__(self, layout: Layout, fence: Fence | None = None) -> None:
        self._layout = layout
        self.fence = fence or Fence()
        self._spare: asyncio.subprocess.Process | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def take(self) -> asyncio.subprocess.Process:
        """A process for a build, the caller's from now on."""
        spare = self._release()
        if spare is not None and spare.returncode is None:
            return spare
        return await self._start()

    async def make(self) -> None:
        """One for the next build, whenever that is."""
        if self._spare is not None or self._is_closed:
            return
        self._spare = await self._start()
        self._timer = asyncio.get_running_loop().call_later(SPARE_SECONDS, self._expire)
        if self._is_closed:
            await self.close()

    async def close(self) -> None:
        self._is_closed = True
        spare = self._release()
        if spare is not None and spare.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                spare.kill()
            await spare.wait()
        self.fence.close()

    def _release(self) -> asyncio.subprocess.Process | None:
        spare, self._spare = self._spare, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return spare

    def _expire(self) -> None:
        """It ends by itself when its stdin does."""
        spare = self._release()
        if spare is not None and spare.stdin is not None:
            spare.stdin.close()

    async def _start(self) -> asyncio.subprocess.Process:
        layout = self._layout
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "runtime.images.build.worker",
            layout.instance, str(layout.data_root), str(layout.run_root),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env=environment() | _authorities() | self.fence.environment(), limit=MAX_LINE_BYTES,
        )  # fmt: skip


def _authorities() -> dict[str, str]:
    """Whom this host trusts beside its own list: ADD asks servers over https."""
    return {name: os.environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ}
