"""What `runtime.face.Engine` promises, held to the fake and to the real one alike."""

from __future__ import annotations

import asyncio
import dataclasses
from ipaddress import IPv6Address, IPv6Network

import pytest

from runtime.errors import Conflict, NotFound
from runtime.model import (
    EndpointConfig,
    Ipv6Config,
    MountConfig,
    NetworkConfig,
    PortConfig,
    Resources,
    SandboxConfig,
    VolumeConfig,
)
from tests.contract.subject import Subject


async def test_created_is_not_running(subject: Subject) -> None:
    config = subject.config("one", labels={"k": "v"})
    await subject.engine.create(config)
    (state,) = subject.engine.list()
    assert state == subject.engine.state(config.id)
    assert (state.phase, state.pid, state.started_at, state.exit_code) == ("created", None, None, None)
    assert (state.name, state.labels, state.image) == ("one", {"k": "v"}, config.image)
    assert state.created_at > 0 and state.addresses == {}


async def test_create_again_does_nothing_and_another_config_is_a_conflict(subject: Subject) -> None:
    config = subject.config("one")
    await subject.engine.create(config)
    before = subject.engine.list()
    await subject.engine.create(config)
    assert subject.engine.list() == before
    with pytest.raises(Conflict):
        await subject.engine.create(dataclasses.replace(config, hostname="other"))
    assert subject.engine.list() == before


async def test_an_image_that_is_not_there(subject: Subject) -> None:
    assert subject.engine.image("busybox:latest") is not None
    assert subject.engine.image("no/such:image") is None
    with pytest.raises(NotFound):
        await subject.engine.create(dataclasses.replace(subject.config("one"), image="sha256:" + "0" * 64))
    assert subject.engine.list() == ()


async def test_what_is_known_of_an_image(subject: Subject) -> None:
    """By a name it is that name, by an id each that it has; of what is not there nothing."""
    image = subject.engine.image("busybox:latest")
    assert image is not None
    (facts,) = subject.engine.image_facts("busybox:latest")
    assert (facts.name, facts.is_exact) == ("docker.io/library/busybox:latest", False)
    assert facts.architecture == image.architecture and facts.digests[0] == image.digest
    (exact,) = subject.engine.image_facts(image.id)
    assert exact == dataclasses.replace(facts, is_exact=True)
    assert subject.engine.image_facts("no/such:image") == ()
    assert subject.engine.signatures_state("busybox:latest") is None  # nobody asked


async def test_start_stop_start(subject: Subject) -> None:
    config = subject.config("one")
    await subject.engine.create(config)
    await subject.engine.start(config.id)
    first = await subject.phase(config.id, "running")
    assert first.pid and first.started_at and first.exit_code is None and first.finished_at is None
    await subject.engine.start(config.id)
    assert subject.engine.state(config.id) == first
    await subject.engine.stop(config.id, 0.1)
    stopped = await subject.phase(config.id, "stopped")
    assert stopped.pid is None and stopped.exit_code in (137, 143) and stopped.finished_at
    await subject.engine.stop(config.id, 0.1)
    await subject.engine.start(config.id)
    again = await subject.phase(config.id, "running")
    assert again.pid != first.pid and again.exit_code is None and again.finished_at is None


async def test_what_is_not_there(subject: Subject) -> None:
    gone = "0" * 64
    assert subject.engine.state(gone) is None
    for call in (
        subject.engine.start(gone),
        subject.engine.stop(gone, 1),
        subject.engine.signal(gone, "TERM"),
        subject.engine.pause(gone),
        subject.engine.resume(gone),
        subject.engine.update(gone, Resources()),
        subject.engine.exec(gone, ["true"], timeout_seconds=1),
    ):
        with pytest.raises(NotFound):
            await call
    with pytest.raises(NotFound):
        subject.engine.stats(gone)
    await subject.engine.delete(gone)
    await subject.engine.delete_sandbox("gone")
    await subject.engine.delete_network("gone")
    await subject.engine.delete_volume("gone")


async def test_delete_wants_it_stopped_and_may_be_repeated(subject: Subject) -> None:
    config = subject.config("one")
    await subject.engine.create(config)
    await subject.engine.start(config.id)
    with pytest.raises(Conflict):
        await subject.engine.delete(config.id)
    await subject.engine.stop(config.id, 0)
    await subject.engine.delete(config.id)
    assert subject.engine.state(config.id) is None and subject.engine.list() == ()
    await subject.engine.delete(config.id)


async def test_signals(subject: Subject) -> None:
    config = subject.config("one")
    await subject.engine.create(config)
    with pytest.raises(Conflict):
        await subject.engine.signal(config.id, "KILL")
    await subject.engine.start(config.id)
    await subject.engine.signal(config.id, "SIGKILL")
    assert (await subject.phase(config.id, "stopped")).exit_code == 137


async def test_a_stop_under_way_is_hastened_and_never_delayed(subject: Subject) -> None:
    config = subject.config("one")  # whose process does not end of the signal
    if subject.fake is not None:
        subject.fake.stop_takes = 1000.0
    await subject.engine.create(config)
    await subject.engine.hasten(config.id, 0)
    await subject.engine.start(config.id)
    await subject.engine.hasten(config.id, 0)
    assert (await subject.phase(config.id, "running")).pid, "no stop is under way"
    stop = asyncio.create_task(subject.engine.stop(config.id, 600))
    await asyncio.sleep(0.05)
    await subject.engine.hasten(config.id, 1000)
    assert not stop.done()
    await subject.engine.hasten(config.id, 0.2, "HUP")
    await subject.engine.hasten(config.id, 500)
    await asyncio.wait_for(stop, 30)
    assert (await subject.phase(config.id, "stopped")).exit_code == 137


async def test_pause_and_resume(subject: Subject) -> None:
    config = subject.config("one")
    await subject.engine.create(config)
    with pytest.raises(Conflict):
        await subject.engine.pause(config.id)
    await subject.engine.start(config.id)
    with pytest.raises(Conflict):
        await subject.engine.resume(config.id)
    await subject.engine.pause(config.id)
    assert (await subject.phase(config.id, "paused")).pid
    with pytest.raises(Conflict):
        await subject.engine.pause(config.id)
    with pytest.raises(Conflict):
        await subject.engine.exec(config.id, ["true"], timeout_seconds=1)
    with pytest.raises(Conflict):
        await subject.engine.delete(config.id)
    await subject.engine.resume(config.id)
    await subject.phase(config.id, "running")
    await subject.engine.pause(config.id)
    await subject.engine.stop(config.id, 0.1)
    await subject.phase(config.id, "stopped")


async def test_update_changes_limits_in_place(subject: Subject) -> None:
    config = subject.config("one", resources=Resources(pids=50))
    await subject.engine.create(config)
    await subject.engine.start(config.id)
    pid = subject.engine.state(config.id).pid  # type: ignore[union-attr]
    wanted = Resources(pids=60, memory_bytes=64 << 20)
    await subject.engine.update(config.id, wanted)
    await subject.engine.update(config.id, wanted)
    state = subject.engine.state(config.id)
    assert state is not None and (state.resources, state.pid) == (wanted, pid)
    await subject.engine.create(dataclasses.replace(config, resources=wanted))


async def test_exec(subject: Subject) -> None:
    config = subject.config("one")
    await subject.engine.create(config)
    with pytest.raises(Conflict):
        await subject.engine.exec(config.id, ["true"], timeout_seconds=1)
    await subject.engine.start(config.id)
    result = await subject.engine.exec(config.id, ["true"], timeout_seconds=10)
    assert (result.exit_code, result.output, result.timed_out) == (0, b"", False)


async def test_an_exit_from_outside_is_seen_and_told(subject: Subject) -> None:
    config = subject.config("one")
    await subject.engine.create(config)
    await subject.engine.start(config.id)
    events = subject.engine.events()
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)  # the fake listens from the first anext on
    subject.kill(config.id)
    async with asyncio.timeout(10):
        event = await waiting
    assert (event.kind, event.id) == ("exit", config.id) and event.at > 0
    state = subject.engine.state(config.id)
    assert state is not None and (state.phase, state.exit_code) == ("stopped", 137)
    await events.aclose()  # type: ignore[attr-defined]


async def test_stats_of_what_runs(subject: Subject) -> None:
    config = subject.config("one")
    await subject.engine.create(config)
    await subject.engine.start(config.id)
    stats = subject.engine.stats(config.id)
    assert stats.id == config.id and stats.pids == 1 and stats.at > 0


async def test_networks(subject: Subject) -> None:
    config = NetworkConfig("net", labels={"k": "v"})
    await subject.engine.create_network(config)
    await subject.engine.create_network(config)
    (state,) = subject.engine.list_networks()
    assert (state.name, state.labels, state.internal) == ("net", {"k": "v"}, False)
    assert "/" in state.subnet and state.gateway and state.bridge and state.created_at > 0
    with pytest.raises(Conflict):
        await subject.engine.create_network(dataclasses.replace(config, internal=True))
    await subject.engine.delete_network("net")
    await subject.engine.delete_network("net")
    assert subject.engine.list_networks() == ()


async def test_a_network_with_ipv6(subject: Subject) -> None:
    await subject.engine.create_network(NetworkConfig("net", ipv6=Ipv6Config()))
    await subject.engine.create_network(NetworkConfig("four"))
    six = {each.name: (each.subnet6, each.gateway6) for each in subject.engine.list_networks()}
    assert IPv6Address(six["net"][1]) in IPv6Network(six["net"][0]) and six["four"] == ("", "")
    with pytest.raises(Conflict):
        await subject.engine.create_network(NetworkConfig("net"))
    config = subject.on_network("one", "net")
    wanted = str(IPv6Network(six["net"][0])[0x77])
    other = subject.on_network("two", "net")
    endpoints = (dataclasses.replace(other.sandbox.endpoints[0], ipv6=wanted),)
    other = dataclasses.replace(other, sandbox=dataclasses.replace(other.sandbox, endpoints=endpoints))
    for each in (config, other):
        await subject.engine.create(each)
        await subject.engine.start(each.id)
    running = await subject.phase(config.id, "running")
    assert IPv6Address(running.addresses6["net"]) in IPv6Network(six["net"][0])
    assert (await subject.phase(other.id, "running")).addresses6 == {"net": wanted}
    sandboxes = {each.id: each.addresses6 for each in subject.engine.list_sandboxes()}
    assert sandboxes == {"s-one": running.addresses6, "s-two": {"net": wanted}}
    await subject.engine.stop(config.id, 0)
    assert subject.engine.state(config.id).addresses6 == {}  # type: ignore[union-attr]
    await subject.engine.start(config.id)
    assert (await subject.phase(config.id, "running")).addresses6 == running.addresses6


async def test_a_sandbox_outlives_its_container(subject: Subject) -> None:
    await subject.engine.create_network(NetworkConfig("net"))
    config = subject.on_network("one", "net", labels={"k": "v"})
    await subject.engine.create(config)
    assert subject.engine.list_sandboxes() == ()
    await subject.engine.start(config.id)
    running = await subject.phase(config.id, "running")
    assert running.addresses.keys() == {"net"} and running.sandbox == "s-one"
    (sandbox,) = subject.engine.list_sandboxes()
    assert (sandbox.id, sandbox.labels, sandbox.addresses) == ("s-one", {"k": "v"}, running.addresses)
    await subject.engine.stop(config.id, 0)
    assert subject.engine.state(config.id).addresses == {}  # type: ignore[union-attr]
    await subject.engine.delete(config.id)
    assert [sandbox.id for sandbox in subject.engine.list_sandboxes()] == ["s-one"]
    with pytest.raises(Conflict):
        await subject.engine.delete_network("net")
    again = dataclasses.replace(config, id="e" * 64, name="two")
    await subject.engine.create(again)
    await subject.engine.start(again.id)
    assert (await subject.phase(again.id, "running")).addresses == running.addresses
    await subject.engine.stop(again.id, 0)
    await subject.engine.delete(again.id)
    await subject.engine.delete_sandbox("s-one")
    await subject.engine.delete_sandbox("s-one")
    await subject.engine.delete_network("net")
    assert subject.engine.list_sandboxes() == ()


async def test_joining_a_sandbox(subject: Subject) -> None:
    await subject.engine.create_network(NetworkConfig("net"))
    side = subject.config("side", sandbox=SandboxConfig("join", "s-main"))
    await subject.engine.create(side)
    with pytest.raises(NotFound):
        await subject.engine.start(side.id)
    main = subject.on_network("main", "net")
    await subject.engine.create(main)
    await subject.engine.start(main.id)
    await subject.engine.start(side.id)
    states = [await subject.phase(id, "running") for id in (main.id, side.id)]
    assert states[0].addresses == states[1].addresses


async def test_a_network_that_is_not_there(subject: Subject) -> None:
    config = subject.on_network("one", "no-such-net")
    await subject.engine.create(config)
    with pytest.raises(NotFound):
        await subject.engine.start(config.id)
    assert subject.engine.state(config.id).phase == "created"  # type: ignore[union-attr]


async def test_two_cannot_publish_one_port(subject: Subject) -> None:
    await subject.engine.create_network(NetworkConfig("net"))
    first = subject.on_network("one", "net", PortConfig(80, 28431))
    second = subject.on_network("two", "net", PortConfig(80, 28431))
    for config in (first, second):
        await subject.engine.create(config)
    await subject.engine.start(first.id)
    with pytest.raises(Conflict):
        await subject.engine.start(second.id)
    await subject.engine.stop(first.id, 0)
    await subject.engine.delete(first.id)
    await subject.engine.delete_sandbox("s-one")
    await subject.engine.start(second.id)
    assert (await subject.phase(second.id, "running")).ports == (PortConfig(80, 28431),)


async def test_volumes(subject: Subject) -> None:
    config = VolumeConfig("data", {"k": "v"})
    await subject.engine.create_volume(config)
    await subject.engine.create_volume(config)
    (state,) = subject.engine.list_volumes()
    assert (state.name, state.labels) == ("data", {"k": "v"}) and state.path and state.created_at > 0
    assert subject.engine.volume("data") == state and subject.engine.volume("other") is None
    assert subject.engine.is_volume_empty("data")
    with pytest.raises(Conflict):
        await subject.engine.create_volume(VolumeConfig("data", {"k": "w"}))
    mounts = (MountConfig("volume", "/data", "data"), MountConfig("volume", "/more", "more"))
    user = subject.config("one", mounts=mounts)
    await subject.engine.create(user)
    assert sorted(volume.name for volume in subject.engine.list_volumes()) == ["data", "more"]
    with pytest.raises(Conflict):
        await subject.engine.delete_volume("data")
    await subject.engine.delete(user.id)
    await subject.engine.delete_volume("data")
    await subject.engine.delete_volume("more")
    assert subject.engine.list_volumes() == () and subject.engine.volume("data") is None


async def test_drift_is_found_and_repaired(subject: Subject) -> None:
    config = subject.config("one")
    await subject.engine.create(config)
    await subject.engine.start(config.id)
    assert await subject.engine.find_drift() == ()
    subject.tamper(config.id)
    (drift,) = await subject.engine.find_drift()
    assert (drift.kind, drift.subject) == ("cgroup", config.id) and "pids.max" in drift.detail
    await subject.engine.repair(drift)
    assert await subject.engine.find_drift() == ()
    await subject.engine.stop(config.id, 0)
    await subject.engine.delete(config.id)
    with pytest.raises(NotFound):
        await subject.engine.repair(drift)


async def test_another_name(subject: Subject) -> None:
    """Of what was created, what runs and what has stopped; its address and its process stay."""
    await subject.engine.create_network(NetworkConfig("net"))
    config = subject.on_network("one", "net", labels={"k": "v"})
    await subject.engine.create(config)
    await subject.engine.rename(config.id, "two")
    assert subject.engine.state(config.id).name == "two"  # type: ignore[union-attr]
    await subject.engine.start(config.id)
    before = await subject.phase(config.id, "running")
    await subject.engine.rename(config.id, "three")
    await subject.engine.rename(config.id, "three")
    assert subject.engine.state(config.id) == dataclasses.replace(before, name="three")
    other = subject.config("other")
    await subject.engine.create(other)
    with pytest.raises(Conflict):
        await subject.engine.rename(config.id, "other")
    await subject.engine.stop(config.id, 0)
    await subject.engine.rename(config.id, "one")
    await subject.engine.rename(other.id, "two")
    assert {state.id: state.name for state in subject.engine.list()} == {config.id: "one", other.id: "two"}
    with pytest.raises(Conflict):
        await subject.engine.create(subject.config("two"))
    with pytest.raises(NotFound):
        await subject.engine.rename("0" * 64, "x")


async def test_networks_come_and_go_under_a_running_container(subject: Subject) -> None:
    for name in ("net", "more"):
        await subject.engine.create_network(NetworkConfig(name))
    config = subject.on_network("one", "net")
    await subject.engine.create(config)
    await subject.engine.start(config.id)
    before = await subject.phase(config.id, "running")
    endpoint = EndpointConfig("more", aliases=("alias",))
    await subject.engine.connect(config.id, endpoint, 1)
    await subject.engine.connect(config.id, endpoint, 1)
    state = subject.engine.state(config.id)
    assert state is not None and state.pid == before.pid
    assert state.addresses.keys() == {"net", "more"} and state.addresses["net"] == before.addresses["net"]
    assert state.endpoints == (EndpointConfig("net"), endpoint)
    with pytest.raises(Conflict):
        await subject.engine.delete_network("more")
    with pytest.raises(NotFound):
        await subject.engine.connect(config.id, EndpointConfig("nowhere"), 2)
    await subject.engine.disconnect(config.id, "net")
    await subject.engine.disconnect(config.id, "net")
    await subject.engine.delete_network("net")
    state = subject.engine.state(config.id)
    assert state is not None and state.addresses.keys() == {"more"} and state.endpoints == (endpoint,)
    await subject.engine.disconnect(config.id, "more")
    assert subject.engine.state(config.id).addresses == {}  # type: ignore[union-attr]


async def test_networks_of_what_does_not_run_count_from_its_next_start_on(subject: Subject) -> None:
    for name in ("net", "more"):
        await subject.engine.create_network(NetworkConfig(name))
    config = subject.on_network("one", "net")
    await subject.engine.create(config)
    await subject.engine.connect(config.id, EndpointConfig("more"), 1)
    await subject.engine.start(config.id)
    assert (await subject.phase(config.id, "running")).addresses.keys() == {"net", "more"}
    await subject.engine.stop(config.id, 0)
    await subject.engine.disconnect(config.id, "net")
    state = subject.engine.state(config.id)
    assert state is not None and state.addresses == {} and state.endpoints == (EndpointConfig("more"),)
    await subject.engine.delete_network("net")
    await subject.engine.start(config.id)
    assert (await subject.phase(config.id, "running")).addresses.keys() == {"more"}


async def test_who_has_no_network_of_its_own_joins_none(subject: Subject) -> None:
    await subject.engine.create_network(NetworkConfig("net"))
    config = subject.config("one")
    await subject.engine.create(config)
    with pytest.raises(Conflict):
        await subject.engine.connect(config.id, EndpointConfig("net"), 0)
    with pytest.raises(Conflict):
        await subject.engine.disconnect(config.id, "net")
