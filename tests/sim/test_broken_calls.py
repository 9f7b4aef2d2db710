"""Clients that break off, and agents that are killed, at each turn of the event loop in the middle of a call:
all of what was asked for is done or nothing of it, the same call is possible again, and nothing stays of what
cannot be.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from agent.api.docker import wishes
from runtime.errors import Conflict, Invalid, SetpointError, Temporary
from store.records import Key
from tests.sim.api_host import Answer, ApiHost, Call, End, hosts

pytestmark = pytest.mark.usefixtures("threads_in_turns")
KEPT = "kept"
BODY: dict[str, Any] = {
    "Image": "busybox:latest", "Volumes": {"/own": {}},
    "HostConfig": {"Binds": [f"{KEPT}:/data"], "NetworkMode": "one"},
}  # fmt: skip
CREATE = Call("POST", "/containers/create?name=box", BODY)
START = Call("POST", "/containers/box/start")
PAUSE, UNPAUSE = (Call("POST", f"/containers/box/{what}") for what in ("pause", "unpause"))
UPDATE = Call("POST", "/containers/box/update", {"Memory": 1 << 25})
REMOVE = Call("DELETE", "/containers/box?force=1&v=1")
ONE, TWO = (Call("POST", "/networks/create", {"Name": name}) for name in ("one", "two"))
DATA = Call("POST", "/volumes/create", {"Name": "data"})
A_WHILE = 700.0  # longer than any call waits


@pytest.fixture
def host() -> Iterator[ApiHost]:
    with contextlib.closing(ApiHost()) as made:
        yield made


def volumes(host: ApiHost) -> set[str]:
    return {each.name for each in host.engine.list_volumes()}


def refuses(host: ApiHost, op: str, error: SetpointError) -> None:
    host.engine.fault = lambda asked, _subject: error if asked == op else None


def refuses_nothing(host: ApiHost) -> None:
    host.engine.fault = lambda _op, _subject: None


def take_all(host: ApiHost) -> None:
    """Away with it: nothing that is left is in the way of that, and nothing is left then."""
    for state in host.engine.list():
        assert host.ask(Call("DELETE", f"/containers/{state.id}?force=1&v=1")).status == 204
    for network in host.engine.list_networks():
        if network.name != "bridge":
            assert host.ask(Call("DELETE", f"/networks/{network.name}")).status == 204
    for volume in host.engine.list_volumes():
        assert host.ask(Call("DELETE", f"/volumes/{volume.name}")).status == 204
    assert not volumes(host) and not host.engine.list() and not host.engine.list_sandboxes()
    assert not [key for key in host.loop.objects() if key.project == "@api"]


# --- what can be ------------------------------------------------------------------------------------


def test_a_create(end: End) -> None:
    for host, answer, when in hosts(end, CREATE, ONE):
        host.run(1.0)
        is_there = "box" in host.engine.names
        assert len(volumes(host) - {KEPT}) == is_there, when
        again = host.ask(CREATE).status
        assert again == 201 or (again == 409 and answer.status == 201), when
        assert host.ask(REMOVE).status == 204, when
        assert volumes(host) == {KEPT}, when
        take_all(host)


def test_a_create_that_is_asked_for_again_at_once() -> None:
    """While the first is being let go, whose name is waited for."""
    for host, answer, when in hosts(ApiHost.break_off, CREATE, ONE):
        assert host.ask(CREATE).status == (409 if answer.status else 201), when
        host.run(1.0)
        assert len(volumes(host)) == 2, when
        assert host.ask(REMOVE).status == 204, when
        assert volumes(host) == {KEPT}, when


@pytest.mark.parametrize("turns", range(1, 16))
def test_the_name_of_what_is_not_there_yet_and_is_not_wanted_any_more(host: ApiHost, turns: int) -> None:
    """The engine is about to make it, as when many are made at once: it comes, and goes."""
    body = {"Image": BODY["Image"], "HostConfig": {"NetworkMode": "none"}}
    create = Call(CREATE.method, CREATE.path, body)
    host.engine.begin_takes = 0.1
    host.break_off(create, turns)
    host.run(0.05)
    assert not host.engine.list() and host.ask(create).status == 201


def test_a_name_that_does_not_come_free_is_taken(host: ApiHost) -> None:
    for each in (ONE, CREATE, START):
        host.ask(each)
    host.engine.fault = lambda op, _subject: Temporary("delete", "box", "busy") if op == "delete" else None
    host.break_off(REMOVE, 10)
    assert host.ask(CREATE).status == 409
    refuses_nothing(host)
    assert host.ask(CREATE).status == 201


@pytest.mark.parametrize(
    ("call", "again", "phase", "networks"),
    [
        (START, (204, 304), "running", {"one"}),
        (Call("POST", "/containers/box/stop"), (204, 304), "stopped", {"one"}),
        (Call("POST", "/containers/box/restart"), (204,), "running", {"one"}),
        (Call("POST", "/containers/box/kill"), (204, 409), "stopped", {"one"}),
        (PAUSE, (204, 409), "paused", {"one"}),
        (UNPAUSE, (204, 409), "running", {"one"}),
        (UPDATE, (200,), "running", {"one"}),
        (Call("POST", "/containers/box/rename?name=box2"), (204, 404), "running", {"one"}),
        (Call("POST", "/networks/two/connect", {"Container": "box"}), (200, 403), "running", {"one", "two"}),
        (Call("POST", "/networks/one/disconnect", {"Container": "box"}), (200, 409), "running", set()),
    ],
    ids=lambda each: each.path.split("?")[0].rpartition("/")[2] if isinstance(each, Call) else "",
)
def test_a_change(end: End, call: Call, again: tuple[int, ...], phase: str, networks: set[str]) -> None:
    runs = () if call == START else (START, PAUSE) if call == UNPAUSE else (START,)
    for host, _, when in hosts(end, call, ONE, TWO, CREATE, *runs):
        assert host.ask(call).status in again, when
        (state,) = host.engine.list()
        assert state.phase == phase and {each.network for each in state.endpoints} == networks, when
        assert state.name == ("box2" if "rename" in call.path else "box"), when
        assert call != UPDATE or state.resources.memory_bytes == 1 << 25, when
        take_all(host)


@pytest.mark.parametrize(
    ("call", "before", "again"),
    [
        (REMOVE, (ONE, CREATE, START), (204, 404)),
        (Call("DELETE", "/containers/box?v=1"), (ONE, CREATE), (204, 404)),
        (Call("DELETE", "/networks/two"), (TWO,), (204, 404)),
        (Call("DELETE", "/volumes/data"), (DATA,), (204, 404)),
        (Call("POST", "/networks/prune"), (TWO,), (200,)),
        (Call("POST", "/volumes/prune?filters=%7B%22all%22%3A%5B%22true%22%5D%7D"), (DATA,), (200,)),
    ],
    ids=["container", "created", "network", "volume", "networks", "volumes"],
)
def test_a_removal(end: End, call: Call, before: tuple[Call, ...], again: tuple[int, ...]) -> None:
    for host, _, when in hosts(end, call, *before):
        assert host.ask(call).status in again, when
        host.run(1.0)  # of what the first call goes on with
        assert not host.engine.list() and volumes(host) <= {KEPT}, when
        assert {each.name for each in host.engine.list_networks()} <= {"one", "bridge"}, when
        for each in before:
            assert host.ask(each).status in (201, 204) or each == ONE, when
        take_all(host)


def test_containers_that_are_pruned(end: End) -> None:
    """One after the other, and their volumes stay, as with Docker's daemon."""
    prune, other = Call("POST", "/containers/prune"), Call("POST", "/containers/create?name=other", BODY)
    for host, _, when in hosts(end, prune, ONE, CREATE, other):
        assert host.ask(prune).status == 200, when
        host.run(1.0)
        assert not host.engine.list() and len(volumes(host)) == 3, when
        for each in (CREATE, other):
            assert host.ask(each).status == 201, when
        take_all(host)


@pytest.mark.parametrize("call", [TWO, DATA], ids=["network", "volume"])
def test_a_thing_that_is_made(end: End, call: Call) -> None:
    for host, _, when in hosts(end, call):
        host.run(1.0)
        assert host.ask(call).status in (201, 409), when
        assert len(host.engine.list_networks()) + len(volumes(host)) == 1, when
        take_all(host)


# --- what cannot be ---------------------------------------------------------------------------------


def test_a_create_that_cannot_be() -> None:
    for host, _, when in hosts(_refused("assemble", Invalid("create", "box", "no such device")), CREATE, ONE):
        host.run(A_WHILE)
        assert not host.engine.list() and volumes(host) <= {KEPT}, when
        refuses_nothing(host)
        assert host.ask(CREATE).status == 201, when


def test_a_create_that_fails_late_is_told(host: ApiHost) -> None:
    """It is known as soon as its name is taken; volumes that are being filled may find the disk full."""
    host.ask(ONE)
    host.engine.assembly_takes = 5.0
    refuses(host, "assemble", Invalid("create", "box", "no such device"))
    assert host.ask(CREATE).status == 400
    assert not host.engine.list() and volumes(host) <= {KEPT}


@pytest.mark.parametrize("removes", [False, True], ids=["", "--rm"])
def test_a_start_that_cannot_be(end: End, removes: bool) -> None:
    """It is not tried again by itself, says why, and goes where it was to go when it has ended."""
    create = Call(CREATE.method, CREATE.path, BODY | {"HostConfig": {"AutoRemove": removes}})
    why = Invalid("start", "box", "no such program")
    for host, _, when in hosts(_refused("start", why, end), START, create):
        host.run(A_WHILE)
        tries = [op for op, _ in host.engine.calls].count("start")
        if not tries:  # nothing had been said yet
            continue
        assert tries <= (1 if end is ApiHost.break_off else 2), when
        refuses_nothing(host)
        host.run(A_WHILE)
        assert [op for op, _ in host.engine.calls].count("start") == tries, when
        assert bool(host.engine.list()) == bool(volumes(host) - {KEPT}) == (not removes), when
        if not removes and end is ApiHost.break_off:
            spec = host.loop.objects()[_box(host)].spec
            assert spec["ensure"] == "stopped" and "no such program" in spec["asked"]["start_error"], when


def _box(host: ApiHost) -> Key:
    return next(key for key in host.loop.objects() if key.kind == "container")


@pytest.mark.parametrize(
    ("call", "op", "before"),
    [
        (TWO, "create_network", ()),
        (DATA, "create_volume", ()),
        (Call("POST", "/networks/two/connect", {"Container": "box"}), "connect", (ONE, TWO, CREATE, START)),
        (UPDATE, "update", (ONE, CREATE, START)),
        (Call("POST", "/containers/box/rename?name=box2"), "rename", (ONE, CREATE, START)),
    ],
    ids=["network", "volume", "connect", "update", "rename"],
)
def test_what_cannot_be_is_not_wanted_for_ever(call: Call, op: str, before: tuple[Call, ...]) -> None:
    """A moment later it can be, for who asks again."""
    for host, _, when in hosts(_refused(op, Conflict(op, "it", "10.1.0.0/16 overlaps")), call, *before):
        host.run(A_WHILE)
        is_refused = any(each == op for each, _ in host.engine.calls)
        refuses_nothing(host)
        host.engine.calls.clear()
        host.run(A_WHILE)
        assert op not in [each for each, _ in host.engine.calls], when
        for record in host.loop.objects().values() if is_refused else ():
            assert record.spec.get("container_name") != "box2" and "mem_limit" not in record.spec, when
        assert host.ask(call).status in (200, 201, 204), when
        take_all(host)


def test_what_somebody_else_wishes_meanwhile_is_his(host: ApiHost) -> None:
    """A start takes long, and its client goes; another one stops the container: nothing is taken back when
    the time is over that a start has."""
    for each in (ONE, Call(CREATE.method, CREATE.path, BODY | {"HostConfig": {"AutoRemove": True}})):
        host.ask(each)
    host.engine.start_takes = A_WHILE
    host.break_off(START, 6)
    host.do(wishes.change(host.context, _box(host), ensure="stopped"))
    host.run(A_WHILE - 1.0)
    assert not host.loop.objects()[_box(host)].deleting


def test_few_wait_alone(host: ApiHost) -> None:
    """Of many that break off over one container, one stays, and none once it is so."""
    for each in (ONE, CREATE):
        host.ask(each)
    host.engine.start_takes = 50.0
    for _ in range(20):
        host.break_off(START, 6)
    assert len(host.context.alone) == 1 == host.do(_count("_wait_alone"))
    host.run(60.0)
    assert not host.context.alone
    (state,) = host.engine.list()
    assert state.phase == "running"


async def _count(name: str) -> int:
    """Tasks."""
    return sum(getattr(task.get_coro(), "__name__", "") == name for task in asyncio.all_tasks())


def _refused(op: str, error: SetpointError, end: End = ApiHost.break_off) -> End:
    """The same end, of what cannot be."""

    def refused(host: ApiHost, call: Call, turns: int) -> Answer:
        refuses(host, op, error)
        host.engine.calls.clear()
        return end(host, call, turns)

    return refused
