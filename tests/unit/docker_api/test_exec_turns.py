"""Execs that are asked for faster than they can begin."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from agent.api.docker import execs
from agent.api.docker.exec_registry import ExecRegistry, ExecWish
from agent.api.docker.exec_turns import AT_ONCE, ExecTurns
from runtime.errors import Temporary

WISH = ExecWish(argv=("true",))


class Engine:
    """Starts none before it is told to; holds what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.open = asyncio.Event()

    async def start_exec(self, container: str, *_arguments: Any, **_options: Any) -> Any:
        self.asked.append(container)
        await self.open.wait()
        raise Temporary("exec", container, "it went away")


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_so_many_of_a_container_are_on_their_way_and_the_others_wait() -> None:
    engine, registry = Engine(), ExecRegistry()
    context: Any = SimpleNamespace(engine=engine, execs=registry)
    made = [registry.add(container, WISH) for container in "a" * 40 + "b"]
    tasks = [asyncio.ensure_future(execs._begin(context, each, (0, 0), has_client=True)) for each in made]
    await _settle()
    assert engine.asked == ["a"] * AT_ONCE + ["b"]  # another's are not held up
    engine.open.set()
    failures = await asyncio.gather(*tasks)
    assert [type(each) for each in failures] == [Temporary] * 41
    assert len(engine.asked) == 41
    del tasks
    assert len(registry.turns) == 0
    registry.close()


async def test_whoever_makes_one_waits_for_those_before_him() -> None:
    turns, order = ExecTurns(), []

    async def take(word: str, release: asyncio.Event | None = None) -> None:
        async with turns.of("a"):
            order.append(word)
            if release is not None:
                await release.wait()

    async def come(container: str, word: str) -> None:
        await turns.come(container)
        order.append(word)

    await come("a", "alone")
    ends = asyncio.Event()
    holders = [asyncio.ensure_future(take("holds", ends)) for _ in range(AT_ONCE)]
    await _settle()
    later = [asyncio.ensure_future(take("waited")), asyncio.ensure_future(come("a", "made"))]
    await come("b", "of another")
    await _settle()
    assert order == ["alone", *["holds"] * AT_ONCE, "of another"]
    ends.set()
    await asyncio.gather(*holders, *later)
    assert order[-2:] == ["waited", "made"]


async def test_a_container_that_stands_still_keeps_nobody_from_making_one(monkeypatch: Any) -> None:
    monkeypatch.setattr("agent.api.docker.exec_turns.LONGEST_SECONDS", 0.0)
    turns = ExecTurns()
    held = turns.of("a")
    for _ in range(AT_ONCE):
        await held.acquire()
    await turns.come("a")
    assert held.locked()


async def test_the_call_that_makes_one_waits(monkeypatch: Any) -> None:
    """See `agent.api.docker.execs.create`."""
    registry = ExecRegistry()
    context: Any = SimpleNamespace(execs=registry)
    state = SimpleNamespace(id="a", phase="running")
    body = {"Cmd": ["true"]}

    async def read(_request: Any) -> dict[str, Any]:
        return body

    monkeypatch.setattr(execs, "context_of", lambda _request: context)
    monkeypatch.setattr(execs, "json_body", read)
    monkeypatch.setattr(execs, "find_container", lambda _context, _name: state)
    monkeypatch.setattr(execs, "scope_of", lambda _request: None)
    monkeypatch.setattr(execs, "claim", lambda *_arguments: None)
    monkeypatch.setattr(execs, "note_container", lambda *_arguments, **_more: None)
    held = registry.turns.of("a")
    for _ in range(AT_ONCE):
        await held.acquire()
    request: Any = SimpleNamespace(match_info={"id": "a"})
    making = asyncio.ensure_future(execs.create(request))
    await _settle()
    assert len(registry) == 0
    held.release()
    assert (await making).status == 201
    assert len(registry) == 1
    registry.close()
