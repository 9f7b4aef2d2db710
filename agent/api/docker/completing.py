"""What a client began is done to its end, whoever listens.

A handler is cancelled when its client goes away. Between two effects that belong together that would leave
one without the other: a container without the volumes it names, a name that moved and no event that says so.
What only waits stays outside, so that nothing waits for those who are gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from agent.first_step import eager

T = TypeVar("T")

_under_way: set[asyncio.Task[Any]] = set()  # asyncio itself holds its tasks weakly


async def completed(work: Coroutine[Any, Any, T]) -> T:
    """Its result. It goes on when the caller is cancelled; how it ends is then nobody's to hear. What waits
    for nothing is done in the caller's turn."""
    return await asyncio.shield(begun(work))


def begun(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """It goes on, and nobody need wait for it."""
    task = eager(work)
    _under_way.add(task)
    task.add_done_callback(_finish)
    return task


def _finish(task: asyncio.Task[Any]) -> None:
    _under_way.discard(task)
    if not task.cancelled():
        task.exception()  # asyncio logs one that nobody has looked at
