"""Execs from their making to their being forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

import pytest

from agent.api.docker import exec_registry
from agent.api.docker.exec_registry import Exec, ExecRegistry, ExecWish
from runtime.errors import Conflict, NotFound

WISH = ExecWish(argv=("true",))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeProcess:
    """Pipes of the test's own; ends when told."""

    def __init__(self) -> None:
        self.pid = 7
        self.stdin, self.stdout, self.stderr = -1, -1, -1
        self.stdout, self.output = os.pipe()
        self.code: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.is_released = False

    def when_ended(self, tell: Callable[[int | None], None]) -> None:
        self.code.add_done_callback(lambda code: tell(code.result()))

    def lose(self) -> None:
        """Nobody hears of its end."""
        self.code.set_result(None)

    async def resize(self, rows: int, columns: int) -> None: ...

    def close_stdin(self) -> None: ...

    def release(self) -> None:
        assert not self.is_released
        os.close(self.stdout)
        self.is_released = True


def _ended(registry: ExecRegistry, container: str = "c") -> Exec:
    made = registry.add(container, WISH)
    made.begin()
    made.fail(126)
    return made


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_it_is_started_once() -> None:
    made = ExecRegistry().add("c", WISH)
    made.begin()
    with pytest.raises(Conflict, match="is already running"):
        made.begin()
    made.fail(127)
    with pytest.raises(Conflict, match="has already run"):
        made.begin()
    assert (made.is_running, made.exit_code) == (False, 127)


async def test_a_container_shows_those_that_have_not_ended() -> None:
    registry = ExecRegistry()
    first, second = registry.add("c", WISH), registry.add("c", WISH)
    registry.add("other", WISH)
    assert registry.ids_of("c") == [first.id, second.id]
    first.begin()
    first.fail(1)
    await _settle()
    assert registry.ids_of("c") == [second.id]
    assert registry.get(first.id) is first


async def test_what_has_ended_is_kept_for_a_while() -> None:
    clock = Clock()
    registry = ExecRegistry(clock)
    made = _ended(registry)
    await _settle()
    clock.now += exec_registry.REMOVABLE_SECONDS + 1
    assert registry.can_remove(registry.get(made.id))
    clock.now += exec_registry.KEPT_SECONDS
    with pytest.raises(NotFound, match="No such exec instance"):
        registry.get(made.id)
    assert len(registry) == 0


async def test_room_is_made_by_what_ended_first_then_by_what_nobody_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exec_registry, "MAX_EXECS", 4)
    registry = ExecRegistry()
    waiting, running = registry.add("c", WISH), registry.add("c", WISH)
    running.begin()
    ended = [_ended(registry), _ended(registry)]
    await _settle()
    added = [registry.add("c", WISH) for _ in range(3)]
    for gone in (*ended, waiting):
        with pytest.raises(NotFound):
            registry.get(gone.id)
    assert [registry.get(each.id) for each in (running, *added)] == [running, *added]
    assert registry.ids_of("c") == [running.id, *(each.id for each in added)]


async def test_of_those_that_have_ended_the_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_registry, "MAX_ENDED", 2)
    registry = ExecRegistry()
    waiting = registry.add("c", WISH)
    first, *last = (_ended(registry) for _ in range(3))
    await _settle()
    with pytest.raises(NotFound):
        registry.get(first.id)
    assert [registry.get(each.id) for each in (waiting, *last)] == [waiting, *last]


async def test_one_that_nobody_starts_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_registry, "SWEEP_SECONDS", 0.0)
    clock = Clock()
    registry = ExecRegistry(clock)
    waiting, running = registry.add("c", WISH), registry.add("c", WISH)
    registry.begin(running)
    clock.now += exec_registry.WAITING_SECONDS - 1
    assert registry.get(waiting.id) is waiting
    clock.now += 2
    async with asyncio.timeout(10):
        while len(registry) > 1:  # though nobody asks any more
            await asyncio.sleep(0)
    assert registry.ids_of("c") == [running.id]
    assert registry.get(running.id) is running
    registry.close()


async def test_of_those_that_nobody_starts_the_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_registry, "MAX_WAITING", 2)
    registry = ExecRegistry()
    begun = registry.add("c", WISH)
    registry.begin(begun)
    first, *last = (registry.add("c", WISH) for _ in range(3))
    with pytest.raises(NotFound):
        registry.get(first.id)
    assert registry.ids_of("c") == [begun.id, *(each.id for each in last)]


async def test_their_bytes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_registry, "MAX_BYTES", 1000)
    registry = ExecRegistry()
    for _ in range(10):
        registry.add("c", ExecWish(argv=("x" * 300,)))
    assert len(registry) == 3


async def test_whom_its_client_leaves_is_read_to_its_end_and_then_freed() -> None:
    made = ExecRegistry().add("c", WISH)
    made.begin()
    process = FakeProcess()
    made.follow(process)
    made.leave()
    os.set_blocking(process.output, False)
    left = 10 * 65536  # more than a pipe holds: somebody reads it
    async with asyncio.timeout(10):
        while left:
            with contextlib.suppress(BlockingIOError):
                left -= os.write(process.output, bytes(left))
            await asyncio.sleep(0.001)
    process.code.set_result(3)
    await _settle()
    assert (made.exit_code, process.is_released) == (3, False)  # a child of it may still write
    os.close(process.output)
    async with asyncio.timeout(10):
        while not process.is_released:
            await asyncio.sleep(0.001)


async def test_whose_client_stays_is_freed_when_he_leaves() -> None:
    made = ExecRegistry().add("c", WISH)
    made.begin()
    process = FakeProcess()
    made.follow(process)
    os.close(process.output)
    process.code.set_result(0)
    await _settle()
    assert not process.is_released  # the client may not have read all
    made.leave()
    async with asyncio.timeout(10):
        while not process.is_released:
            await asyncio.sleep(0.001)
    made.leave()


async def test_it_lets_go_of_everything_at_the_end() -> None:
    registry = ExecRegistry()
    made = registry.add("c", WISH)
    made.begin()
    process = FakeProcess()
    made.follow(process)
    made.leave()
    registry.close()
    assert process.is_released
    os.close(process.output)


async def test_whoever_waits_for_a_start_is_told_and_nobody_is_kept() -> None:
    made = ExecRegistry().add("c", WISH)
    await made.wait_started(0.001)
    waiting = [asyncio.create_task(made.wait_started(10)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    assert not waiting[1].done()
    made.begin()
    process = FakeProcess()
    made.follow(process)
    async with asyncio.timeout(1):
        await waiting[1]
        await made.wait_started(10)
    process.code.set_result(3)
    assert await made.exit == 3
    await _settle()
    assert (made._waiters, made._exit, made.exit.result()) == (None, None, 3)
    os.close(process.output)
    made.leave()
    assert process.is_released


async def test_whoever_waits_for_the_end_is_told_of_it_and_not_of_the_start() -> None:
    made = ExecRegistry().add("c", WISH)
    waiting = [asyncio.create_task(made.wait_ended()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    made.begin()
    process = FakeProcess()
    made.follow(process)
    await _settle()
    assert [each.done() for each in waiting] == [True, False, False]
    process.code.set_result(3)
    async with asyncio.timeout(1):
        await asyncio.gather(*waiting[1:])
        await made.wait_ended()
    assert (made.exit_code, made._waiters) == (3, None)
    os.close(process.output)
    made.leave()


async def test_a_supervisor_that_goes_away_is_no_exit_code_of_zero() -> None:
    made = ExecRegistry().add("c", WISH)
    made.begin()
    process = FakeProcess()
    made.follow(process)
    process.lose()
    await _settle()
    assert made.exit_code == exec_registry.UNKNOWN_EXIT
    os.close(process.output)
    made.leave()


async def test_an_agent_that_ends_says_nothing_of_what_runs_on() -> None:
    registry = ExecRegistry()
    made = registry.add("c", WISH)
    registry.begin(made)
    process = FakeProcess()
    made.follow(process)
    registry.close()
    process.lose()
    await _settle()
    assert (made.exit_code, process.is_released) == (None, True)
    os.close(process.output)
