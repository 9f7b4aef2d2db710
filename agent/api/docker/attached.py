"""Who is attached to a container, so that its end is told after what it printed last: a client that waits, or
follows events, on one connection and reads on another takes the end for the end of both. Called by `attach`,
`container_life` and `event_feed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager

from agent.api.context import Context

Attached = Mapping[str, Set[asyncio.Future[None]]]  # container -> done when all is sent
LONGEST_SECONDS = 0.25  # that somebody who does not read holds up who waits


@contextmanager
def attached(context: Context, container: str) -> Iterator[None]:
    """While a client is sent what the container prints, to its end."""
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    mine = context.attached.setdefault(container, set())
    mine.add(ended)
    try:
        yield
    finally:
        ended.set_result(None)
        mine.discard(ended)
        if not mine:
            context.attached.pop(container, None)


async def all_is_sent(context: Context, container: str) -> None:
    """Of a container that has ended."""
    if pending := context.attached.get(container):
        await asyncio.wait(set(pending), timeout=LONGEST_SECONDS)
