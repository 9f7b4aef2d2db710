"""Clients that ask for a container's streams and go away before the supervisor has answered."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.errors import Temporary
from runtime.execs import ATTACHING, Execs


class Client:
    """Answers when told to, in the order of the questions."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Any]] = []

    async def wait_up(self, _seconds: float) -> None:
        return

    def send(self, _op: str, **_fields: Any) -> asyncio.Future[Any]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]

    def answer(self, number: int) -> int:
        """The descriptor that came with it."""
        descriptor = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.asked[number].set_result(({"stamp": "now"}, [descriptor]))
        return descriptor


def _execs(client: Client) -> Execs:
    entry = SimpleNamespace(config=SimpleNamespace(tty=False), is_running=True)
    index: Any = SimpleNamespace(get=lambda _op, _id: entry)
    anything: Any = client
    return Execs(index, anything, anything)


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


async def test_whoever_goes_away_keeps_his_place_until_the_answer() -> None:
    client = Client()
    execs = _execs(client)
    gone = [asyncio.ensure_future(execs.attach("c")) for _ in range(ATTACHING)]
    await _settle()
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    late = asyncio.ensure_future(execs.attach("c"))
    await _settle()
    assert len(client.asked) == ATTACHING  # the supervisor is not asked for more
    nobodys = client.answer(0)
    await _settle()
    assert not _is_open(nobodys)
    assert len(client.asked) == ATTACHING + 1
    descriptor = client.answer(ATTACHING)
    assert await late == (descriptor, "now")
    assert _is_open(descriptor)
    os.close(descriptor)


async def test_whoever_waits_for_his_place_and_goes_away_was_never_there() -> None:
    client = Client()
    execs = _execs(client)
    tasks = [asyncio.ensure_future(execs.attach("c")) for _ in range(ATTACHING + 100)]
    await _settle()
    for task in tasks[ATTACHING:]:
        task.cancel()
    await _settle()
    for number in range(ATTACHING):
        client.answer(number)
    for task in tasks[:ATTACHING]:
        os.close((await task)[0])
    assert len(client.asked) == ATTACHING


async def test_a_place_comes_free_when_the_supervisor_is_lost() -> None:
    client = Client()
    execs = _execs(client)
    tasks = [asyncio.ensure_future(execs.attach("c")) for _ in range(ATTACHING + 1)]
    await _settle()
    for asked in client.asked:
        asked.set_exception(Temporary("ask", "supervisor", "it went away"))
    await _settle()
    assert len(client.asked) == ATTACHING + 1
    os.close((client.answer(ATTACHING), (await tasks[-1])[0])[0])
    for task in tasks[:-1]:
        with pytest.raises(Temporary):
            await task
