"""Who is attached to a container, so that its end is told after what it printed last: a client that waits, or
follows events, on one connection and reads on another takes the end for the end of both. Called by `attach`,
`container_life` and `event_feed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Set
from contextlib import AbstractContextManager, contextmanager

from agent.api.context import Context

Attached = Mapping[str, Set[asyncio.Future[None]]]  # container -> done when all is sent
LONGEST_SECONDS = 0.25  # that somebody who does not read holds up who waits


def attached(context: Context, container: str) -> AbstractContextManager[None]:
    """While a client is sent what the container prints, to its end."""
    return _counted(context.attached, container)


def reading(context: Context, container: str) -> AbstractContextManager[None]:
    """While a client that was sent all has not read it yet."""
    return _counted(context.reading, container)


@contextmanager
def _counted(clients: dict[str, set[asyncio.Future[None]]], container: str) -> Iterator[None]:
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    mine = clients.setdefault(container, set())
    mine.add(ended)
    try:
        yield
    finally:
        ended.set_result(None)
        mine.discard(ended)
        if not mine:
            clients.pop(container, None)


async def all_is_sent(context: Context, container: str, *, is_read: bool = False) -> None:
    """Of a container that has ended. is_read: and read."""
    for clients in (context.attached, context.reading) if is_read else (context.attached,):
        if pending := clients.get(container):
            await asyncio.wait(set(pending), timeout=LONGEST_SECONDS)
