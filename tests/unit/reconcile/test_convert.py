"""What a spec becomes for the runtime: names, ports of replicas, networks, limits."""

from __future__ import annotations

from typing import Any

import pytest

from agent.manifest.spec import Attachment, ContainerSpec, Mount, NetworkSpec, Port, VolumeSpec
from agent.reconcile.convert import (
    Names,
    Origin,
    container_config,
    container_id,
    mounts_of,
    network_config,
    network_name,
    networks_of,
    resources_of,
    sandbox_id,
    stored_name,
    volume_config,
    volume_name,
)
from runtime.model import ContainerConfig, ImageInfo
from store.records import Key

IMAGE = ImageInfo("sha256:1", ("a:latest",), 1, 0.0, "amd64", "linux")
WEB = Key("shop", "container", "web")


def convert(spec: ContainerSpec, index: int = 1, **names: dict[str, str]) -> ContainerConfig:
    return container_config(
        WEB,
        spec,
        index,
        image=IMAGE,
        recreate_hash="h",
        attempt=0,
        names=Names("setpoint", **names),
        origin=Origin("shop/compose.yaml", 3, "abc"),
    )


def test_each_replica_takes_its_port_of_a_range() -> None:
    spec = ContainerSpec(image="a", scale=3, ports=(Port(target=80, published=8080, published_last=8082),))
    ports = [convert(spec, n).sandbox.ports[0] for n in (1, 2, 3, 4)]
    assert [port.host_port for port in ports] == [8080, 8081, 8082, 8080]
    assert {port.among for port in ports} == {(8080, 8082)}


def test_a_single_port_and_an_open_choice_stay_as_they_are() -> None:
    spec = ContainerSpec(image="a", ports=(Port(target=80, published=8080), Port(target=81)))
    assert [port.host_port for port in convert(spec).sandbox.ports] == [8080, 0]


def test_labels_say_whose_a_container_is_and_cannot_be_overridden() -> None:
    labels = convert(ContainerSpec(image="a", labels={"setpoint.key": "x/y/z", "tier": "front"})).labels
    assert labels["setpoint.key"] == "shop/container/web"
    assert labels["setpoint.file"] == "shop/compose.yaml:3"
    assert labels["tier"] == "front"


def test_the_same_wish_has_the_same_id_and_any_other_has_not() -> None:
    ids = {
        container_id("setpoint", WEB, 1, "h"),
        container_id("other", WEB, 1, "h"),
        container_id("setpoint", WEB, 2, "h"),
        container_id("setpoint", WEB, 1, "h2"),
        container_id("setpoint", WEB, 1, "h", attempt=1),
    }
    assert len(ids) == 5
    assert container_id("setpoint", WEB, 1, "h") in ids


def test_a_sandbox_does_not_depend_on_the_spec() -> None:
    one, other = (convert(ContainerSpec(image=image)).sandbox.id for image in ("a", "b"))
    assert one == other == sandbox_id("setpoint", WEB, 1)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ("default",)),
        ({"network_mode": "none"}, ()),
        ({"network_mode": "host"}, ()),
        ({"network_mode": "service:db"}, ()),
        ({"network_mode": "bridge"}, ("bridge",)),
        ({"networks": {"b": Attachment(), "a": Attachment(), "c": Attachment(priority=5)}}, ("c", "a", "b")),
    ],
)
def test_networks(fields: dict[str, object], expected: tuple[str, ...]) -> None:
    assert networks_of(ContainerSpec(image="a", **fields)) == expected  # type: ignore[arg-type]


def test_a_joined_network_is_the_other_ones() -> None:
    config = convert(ContainerSpec(image="a", network_mode="service:vpn"), sandboxes={"vpn": "s1"})
    assert (config.sandbox.mode, config.sandbox.id) == ("join", "s1")


def test_an_unnamed_volume_is_found_again_and_is_one_a_replica() -> None:
    spec = ContainerSpec(image="a", mounts=(Mount(type="volume", target="/data"),))
    names = [convert(spec, n).mounts[0].source for n in (1, 1, 2)]
    assert names[0] == names[1] != names[2]


def test_what_an_image_declares_as_a_volume_is_one_unless_the_manifest_puts_something_there() -> None:
    own = Mount(type="bind", source="/srv", target="/data")
    spec = ContainerSpec(image="a", mounts=(own,))
    found = mounts_of(spec, ("/data/", "/var/lib/db", "/"))
    assert found == (own, Mount(type="volume", target="/var/lib/db"))


def test_limits() -> None:
    limits = resources_of(ContainerSpec(image="a", cpus=1.5, pids_limit=0, mem_limit=2**20))
    assert (limits.cpu_quota_us, limits.cpu_period_us) == (150_000, 100_000)
    assert limits.pids == -1
    assert limits.memory_bytes == 2**20
    assert resources_of(ContainerSpec(image="a")).pids == 2048


def test_a_share_of_a_period_is_never_more_than_was_asked_for() -> None:
    def limits(**fields: Any) -> tuple[int | None, int]:
        found = resources_of(ContainerSpec(image="a", **fields))
        return found.cpu_quota_us, found.cpu_period_us

    assert limits(cpu_period=50_000) == (None, 50_000)
    assert limits(cpu_period=50_000, cpus=0.5) == (25_000, 50_000)
    assert limits(cpu_period=1000, cpus=0.01) == (1000, 100_000)  # the kernel's least is 1 ms


@pytest.mark.parametrize("said", [{}, {"name": "data"}, {"external": True}, {"external": True, "name": "x"}])
def test_a_stored_spec_has_the_name_that_the_spec_has(said: dict[str, Any]) -> None:
    key = Key("shop", "volume", "back")
    assert stored_name(key, said) == volume_name(key, VolumeSpec(**said))
    assert stored_name(key, said) == network_name(key, NetworkSpec(**said))


def test_names_of_networks_and_volumes() -> None:
    key = Key("shop", "network", "back")
    assert network_config(key, NetworkSpec()).name == "shop_back"
    assert network_config(key, NetworkSpec(external=True)).name == "back"
    assert network_config(key, NetworkSpec(name="lan")).name == "lan"
    assert volume_config(Key("shop", "volume", "data"), VolumeSpec()).name == "shop_data"
