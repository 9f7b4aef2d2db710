"""A container that goes when it has ended (`--rm`), and an agent that is killed at each turn of the event
loop on the way: the next one takes the rest away, and starts nothing once more. Its network may go before the
wish is stored; its files may not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.reconcile.writer import Syncs, Writer
from runtime.errors import Temporary
from tests.sim.api_host import LONGEST_TURNS, ApiHost, Call, End, hosts

pytestmark = pytest.mark.usefixtures("threads_in_turns")
ONE = Call("POST", "/networks/create", {"Name": "one"})
BODY: dict[str, Any] = {
    "Image": "busybox:latest", "Volumes": {"/own": {}},
    "HostConfig": {"NetworkMode": "one", "AutoRemove": True},
}  # fmt: skip
STAYS = Call("POST", "/containers/create?name=box", BODY | {"HostConfig": {"NetworkMode": "one"}})
CREATE, START = Call("POST", "/containers/create?name=box", BODY), Call("POST", "/containers/box/start")


@pytest.fixture
def host() -> Iterator[ApiHost]:
    with contextlib.closing(running()) as made:
        yield made


def running() -> ApiHost:
    host = ApiHost()
    for call in (ONE, CREATE, START):
        assert host.ask(call).status in (200, 201, 204)
    host.run(1.0)
    host.engine.calls.clear()
    return host


def end(host: ApiHost, turns: int) -> None:
    """It ends, and the event loop turns that often."""

    async def work() -> None:
        (state,) = host.engine.list()
        host.engine.exit(state.id, 0)
        for _ in range(turns):
            await asyncio.sleep(0)

    host.do(work())


def is_gone(host: ApiHost) -> bool:
    left = (*host.engine.list(), *host.engine.list_sandboxes(), *host.engine.list_volumes())
    return not left and not any(key.kind == "container" for key in host.loop.objects())


def test_killed_on_the_way_at_each_turn() -> None:
    for turns in range(LONGEST_TURNS):
        with contextlib.closing(running()) as host:
            end(host, turns)
            was_over = is_gone(host)
            host.crash()
            host.run(1.0)
            host.boot()
            host.run(60.0)
            assert is_gone(host), turns
            assert not [op for op, _ in host.engine.calls if op in ("create", "start")], turns
            assert not host.observer.bugs and not host.engine.violations, turns
            if was_over:
                assert turns > 3
                return
    pytest.fail("it does not go")


def test_its_network_goes_while_the_wish_is_stored_and_its_files_after(
    host: ApiHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, bool]] = []
    waiting: list[object] = []  # for the disk
    sync = Writer.sync

    def counted(writer: Writer, store: Syncs, done: Callable[[Exception | None], None]) -> None:
        def told(error: Exception | None) -> None:
            waiting.remove(told)
            done(error)

        waiting.append(told)
        sync(writer, store, told)

    def note(op: str, _subject: str) -> None:
        stored = [each for each in host.store.load()[0].values() if each.key.kind == "container"]
        asked.append((op, all(each.deleting for each in stored) and not waiting))

    monkeypatch.setattr(Writer, "sync", counted)

    host.engine.fault = note
    end(host, 1)
    host.run(5.0)
    is_stored = dict(reversed(asked))  # at the first time of each
    assert is_gone(host) and not is_stored["delete_sandbox"] and is_stored["delete"]


@pytest.mark.parametrize("go", [ApiHost.break_off, ApiHost.die_over], ids=["client", "agent"])
def test_a_removal_that_breaks_off_leaves_what_can_be_started(go: End) -> None:
    """Of one that has ended its network may be gone by then; it gets another."""
    remove = Call("DELETE", "/containers/box?v=1")
    ways = set()
    for host, _, when in hosts(go, remove, ONE, STAYS, START, lambda host: end(host, 1)):
        host.run(60.0)
        ways.add((is_gone(host), bool(host.engine.list_sandboxes())))
        if not is_gone(host):
            assert host.ask(START).status == 204, when
            host.run(5.0)
            (state,) = host.engine.list()
            assert state.phase == "running" and state.sandbox in _sandboxes(host), when
            end(host, 1)
            host.run(5.0)
            assert host.ask(remove).status == 204 and is_gone(host), when
    assert (True, False) in ways


def _sandboxes(host: ApiHost) -> set[str]:
    return {each.id for each in host.engine.list_sandboxes()}


def test_a_network_that_does_not_go_keeps_it_as_before(host: ApiHost) -> None:
    """The plan of the removal meets the same, says why, and tries again."""
    refused = Temporary("delete sandbox", "it", "the kernel is busy")
    host.engine.fault = lambda op, _subject: refused if op == "delete_sandbox" else None
    end(host, 1)
    host.run(5.0)
    assert host.engine.list() and host.engine.list_sandboxes()
    host.engine.fault = lambda _op, _subject: None
    host.run(60.0)
    assert is_gone(host) and not host.observer.bugs
