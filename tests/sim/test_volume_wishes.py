"""What is done for a volume before the disk has taken the wish, and what is not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from agent.reconcile.writer import Writer
from tests.sim.api_host import Answer, ApiHost, Call, threads_take_turns

CREATE, REMOVE = Call("POST", "/volumes/create", {"Name": "data"}), Call("DELETE", "/volumes/data")
PRUNE = Call("POST", '/volumes/prune?filters={"all":["1"]}')
TURNS = 40


@pytest.fixture(autouse=True)
def turns(monkeypatch: pytest.MonkeyPatch) -> None:
    threads_take_turns(monkeypatch)


def asked(host: ApiHost, call: Call, look: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> Answer:
    """The answer. look: called while the disk has not answered for the wish, as nobody has then."""
    waiting: list[Callable[[Exception | None], None]] = []

    async def work() -> Answer:
        with monkeypatch.context() as patch:
            patch.setattr(Writer, "sync", lambda _writer, _store, done: waiting.append(done))
            answering = asyncio.get_running_loop().create_task(host._answer(call))
            for _ in range(TURNS):
                await asyncio.sleep(0)
            look()
            assert waiting and not answering.done()
        for done in waiting:
            done(None)
        return await answering

    return host.do(work())


def test_a_volume_is_there_before_the_disk_has_taken_the_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    with contextlib.closing(ApiHost()) as host:
        look = lambda: seen.append(host.engine.volume("data") is not None)  # noqa: E731
        assert asked(host, CREATE, look, monkeypatch).status == 201
    assert seen == [True]


@pytest.mark.parametrize("is_empty", [True, False])
@pytest.mark.parametrize(("call", "status"), [(REMOVE, 204), (PRUNE, 200)], ids=["remove", "prune"])
def test_what_is_in_a_volume_stays_until_the_disk_has_taken_the_wish(
    call: Call, status: int, is_empty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No agent would put it back, should a power cut take the wish."""
    seen: list[bool] = []
    with contextlib.closing(ApiHost()) as host:
        assert host.ask(CREATE).status == 201
        if not is_empty:
            host.engine.full_volumes.add("data")
        look = lambda: seen.append(host.engine.volume("data") is not None)  # noqa: E731
        assert asked(host, call, look, monkeypatch).status == status
        assert host.engine.volume("data") is None
    assert seen == [not is_empty]


def test_an_agent_that_dies_meanwhile_leaves_what_was_wished(monkeypatch: pytest.MonkeyPatch) -> None:
    """No end of the agent takes back what is done already."""
    with contextlib.closing(ApiHost()) as host:
        asked(host, CREATE, lambda: None, monkeypatch)
        with monkeypatch.context() as patch:
            patch.setattr(Writer, "sync", lambda _writer, _store, _done: None)
            host.die_over(REMOVE, TURNS)
        host.run(5)
        assert host.engine.volume("data") is None
        with monkeypatch.context() as patch:
            patch.setattr(Writer, "sync", lambda _writer, _store, _done: None)
            host.die_over(CREATE, TURNS)
        host.run(5)
        assert host.engine.volume("data") is not None
        assert host.ask(REMOVE).status == 204
