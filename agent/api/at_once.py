"""Handlers that wait for nothing: they read what is in memory, and are answered where the request was read,
without a task or another turn of the event loop. What they say must cost about as little as to say it.

    @at_once                          @at_once_or(later)
    def ping(request): …              def inspect(request): …    # None: `later`, a coroutine, is to answer

And those that wait for one thing, if at all: they are begun there (`agent.first_step`), and may ask nothing
of their task before they first wait.

    @begun_at_once
    async def create(request): …
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Always = Callable[[web.Request], web.Response]
Now = Callable[[web.Request], web.Response | None]

_BEGUN: set[Any] = set()
_NOW: dict[Any, Now] = {}  # the handler as aiohttp has it -> what it is made of


def at_once(now: Always) -> Handler:
    """The handler of a function that always has the answer."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return now(request)

    return _registered(handler, now)


def at_once_or(later: Handler) -> Callable[[Now], Handler]:
    """The handler of a function that may not have the answer, and of a coroutine that does."""

    def decorate(now: Now) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            return now(request) or await later(request)

        return _registered(handler, now)

    return decorate


def begun_at_once(handler: Handler) -> Handler:
    """A coroutine whose first step is taken where its request was read, with its body."""
    _BEGUN.add(handler)
    return handler


def is_begun_at_once(handler: object) -> bool:
    return handler in _BEGUN


def now_of(handler: object) -> Now | None:
    """The function behind a handler; None for one that is a coroutine alone."""
    return _NOW.get(handler)


def _registered(handler: Handler, now: Now) -> Handler:
    handler.__doc__, handler.__name__ = now.__doc__, now.__name__
    _NOW[handler] = now
    return handler
