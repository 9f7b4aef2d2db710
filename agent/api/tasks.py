"""The end of tasks that nobody needs any more."""

from __future__ import annotations

import asyncio
from typing import Any


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Whatever they were at; without another turn of the loop when all are done, as after most execs."""
    left = [task for task in tasks if task.cancel()]
    if left:
        await asyncio.wait(left)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # is nobody's any more
