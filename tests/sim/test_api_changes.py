"""What the Docker API asks of a container that is there: another name, other networks. Whatever fails or is
killed in the middle, it comes to be so, and the container runs on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from agent.manifest.hashing import hashes
from agent.manifest.objects import Object, Where
from agent.manifest.spec import AnySpec, Asked, Attachment, ContainerSpec, NetworkSpec
from runtime.errors import Temporary
from runtime.model import ContainerState
from store.records import EventRecord, Key
from tests.sim.fake_engine import BUSYBOX
from tests.sim.host import Host
from tests.sim.test_anything import CrashingEngine

BOX = Key("@api", "container", "0123456789ab")
BRIDGE = "engine/network/bridge"


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host(CrashingEngine)
    yield host
    assert host.observer.bugs == [] and host.engine.violations == []
    host.close()


def box(name: str = "box", *networks: str, **fields: object) -> ContainerSpec:
    attachments = {each: Attachment(priority=-n) for n, each in enumerate(networks)}
    return ContainerSpec.model_validate(
        {"image": BUSYBOX.id, "container_name": name, "networks": attachments, "asked": Asked(), **fields}
    )


def put(host: Host, key: Key, spec: AnySpec) -> None:
    whole, recreate = hashes(spec)
    host.do(host.loop.put(Object(key, spec, Where("", 0), whole, recreate)))


def network(host: Host, *names: str) -> None:
    for name in names:
        put(host, Key("@api", "network", name), NetworkSpec(name=name))


def rest(host: Host) -> None:
    host.run(700)
    assert host.plan() == "", host.phases()


def seen(host: Host) -> ContainerState:
    (state,) = host.engine.list()
    return state


def test_a_name_and_networks_change_and_it_runs_on(host: Host) -> None:
    network(host, "one", "two")
    put(host, BOX, box("box", "one"))
    rest(host)
    pid = seen(host).pid
    put(host, BOX, box("other", "one", "two"))
    rest(host)
    state = seen(host)
    assert (state.pid, state.name, state.addresses.keys()) == (pid, "other", {"one", "two"})
    assert [each.network for each in state.endpoints] == ["one", "two"]
    assert state.endpoints[1].aliases == (BOX.name, "other")
    put(host, BOX, box("other"))
    rest(host)
    assert seen(host).pid == pid and seen(host).addresses == {}
    host.do(host.loop.remove(Key("@api", "network", "one")))
    rest(host)
    assert [each.name for each in host.engine.list_networks()] == ["two"]


def test_off_the_default_network_and_on_to_another(host: Host) -> None:
    put(host, BOX, box(network_mode="bridge"))
    rest(host)
    assert seen(host).addresses.keys() == {"bridge"}
    pid = seen(host).pid
    network(host, "one")
    put(host, BOX, box("box", BRIDGE, "one"))
    rest(host)
    assert seen(host).addresses.keys() == {"bridge", "one"}
    put(host, BOX, box("box", "one"))
    rest(host)
    assert seen(host).addresses.keys() == {"one"} and seen(host).pid == pid
    put(host, BOX, box("box", "one", BRIDGE))
    rest(host)
    assert seen(host).addresses.keys() == {"bridge", "one"} and seen(host).pid == pid


def test_the_default_network_stays_once_the_api_used_it(host: Host) -> None:
    put(host, BOX, box(network_mode="bridge"))
    rest(host)
    host.do(host.loop.remove(BOX))
    rest(host)
    assert host.engine.list() == () and [each.name for each in host.engine.list_networks()] == ["bridge"]
    host.do(host.loop.down())
    assert host.engine.list_networks() == () and host.loop.objects() == {}


def test_a_network_that_was_being_removed_is_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start of a container right after the last one has left: the kernel takes its time with a bridge."""
    delete = host.engine.delete_network

    async def slowly(name: str) -> None:
        await delete(name)
        await asyncio.sleep(1.0)

    network(host, "one")
    rest(host)
    monkeypatch.setattr(host.engine, "delete_network", slowly)
    host.do(host.loop.remove(Key("@api", "network", "one")))
    host.run(0.5)
    assert host.engine.list_networks() == ()
    network(host, "one")
    put(host, BOX, box("box", "one"))
    rest(host)
    assert seen(host).addresses.keys() == {"one"}
    host.do(host.loop.flush())
    assert [event.reason for event in host.store.events(BOX)] == ["Created", "Started"]


def test_what_does_not_run_changes_too(host: Host) -> None:
    network(host, "one", "two")
    put(host, BOX, box("box", "one", ensure="stopped", mem_limit=1 << 20))
    rest(host)
    assert seen(host).phase == "created"
    put(host, BOX, box("other", "two", ensure="stopped", mem_limit=2 << 20))
    rest(host)
    state = seen(host)
    assert (state.name, [each.network for each in state.endpoints]) == ("other", ["two"])
    assert state.resources.memory_bytes == 2 << 20 and state.phase == "created"


def test_a_manifest_s_container_is_made_anew_as_ever(host: Host) -> None:
    web = ContainerSpec(image="busybox:latest", container_name="one")
    host.submit({"shop/network/default": NetworkSpec(), "shop/container/web": web})
    rest(host)
    before = seen(host).id
    web = ContainerSpec(image="busybox:latest", container_name="two")
    host.submit({"shop/network/default": NetworkSpec(), "shop/container/web": web})
    rest(host)
    assert seen(host).name == "two" and seen(host).id != before


@pytest.mark.parametrize("way", ["killed before", "killed after", "failed before", "failed after"])
@pytest.mark.parametrize("at", range(4))
def test_broken_off_at_any_step(host: Host, way: str, at: int) -> None:
    """Three steps: a name, one network left, another joined."""
    engine = host.engine
    assert isinstance(engine, CrashingEngine)
    network(host, "one", "two")
    put(host, BOX, box("box", "one"))
    rest(host)
    pid = seen(host).pid
    if way == "killed before":
        engine.halt_before = engine.count + at
    elif way == "killed after":
        engine.halt_before = engine.count + at + 1
    else:
        faults = engine.fail_at if way == "failed before" else engine.half_at
        faults[engine.count + at + 1] = Temporary("x", "y", "not now")
    put(host, BOX, box("other", "two"))
    host.run(0.5)
    if way.startswith("killed"):
        host.crash()
        engine.heal()
        host.boot()
    rest(host)
    state = seen(host)
    assert (state.pid, state.name, state.addresses.keys()) == (pid, "other", {"two"})


def test_a_network_that_is_not_there_yet_is_waited_for_and_nothing_else(host: Host) -> None:
    network(host, "one")
    put(host, BOX, box("box", "one"))
    rest(host)
    put(host, BOX, box("other", "one", "late"))
    host.run(30)
    assert (seen(host).name, seen(host).addresses.keys()) == ("other", {"one"})
    assert host.loop.failure_of(BOX) is None
    network(host, "late")
    host.run(1)
    assert seen(host).addresses.keys() == {"one", "late"}
    rest(host)


def test_a_name_that_another_has_is_told_and_had_later(host: Host) -> None:
    other = Key("@api", "container", "ba9876543210")
    network(host, "one")
    put(host, BOX, box("box", "one"))
    put(host, other, box("taken", "one"))
    rest(host)
    put(host, BOX, box("taken", "one"))
    host.run(5)
    failure = host.loop.failure_of(BOX)
    assert failure is not None and "has the name taken" in failure.message
    assert sorted(host.running()) == ["box", "taken"]
    put(host, other, box("free", "one"))
    rest(host)
    assert sorted(host.running()) == ["free", "taken"]


def test_what_is_forgotten_while_its_removal_is_stored_is_not_waited_for(host: Host) -> None:
    """The loop may be done with it before the one who asked has his answer."""
    network(host, "one")
    host.settle()
    key = Key("@api", "network", "one")

    async def remove_slowly() -> None:
        removal = asyncio.ensure_future(host.loop.remove(key))
        await asyncio.sleep(0)  # it is let go, and being stored
        host.loop.wake(key)
        while key in host.loop.objects():
            await asyncio.sleep(0)
        await removal

    flush = host.loop.journal.flush

    async def slow_flush() -> None:
        while key in host.loop.objects():
            await asyncio.sleep(0)
        await flush()

    host.loop.journal.flush = slow_flush  # type: ignore[method-assign]
    host.do(remove_slowly())
    assert host.loop.is_ready()


def test_a_namespace_of_a_container_that_is_lost_goes(host: Host) -> None:
    network(host, "one")
    put(host, BOX, box("box", "one"))
    rest(host)
    host.crash()
    host.lose_database()
    host.engine.lose_containers()
    host.boot()
    host.submit({})
    rest(host)
    assert host.engine.list_sandboxes() == ()
    assert BOX not in host.loop.objects()
    host.do(host.loop.remove(Key("@api", "network", "one")))
    rest(host)
    assert host.engine.list_networks() == ()


def test_followers_hear_of_an_end_when_it_is_stored_and_of_all_else_at_once(host: Host) -> None:
    """An agent that is killed before it has stored an end leaves it to be found, and told, by the next."""
    told: list[str] = []

    def tell(event: EventRecord) -> bool:
        told.extend(happening.action for happening in event.happenings)
        return True

    host.loop.journal.followed_by(tell)
    put(host, BOX, box())
    rest(host)
    assert told == ["create", "start"]
    put(host, BOX, box("other"))
    rest(host)
    assert told == ["create", "start", "rename"]
    put(host, BOX, box("other", ensure="stopped"))
    rest(host)
    host.do(host.loop.flush())
    assert seen(host).phase != "running"
    assert told == ["create", "start", "rename"]
    stored = [happening.action for event in host.store.events() for happening in event.happenings]
    assert {"kill", "die", "stop"} <= set(stored)
