"""The first refusal of a system call is named; what is allowed is not."""

from __future__ import annotations

import asyncio

import pytest

from runtime.denials import why_deaf
from runtime.engine import NativeEngine
from runtime.model import EngineEvent, Security
from tests.native import shell, until

pytestmark = pytest.mark.skipif(bool(why_deaf()), reason=f"denials are not heard: {why_deaf()}")


async def heard(engine: NativeEngine) -> tuple[list[EngineEvent], asyncio.Task[None]]:
    found: list[EngineEvent] = []
    stream = engine.events()

    async def follow() -> None:
        async for event in stream:
            if event.kind == "denied":
                found.append(event)

    return found, asyncio.ensure_future(follow())


async def test_the_first_refusal_is_named(engine: NativeEngine) -> None:
    found, task = await heard(engine)
    config = shell(engine, "box", "while :; do mount -t tmpfs none /mnt; unshare true; sleep 0.02; done")
    await engine.create(config)
    await engine.start(config.id)
    await until(lambda: len(found) >= 1)
    assert {event.id for event in found} == {config.id}
    text = found[0].detail
    assert text.endswith("was denied by the seccomp profile (cap_add: [SYS_ADMIN] gives it)")
    assert text.split()[0] in ("mount", "unshare")
    await asyncio.sleep(1.5)
    assert len(found) == len({event.detail for event in found}), "each call once"
    task.cancel()


async def test_what_is_allowed_is_not_told(engine: NativeEngine) -> None:
    found, task = await heard(engine)
    config = shell(
        engine,
        "box",
        "while :; do mount -t tmpfs none /mnt; sleep 0.1; done",
        security=Security(cap_add=("SYS_ADMIN",)),
    )
    await engine.create(config)
    await engine.start(config.id)
    other = shell(
        engine,
        "other",
        "while :; do unshare true; sleep 0.02; done",
    )
    await engine.create(other)
    await engine.start(other.id)
    await until(lambda: any(event.id == other.id for event in found))
    assert {event.id for event in found} == {other.id}
    task.cancel()
