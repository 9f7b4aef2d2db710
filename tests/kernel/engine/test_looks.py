"""The engine's look at what a supervisor has, while containers come and go."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from runtime.engine import NativeEngine
from tests.native import config_of, ended, run


def phase(engine: NativeEngine, id: str) -> str:
    state = engine.state(id)
    assert state is not None
    return state.phase


@pytest.mark.parametrize("has_run", [False, True])
async def test_what_is_started_during_a_look_has_not_ended(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch, has_run: bool
) -> None:
    """As after a supervisor's death, when the loop goes on while the engine still takes stock."""
    config = config_of(engine, "box", "sleep", "1000")
    await engine.create(config)
    if has_run:
        await engine.start(config.id)
        await engine.stop(config.id, 0)
    supervised = engine._supervised
    call = supervised.client.call

    async def slow_list(op: str, **fields: Any) -> dict[str, Any]:
        answer = await call(op, **fields)
        if op == "list":
            await engine.start(config.id)
        return answer

    monkeypatch.setattr(supervised.client, "call", slow_list)
    await supervised.look()
    assert phase(engine, config.id) == "running"
    await engine.stop(config.id, 0)
    assert phase(engine, config.id) == "stopped"


async def test_what_ended_untold_is_found_by_a_look(engine: NativeEngine) -> None:
    config = config_of(engine, "box", "sleep", "1000")
    await run(engine, config)
    supervised = engine._supervised
    with contextlib.ExitStack() as stack:
        heard = supervised.client._on_event
        stack.callback(setattr, supervised.client, "_on_event", heard)
        supervised.client._on_event = lambda _event: None
        await supervised.client.call("signal", name=config.id, signal=9)
        while (await supervised.client.call("list"))["containers"]:
            pass
    assert phase(engine, config.id) == "running"
    await supervised.look()
    assert (await ended(engine, config.id)).exit_code == 137
