"""The same as `test_broken_calls`, of what goes past the loop to the engine: execs, images, what a manifest
owns and somebody takes into his own hands, and what he gives to one.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.api.docker import execs
from agent.manifest.spec import ContainerSpec
from agent.wire import PREFIX
from store.records import Key
from tests.sim.api_host import EXEC_SECONDS, ApiHost, Call, End, Listener, hosts
from tests.sim.fake_engine import BUSYBOX
from tests.sim.test_broken_calls import CREATE, ONE, START

pytestmark = pytest.mark.usefixtures("threads_in_turns")
EXEC = Call("POST", "/containers/box/exec", {"Cmd": ["true"]})
COMMIT = Call("POST", "/commit?container=box&repo=made", {})
TAG = Call("POST", "/images/busybox/tag?repo=made")
UNTAG = Call("DELETE", "/images/made")
PRUNE = Call("POST", "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D")
KEEP = Call("POST", "/containers/box/checkpoints", {"CheckpointID": "one", "Exit": True})
LISTENED_TURNS = 40  # in which no exec ends
CREATE_ALONE = Call("POST", CREATE.path, {"Image": "busybox:latest", "HostConfig": {"NetworkMode": "none"}})
WEB = Key.parse("shop/container/web")


def told(host: ApiHost) -> Counter[str]:
    """What the history has, by action."""
    host.do(host.loop.flush())
    actions = (each.action for event in host.store.events() for each in event.happenings)
    return Counter(action.partition(":")[0] for action in actions)


# --- execs ------------------------------------------------------------------------------------------


def _made(host: ApiHost) -> str:
    return str(host.ask(EXEC).json["Id"])


def _start(host: ApiHost) -> Call:
    return Call("POST", f"/exec/{_made(host)}/start", {"Detach": True})


def test_an_exec_that_is_started(end: End) -> None:
    """It runs once, or not at all. Nothing of it is held when it has ended."""
    for host, answer, when in hosts(end, _start, ONE, CREATE, START):
        begun = len(host.engine.executed)
        assert begun <= 1, when
        if end is ApiHost.die_over:
            assert host.ask(_start(host)).status == 200, when
        else:
            (each,) = host.context.execs.ids_of(host.engine.list()[0].id)
            again = host.ask(Call("POST", f"/exec/{each}/start", {"Detach": True})).status
            assert again == (200 if not begun and again != 409 else 409), when
        host.run(EXEC_SECONDS + 1.0)
        here = host.engine.executed[begun if end is ApiHost.die_over else 0 :]
        assert len(here) == 1 and here[0].is_released, (when, answer)
        assert not host.context.execs.ids_of(host.engine.list()[0].id), when
        assert told(host)["exec_die"] == 1, when


def _listen(host: ApiHost) -> Call:
    return Call("POST", f"/exec/{_made(host)}/start", {})


def test_an_exec_that_is_listened_to(end: End, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who goes away leaves it running, and somebody still waits for its end."""
    monkeypatch.setattr(execs, "hijack", lambda _request, framed: Listener())
    most = 0
    for host, _, when in hosts(end, _listen, ONE, CREATE, START, turns=LISTENED_TURNS):
        begun = len(host.engine.executed)
        most = max(most, begun)
        assert begun <= 1, when
        assert host.do(_answered(host)) == 101, when
        host.run(EXEC_SECONDS + 1.0)
        here = host.engine.executed[0 if end is ApiHost.break_off else begun :]
        assert all(each.is_released for each in here), when
        waiting = host.context.execs.ids_of(host.engine.list()[0].id)
        assert len(waiting) == (end is ApiHost.break_off and not begun), when
        count = told(host)["exec_die"]
        assert count == len(here), (when, count)
    assert most == 1


async def _answered(host: ApiHost) -> int:
    """Of one that is heard to its end."""
    made = await host._answer(EXEC)
    call = Call("POST", f"/exec/{made.json['Id']}/start", {})
    return (await host._answer(call)).status


# --- images -----------------------------------------------------------------------------------------


def _is_told_as_done(host: ApiHost, action: str, is_done: bool, when: str, end: End) -> None:
    """Nothing is told of what was not done; what was done is told once, unless the agent died over it."""
    count = told(host)[action]
    assert count == is_done or (end is ApiHost.die_over and is_done and not count), (when, count)


def test_a_commit(end: End) -> None:
    for host, _, when in hosts(end, COMMIT, ONE, CREATE, START):
        host.run(1.0)
        _is_told_as_done(host, "commit", "made:latest" in host.engine.images, when, end)
        if end is ApiHost.break_off:
            assert told(host)["pause"] == told(host)["unpause"], when
        assert host.ask(COMMIT).status == 201, when
        assert "made:latest" in host.engine.images and told(host)["commit"] in (1, 2), when


def test_a_name_for_an_image(end: End) -> None:
    for host, _, when in hosts(end, TAG):
        host.run(1.0)
        _is_told_as_done(host, "tag", "made:latest" in host.engine.images, when, end)
        assert host.ask(TAG).status == 201, when
        assert "made:latest" in host.engine.images, when


def test_an_image_that_is_removed(end: End) -> None:
    for host, _, when in hosts(end, UNTAG, TAG):
        host.run(1.0)
        _is_told_as_done(host, "untag", "made:latest" not in host.engine.images, when, end)
        assert host.ask(UNTAG).status in (200, 404), when
        assert set(host.engine.images) == {"busybox:latest"}, when


def _two_images(host: ApiHost) -> None:
    """Of which one is no container's."""
    for each in (ONE, CREATE):
        host.ask(each)
    host.engine.images["spare:latest"] = replace(BUSYBOX, id=f"sha256:{'5' * 64}", names=("spare:latest",))


def test_images_that_nobody_needs(end: End) -> None:
    for host, _, when in hosts(end, PRUNE, _two_images):
        host.run(1.0)
        for action in ("untag", "delete", "prune"):
            _is_told_as_done(host, action, "spare:latest" not in host.engine.images, when, end)
        assert host.ask(PRUNE).status == 200, when
        assert set(host.engine.images) == {"busybox:latest"}, when


# --- checkpoints ------------------------------------------------------------------------------------


def test_a_checkpoint_with_which_a_container_stops(end: End) -> None:
    """There is one and it has stopped, or it runs on: none stays frozen."""
    for host, _, when in hosts(end, KEEP, ONE, CREATE, START):
        host.run(30.0)
        (state,) = host.engine.list()
        kept = bool(host.engine.checkpoints.names.get(state.id))
        assert state.phase == "running" or (state.phase == "stopped" and kept), (when, state.phase)
        assert end is ApiHost.die_over or kept == (state.phase == "stopped"), when
        _is_told_as_done(host, "checkpoint", kept, when, end)
        assert host.ask(KEEP).status == (409 if kept else 201), when
        assert host.engine.checkpoints.names[state.id] == ["one"], when
        if state.phase == "running" and kept:  # its agent died between the two
            host.engine.checkpoints.names.clear()
            assert host.ask(KEEP).status == 201, when
        assert _phases(host) == ["stopped"], when
        assert host.ask(START).status == 204, when


# --- what a manifest owns ---------------------------------------------------------------------------


def _two(host: ApiHost) -> None:
    """Of one object, and both run."""
    spec = {"image": "busybox:latest", "network_mode": "none", "scale": 2}
    host.submit({str(WEB): ContainerSpec.model_validate(spec)})
    host.settle()
    host.do(host.loop.flush())
    assert len(host.engine.running()) == 2


def _two_paused(host: ApiHost) -> None:
    _two(host)
    assert host.ask(_native("pause")).status == 200


def _native(what: str) -> Call:
    return Call("POST", f"{PREFIX}/override/{WEB}?what={what}&for=3600")


def _docker(what: str) -> Call:
    return Call("POST", f"/containers/shop-web-1/{what}", override="1h")


@pytest.mark.parametrize("call", [_native, _docker], ids=["native", "docker"])
@pytest.mark.parametrize(
    ("what", "before", "phase"),
    [
        ("stop", _two, "stopped"),
        ("restart", _two, "running"),
        ("kill", _two, "stopped"),
        ("pause", _two, "paused"),
        ("unpause", _two_paused, "running"),
    ],
)
def test_an_override(
    end: End, call: Callable[[str], Call], what: str, before: Callable[[ApiHost], None], phase: str
) -> None:
    """All of an object's containers, or none: half of it, left alone for an hour, is nobody's wish."""
    count = 2 if call is _native else 1
    begun_before = before is _two_paused
    for host, answer, when in hosts(end, call(what), before):
        host.run(30.0)
        begun = [event.reason for event in host.store.events(WEB)].count("Overridden") - begun_before
        if end is ApiHost.break_off and begun:
            assert _phases(host).count(phase) >= count, (when, _phases(host))
        assert begun or not answer.status, when
        assert host.ask(call(what)).status in (200, 204, 304, 409), when
        assert _phases(host).count(phase) >= count, (when, _phases(host))


def _phases(host: ApiHost) -> list[str]:
    return [state.phase for state in host.engine.list()]


def _given(host: ApiHost) -> Call:
    key = next(key for key in host.loop.objects() if key.kind == "container")
    return Call("POST", f"{PREFIX}/adopt/{key}?hand_over=1", {"path": "shop/box.compose.yaml"})


def test_what_a_manifest_is_given(end: End) -> None:
    """It is the API's until a manifest says so, and the same call gives the same text."""
    for host, _, when in hosts(end, _given, CREATE_ALONE, START):
        again = host.ask(_given(host))
        assert again.status == 200 and not again.json["problems"], (when, again)
        host.run(60.0)
        (state,) = host.engine.list()
        assert state.phase == "running" and state.name == "box", when
        assert [op for op, _ in host.engine.calls].count("start") == 1, when


# --- what no manifest is known for ------------------------------------------------------------------


def _forgotten(host: ApiHost) -> None:
    """The database is lost, and the source cannot be read."""
    _two(host)
    host.crash()
    host.lose_database()
    host.boot()
    host.run(1.0)


@pytest.mark.parametrize(
    "call",
    [
        *(Call("POST", f"/containers/shop-web-1/{what}") for what in ("stop", "restart", "kill", "pause")),
        Call("POST", "/containers/shop-web-1/rename?name=other"),
        Call("POST", "/containers/shop-web-1/update", {"Memory": 1 << 25}),
        Call("DELETE", "/containers/shop-web-1?force=1"),
        _docker("stop"),
    ],
    ids=lambda call: call.path.split("?")[0].rpartition("/")[2] + call.override,
)
def test_what_an_agent_does_not_know_yet_is_left_alone(call: Call) -> None:
    with contextlib.closing(ApiHost()) as host:
        _forgotten(host)
        answer = host.ask(call)
        assert answer.status == 409 and "is not read yet" in answer.json["message"], answer
        assert len(host.engine.running()) == 2
