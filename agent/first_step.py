"""Begins a coroutine where it is called: what waits for nothing is done when `begun` returns, without a task
or a turn of the event loop; what waits goes on as a task.

Only for work that asks nothing of the task that it runs in before it first waits: `asyncio.timeout` and
`current_task` would take the caller's.
"""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class Waits:
    """Work that waits for something. `goes_on` is the rest of it."""

    __slots__ = ("_awaited", "_work")

    def __init__(self, work: Coroutine[Any, Any, T], awaited: Any) -> None:
        self._work = work
        self._awaited = awaited

    def goes_on(self) -> Coroutine[Any, Any, Any]:
        return _rest(self._work, self._awaited)


def first_step(work: Coroutine[Any, Any, T]) -> T | Waits:
    """Its result, or what is left of it. Raises what it raises."""
    try:
        return Waits(work, work.send(None))
    except StopIteration as done:
        result: T = done.value
        return result


def begun(work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """The task that it goes on in; None when it is done."""
    left = first_step(work)
    return asyncio.get_running_loop().create_task(left.goes_on()) if isinstance(left, Waits) else None


def eager(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task of any work, whose first step is taken here from Python 3.12 on, and in the next turn before."""
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        return asyncio.Task(work, loop=loop, eager_start=True)
    return loop.create_task(work)


async def _rest(work: Coroutine[Any, Any, T], awaited: Any) -> T:
    return await _on_from(work, awaited)


@types.coroutine
def _on_from(work: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """What a task does with a coroutine (PEP 492), from where it waits."""
    while True:
        try:
            value = yield awaited
        except BaseException as error:  # it is cancelled, or closed
            try:
                awaited = work.throw(error)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
        else:
            try:
                awaited = work.send(value)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
