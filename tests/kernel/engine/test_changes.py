"""A container's name and networks change while it is there: in the kernel, in its record, for its peers."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path

import pytest

from runtime import changes
from runtime.engine import NativeEngine
from runtime.errors import Conflict, Temporary
from runtime.layout import Layout
from runtime.model import (
    ContainerConfig,
    EndpointConfig,
    NetworkConfig,
    PortConfig,
    SandboxConfig,
    Security,
)
from tests.native import another_engine, config_of, id_of, run, until


async def networks(engine: NativeEngine, *names: str, internal: bool = False) -> None:
    for name in names:
        await engine.create_network(NetworkConfig(name, internal=internal))


def on(engine: NativeEngine, name: str, *names: str, **fields: object) -> ContainerConfig:
    """A container that sleeps, on networks; found there by its name."""
    ports = fields.pop("ports", ())
    endpoints = tuple(EndpointConfig(network, (name,)) for network in names)
    sandbox = SandboxConfig("own", f"s-{name}", endpoints, ports)  # type: ignore[arg-type]
    return config_of(engine, name, "sleep", "1000", sandbox=sandbox, **fields)


async def said(engine: NativeEngine, id: str, *words: str) -> str:
    done = await engine.exec(id, words, timeout_seconds=10)
    return done.output.decode()


async def knows(engine: NativeEngine, id: str, name: str) -> bool:
    return f"\t{name}" in (await said(engine, id, "cat", "/etc/hosts")).replace(" ", "\t")


async def eventually_knows(engine: NativeEngine, id: str, name: str, *, is_so: bool = True) -> None:
    async with asyncio.timeout(10):
        while await knows(engine, id, name) is not is_so:
            await asyncio.sleep(0.01)


async def test_all_of_it_is_in_the_kernel_and_lasts(engine: NativeEngine, instance: Layout) -> None:
    await networks(engine, "one", "two")
    config, peer = on(engine, "box", "one"), on(engine, "peer", "two")
    await run(engine, config)
    await run(engine, peer)
    await engine.connect(config.id, EndpointConfig("two", ("box", "alias"), mac="02:42:0a:00:00:77"), 1)
    state = engine.state(config.id)
    assert state is not None
    shown = await said(engine, config.id, "ip", "address", "show", "eth1")
    assert f"inet {state.addresses['two']}/24" in shown and "02:42:0a:00:00:77" in shown and "UP" in shown
    assert "1 packets received" in await said(engine, config.id, "ping", "-c1", "-W2", "peer")
    await eventually_knows(engine, peer.id, "alias")
    await engine.rename(config.id, "other")
    await eventually_knows(engine, peer.id, "other")
    await eventually_knows(engine, peer.id, "box", is_so=False)
    await engine.disconnect(config.id, "one")
    assert "eth0" not in await said(engine, config.id, "ip", "link")
    assert [name for name in (await said(engine, config.id, "ip", "route")).split() if name == "default"]
    assert await engine.find_drift() == ()
    before = engine.state(config.id)
    async with another_engine(instance) as again:
        assert again.state(config.id) == dataclasses.replace(
            before,
            began_at=again.state(config.id).began_at,  # type: ignore[union-attr, type-var]
        )
        assert await again.find_drift() == ()
        await again.stop(config.id, 0)
        await again.start(config.id)
        assert again.state(config.id).addresses.keys() == {"two"}  # type: ignore[union-attr]
        run_config = json.loads(Path(instance.run_containers, config.id, "config.json").read_text())
        assert run_config["annotations"]["setpoint.name"] == "other"


async def test_what_is_broken_off_is_made_again(
    engine: NativeEngine, instance: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the kernel's part and before the record: nothing says that it is done, and a repeat does it."""
    await networks(engine, "one", "two")
    config = on(engine, "box", "one")
    await run(engine, config)

    def broken(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    for call, done in (
        (lambda e: e.rename(config.id, "other"), lambda s: s.name == "other"),
        (
            lambda e: e.connect(config.id, EndpointConfig("two", ("other",)), 1),
            lambda s: len(s.endpoints) == 2,
        ),
        (lambda e: e.disconnect(config.id, "one"), lambda s: [e.network for e in s.endpoints] == ["two"]),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(changes.container_record, "write", broken)
            with pytest.raises(Temporary):
                await call(engine)
        assert not done(engine.state(config.id))
        async with another_engine(instance) as again:
            assert not done(again.state(config.id)) and await again.find_drift() == ()
            await call(again)
            assert done(again.state(config.id)) and await again.find_drift() == ()
        await engine.close()
        await engine.open()
        assert done(engine.state(config.id))


async def test_a_connect_that_was_broken_off_can_be_taken_back(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await networks(engine, "one", "two")
    config = on(engine, "box", "one")
    await run(engine, config)
    with monkeypatch.context() as patch:
        patch.setattr(
            changes.container_record, "write", lambda *_a, **_o: (_ for _ in ()).throw(OSError(5, ""))
        )
        with pytest.raises(Temporary):
            await engine.connect(config.id, EndpointConfig("two"), 1)
    await engine.disconnect(config.id, "two")
    assert engine.state(config.id).addresses.keys() == {"one"}  # type: ignore[union-attr]
    await engine.delete_network("two")


async def test_names_are_one_s_own_while_they_change(engine: NativeEngine) -> None:
    await networks(engine, "one")
    box, other = on(engine, "box", "one"), on(engine, "other", "one")
    await run(engine, box)
    await engine.create(other)
    found = await asyncio.gather(
        engine.rename(box.id, "third"), engine.rename(other.id, "third"), return_exceptions=True
    )
    assert sorted(type(each) for each in found if each is not None) == [Conflict]
    names = sorted(state.name for state in engine.list())
    assert "third" in names and len(set(names)) == 2
    free = "box" if "box" not in names else "other"
    await engine.create(dataclasses.replace(on(engine, free, "one"), id=id_of("new")))


async def test_a_stopped_one_takes_no_ports_by_it(engine: NativeEngine) -> None:
    await networks(engine, "one", "two")
    port = PortConfig(80, 28432)
    box, other = on(engine, "box", "one", ports=(port,)), on(engine, "other", "one", ports=(port,))
    await run(engine, box)
    await engine.stop(box.id, 0)
    await run(engine, other)
    await engine.rename(box.id, "third")
    await engine.connect(box.id, EndpointConfig("two"), 1)
    assert engine.state(other.id).ports == (port,)  # type: ignore[union-attr]
    with pytest.raises(Conflict):
        await engine.start(box.id)
    await engine.stop(other.id, 0)
    await engine.start(box.id)
    assert engine.state(box.id).addresses.keys() == {"one", "two"}  # type: ignore[union-attr]


async def test_name_servers_come_with_a_way_out(engine: NativeEngine) -> None:
    await networks(engine, "inner", internal=True)
    await networks(engine, "outer")
    box = on(engine, "box", "inner", dns=())
    await run(engine, box)
    closed = await said(engine, box.id, "cat", "/etc/resolv.conf")
    assert "nameserver" not in closed
    await engine.connect(box.id, EndpointConfig("outer"), 1)
    opened = await said(engine, box.id, "cat", "/etc/resolv.conf")
    host_has_servers = "nameserver" in opened
    await engine.disconnect(box.id, "outer")
    assert await said(engine, box.id, "cat", "/etc/resolv.conf") == closed
    await said(engine, box.id, "sh", "-c", "echo 'nameserver 192.0.2.53' > /etc/resolv.conf")
    await engine.connect(box.id, EndpointConfig("outer"), 1)
    assert await said(engine, box.id, "cat", "/etc/resolv.conf") == "nameserver 192.0.2.53\n"
    if not host_has_servers:
        pytest.skip("this host's resolver is one that no container can reach")


async def test_who_shares_a_network_sees_it_change(engine: NativeEngine) -> None:
    await networks(engine, "one", "two")
    box = on(engine, "box", "one")
    side = config_of(engine, "side", "sleep", "1000", sandbox=SandboxConfig("join", "s-box"))
    await run(engine, box)
    await run(engine, side)
    with pytest.raises(Conflict, match="another container's"):
        await engine.connect(side.id, EndpointConfig("two"), 0)
    await engine.connect(box.id, EndpointConfig("two"), 1)
    assert "eth1" in await said(engine, side.id, "ip", "link")
    await engine.stop(box.id, 0)
    await engine.rename(box.id, "other")
    await engine.rename(side.id, "beside")
    assert "eth1" in await said(engine, side.id, "ip", "link")
    assert await engine.find_drift() == ()


async def test_in_a_user_namespace_and_while_paused(engine: NativeEngine) -> None:
    await networks(engine, "one", "two")
    box = on(engine, "box", "one", security=Security(user_namespace="auto"))
    await run(engine, box)
    await engine.pause(box.id)
    await engine.connect(box.id, EndpointConfig("two"), 1)
    await engine.rename(box.id, "other")
    await engine.resume(box.id)
    assert "eth1" in await said(engine, box.id, "ip", "link")
    assert await engine.find_drift() == ()
    await until(lambda: engine.state(box.id).phase == "running")  # type: ignore[union-attr]


async def test_names_of_networks_may_be_long_and_have_dots(engine: NativeEngine) -> None:
    names = ("Web.Front_1-x", "a" * 200, "9")
    await networks(engine, *names)
    box = on(engine, "box", *names)
    await run(engine, box)
    assert engine.state(box.id).addresses.keys() == set(names)  # type: ignore[union-attr]
    assert await engine.find_drift() == ()
