"""E7: which containers are held to their own frames: those that may not change their interfaces."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import AsyncIterator

import pytest

from runtime.engine import NativeEngine
from runtime.model import ContainerConfig, EndpointConfig, NetworkConfig, SandboxConfig, Security
from tests.native import another_engine, run, shell
from tests.threats import frames
from tests.threats.frames import ARP, BROADCAST, REQUEST, arp, frame

NOBODY = "02:00:00:00:00:99"
ROUTER = Security(cap_add=("NET_ADMIN",))


class Street:
    """Two containers on a network: `attacker`, as it is made by a test, and `neighbour`."""

    def __init__(self, engine: NativeEngine, network: str) -> None:
        self.engine = engine
        self.network = network

    async def move_in(self, name: str, security: Security = Security(), joins: str = "") -> ContainerConfig:
        sandbox = SandboxConfig("own", self.sandbox(name), (EndpointConfig(self.network),))
        if joins:
            sandbox = SandboxConfig("join", self.sandbox(joins))
        config = shell(
            self.engine, f"{self.network}-{name}", "sleep 600", security=security, sandbox=sandbox, init=True
        )
        await run(self.engine, config)
        return config

    def sandbox(self, name: str) -> str:
        return f"{self.network}-{name}"

    def is_lied_to(self) -> bool:
        """Whether the neighbour hears the attacker speak for another."""
        networks = self.engine.networks
        lie = frame(BROADCAST, NOBODY, ARP, arp(REQUEST, (NOBODY, "10.0.0.1"), (BROADCAST, "10.0.0.1")))
        own = next(each for each in networks.list_sandboxes() if each.id == self.sandbox("attacker"))
        address = own.addresses[self.network]
        mac = "02:42:" + ":".join(f"{part:02x}" for part in socket.inet_aton(address))
        with (
            frames.wire(networks, self.sandbox("attacker")) as attacking,
            frames.wire(networks, self.sandbox("neighbour")) as listening,
        ):
            attacking.send(lie)
            attacking.send(frame(BROADCAST, mac, frames.IPV4, frames.udp(address, "0.0.0.1", 9, frames.MARK)))
            return lie in [each[: len(lie)] for each in frames.until_marked(listening)]


@pytest.fixture
async def street(engine: NativeEngine) -> AsyncIterator[Street]:
    network = f"street-{secrets.token_hex(3)}"
    engine.networks.create(NetworkConfig(network))
    made = Street(engine, network)
    await made.move_in("neighbour")
    yield made
    for entry in list(engine._index):
        with contextlib.suppress(Exception):
            await engine.stop(entry.config.id, 0)
            await engine.delete(entry.config.id)


@pytest.mark.parametrize(
    ("security", "may_lie"),
    [
        (Security(), False),
        (Security(cap_add=("NET_RAW", "SYS_ADMIN")), False),
        (Security(cap_add=("ALL",), cap_drop=("NET_ADMIN",)), False),
        (Security(user_namespace="auto"), False),
        (ROUTER, True),
        (Security(cap_add=("ALL",)), True),
        (Security(privileged=True), True),
    ],
    ids=["as usual", "other capabilities", "all but one", "own ids", "NET_ADMIN", "all", "privileged"],
)
async def test_e7_only_who_may_change_its_interfaces_sends_as_another(
    street: Street, security: Security, may_lie: bool
) -> None:
    await street.move_in("attacker", security)
    assert street.is_lied_to() == may_lie


async def test_e7_who_shares_a_network_with_a_router_is_one(street: Street) -> None:
    """As long as there is such a container, running or not: they have the same interfaces."""
    await street.move_in("attacker")
    assert not street.is_lied_to()
    plain = await street.move_in("plain", joins="attacker")
    assert not street.is_lied_to()
    sidecar = await street.move_in("sidecar", ROUTER, joins="attacker")
    assert street.is_lied_to()
    await street.engine.stop(plain.id, 0)
    await street.engine.delete(plain.id)
    await street.engine.stop(sidecar.id, 0)
    assert street.is_lied_to()
    await street.engine.delete(sidecar.id)
    assert not street.is_lied_to()
    assert street.engine.networks.find_drift() == ()


async def test_e7_the_next_agent_knows_who_is_a_router(street: Street) -> None:
    """From the containers' own records: there is nothing else that an older agent could have left out."""
    layout = street.engine.layout
    attacker = await street.move_in("attacker")
    sidecar = await street.move_in("sidecar", ROUTER, joins="attacker")
    await street.engine.close()
    async with another_engine(layout) as engine:
        street.engine = engine
        assert street.is_lied_to()
        await engine.stop(sidecar.id, 0)
        await engine.delete(sidecar.id)
        assert not street.is_lied_to()
        await engine.stop(attacker.id, 0)
        await engine.start(attacker.id)
        assert not street.is_lied_to()
        assert engine.networks.find_drift() == ()
        for entry in list(engine._index):
            await engine.stop(entry.config.id, 0)
            await engine.delete(entry.config.id)


async def test_e7_a_creation_that_fails_leaves_no_router(street: Street) -> None:
    await street.move_in("attacker")
    config = shell(
        street.engine, "never", "true", sandbox=SandboxConfig("join", street.sandbox("attacker")),
        security=Security(cap_add=("NET_ADMIN", "NO_SUCH_THING")),
    )  # fmt: skip
    with pytest.raises(Exception, match="no such capability"):
        await street.engine.create(config)
    bad = shell(
        street.engine, "never", "true", sandbox=SandboxConfig("join", street.sandbox("attacker")),
        security=ROUTER, user="nobody-of-that-name", ulimits=(), sysctls={"no.such.thing": "1"},
    )  # fmt: skip
    with pytest.raises(Exception, match=r"no\.such"):
        await street.engine.create(bad)
    assert not street.is_lied_to()
