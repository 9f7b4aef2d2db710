"""The heap after a burst of connections."""

from __future__ import annotations

import asyncio

import pytest

from agent.api import trimming
from agent.api.trimming import Trimming
from runtime import syscalls


async def test_once_after_many_and_never_for_few(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed = asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(trimming, "CONNECTIONS", 3)
    monkeypatch.setattr(trimming, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(syscalls, "trim_malloc", lambda: loop.call_soon_threadsafe(trimmed.set))
    freed: list[bool] = []
    one = Trimming(lambda: freed.append(not trimmed.is_set()))
    for _ in range(2):
        one.note_end()
    assert one._timer is None
    one.note_end()
    async with asyncio.timeout(10):
        await trimmed.wait()
    assert (one._ended, one._timer, freed) == (0, None, [True])


def test_the_c_library_is_asked() -> None:
    syscalls.trim_malloc()
