"""What is written is read back as the very same, whatever it holds; and reads as a person would write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from agent.manifest.hashing import hashes
from agent.manifest.objects import Revision
from agent.manifest.parse_build import image_of
from agent.manifest.parse_values import to_duration, to_size
from agent.manifest.reader import read
from agent.manifest.spec import (
    AnySpec,
    Blkio,
    BlkioRate,
    BlkioWeight,
    BuildSecret,
    BuildSpec,
    ContainerSpec,
    Healthcheck,
    Mount,
    NamedContext,
    NetworkSpec,
    Port,
    Restart,
    UlimitSpec,
    VolumeSpec,
)
from agent.manifest.writer.check import differences
from agent.manifest.writer.documents import needs_envelope, write_compose, write_envelopes
from agent.manifest.writer.values import duration_text, size_text
from store.records import Key
from tests.unit.manifest import written_specs as made

WEB = Key("shop", "container", "web")
PATH = "shop/compose.yaml"
# What a service names is there: else it could not be read.
DATABASE = {Key("shop", "container", "db"): ContainerSpec(image="postgres")}


def around(spec: ContainerSpec) -> dict[Key, AnySpec]:
    objects: dict[Key, AnySpec] = {WEB: spec, **DATABASE}
    objects |= {Key("shop", "network", name): NetworkSpec() for name in spec.networks}
    sources = [mount.source for mount in spec.mounts if mount.type == "volume" and mount.source]
    return objects | {Key("shop", "volume", name): VolumeSpec() for name in sources}


def same(objects: Mapping[Key, AnySpec], text: str, path: str = PATH) -> None:
    """The reader's own word for it, and the check's."""
    manifest = read(Revision("r", "s", {path: text.encode()}, base="/srv"), profiles=frozenset({"*"}))
    assert not manifest.errors, text
    for key, spec in objects.items():
        assert manifest.objects[key].spec == spec, text
        assert hashes(manifest.objects[key].spec) == hashes(spec), text
    assert differences(objects, path, text) == ()


@settings(max_examples=150, deadline=None)
@given(made.CONTAINERS)
def test_any_container_is_read_back_as_it_was(spec: ContainerSpec) -> None:
    objects = around(spec)
    same(objects, write_compose(objects, PATH))
    same(objects, write_envelopes(objects, "shop/all.yaml"), "shop/all.yaml")


@settings(deadline=None)
@given(made.NETWORKS, made.VOLUMES, made.IMAGES)
def test_any_network_volume_and_image_too(network: AnySpec, volume: AnySpec, image: AnySpec) -> None:
    found = {"network": network, "volume": volume, "image": image}
    objects = {Key("shop", kind, "a"): spec for kind, spec in found.items()}
    same(objects, write_envelopes(objects, "shop/all.yaml"), "shop/all.yaml")
    objects.pop(Key("shop", "image", "a"))
    same(objects, write_compose(objects, PATH))


def test_every_field_is_in_the_property_above() -> None:
    """A field that somebody adds to the spec has to be written, too."""
    built = {"build"}  # below, since its image is named by it
    assert set(ContainerSpec.model_fields) - {"asked"} - built <= set(made.CONTAINER_FIELDS)


# --- how it looks -------------------------------------------------------------------------------------

SHOP: dict[Key, AnySpec] = {
    WEB: ContainerSpec(
        image="nginx:1.27",
        command=("nginx", "-g", "daemon off;"),
        environment={
            "MODE": "no",
            "PRICE": "5$",
            "PORT": "8080",
            "TEXT": "one\ntwo\n",
            "PLAIN": "yes we can",
        },
        ports=(
            Port(target=80, published=8080),
            Port(target=53, published=53, protocol="udp", host_ip="2001:db8::1"),
        ),
        networks={},
        mounts=(
            Mount(type="volume", source="data", target="/data"),
            Mount(type="bind", source="/etc/app", target="/etc/app", read_only=True),
            Mount(type="tmpfs", target="/run", size_bytes=64 << 20, mode=0o1777, options=("noexec",)),
        ),
        healthcheck=Healthcheck(test=("CMD-SHELL", "wget -q localhost"), interval=10.0, timeout=1.5),
        restart=Restart(policy="on-failure", max_attempts=5),
        stop_grace_period=90.0,
        mem_limit=64 << 20,
        cpus=0.5,
        no_new_privileges=True,
        cap_drop=("ALL",),
    ),
    Key("shop", "container", "db"): ContainerSpec(image="postgres:16", restart=Restart()),
    Key("shop", "network", "front"): NetworkSpec(
        subnet="10.5.0.0/24", isolated=True, mtu=1400, bridge="shop0"
    ),
    Key("shop", "volume", "data"): VolumeSpec(),
}
TEXT = """\
# made by a test

services:
  db:
    image: postgres:16
    restart: "no"

  web:
    image: nginx:1.27
    command: ["nginx", "-g", "daemon off;"]
    environment:
      MODE: "no"
      PRICE: 5$$
      PORT: "8080"
      TEXT: |
        one
        two
      PLAIN: yes we can
    ports:
      - "8080:80"
      - "[2001:db8::1]:53:53/udp"
    volumes:
      - data:/data
      - /etc/app:/etc/app:ro
    tmpfs:
      - /run:size=64m,mode=1777,noexec
    healthcheck:
      test: ["CMD-SHELL", "wget -q localhost"]
      interval: 10s
      timeout: 1.5s
    restart: on-failure:5
    stop_grace_period: 1m30s
    cpus: 0.5
    mem_limit: 64m
    cap_drop: [ALL]
    security_opt:
      - no-new-privileges:true

networks:
  front:
    ipam:
      config:
        - subnet: 10.5.0.0/24
    driver_opts:
      com.docker.network.driver.mtu: "1400"
      com.docker.network.bridge.enable_icc: "false"
      com.docker.network.bridge.name: "shop0"

volumes:
  data:
"""


def test_it_reads_as_a_person_would_write_it() -> None:
    assert write_compose(SHOP, PATH, ["made by a test"]) == TEXT
    same(SHOP, TEXT)


def test_other_readers_of_yaml_see_texts_where_texts_are_meant() -> None:
    found = yaml.safe_load(TEXT)["services"]["web"]["environment"]
    assert all(isinstance(value, str) for value in found.values())


def test_a_project_that_the_directory_does_not_name_is_named() -> None:
    objects: dict[Key, AnySpec] = {WEB: ContainerSpec(image="a")}
    text = write_compose(objects, "elsewhere/web.compose.yaml")
    assert text.startswith("name: shop\n")
    same(objects, text, "elsewhere/web.compose.yaml")


def test_what_compose_would_pass_over_is_an_envelope() -> None:
    key = Key("shop", "container", "x-web")
    assert needs_envelope(key)
    objects: dict[Key, AnySpec] = {key: ContainerSpec(image="a")}
    assert differences(objects, PATH, write_compose(objects, PATH)) == ("container x-web: is not read back",)
    same(objects, write_envelopes(objects, "shop/x.yaml"), "shop/x.yaml")


def test_a_build_is_written_with_its_context_from_where_the_file_lies() -> None:
    text = "services: {web: {build: {context: web, args: {A: '1'}, target: last}, image: shop/web}}"
    trees = {"shop/web": "git:abc"}.get
    source = Revision("r", "s", {PATH: text.encode()}, tree_of=lambda path: trees(path, ""))
    spec = read(source).objects[WEB].spec
    assert isinstance(spec, ContainerSpec)
    assert spec.build == BuildSpec(
        context="shop/web", tree="git:abc", args={"A": "1"}, target="last", tags=("shop/web",)
    )
    written = write_compose({WEB: spec}, PATH)
    assert "image:" not in written
    assert differences({WEB: spec}, PATH, written, tree_of=lambda path: trees(path, "")) == ()


def test_all_that_a_build_can_say_is_written_and_read_back() -> None:
    """A field that somebody adds to BuildSpec has to be written, too."""
    spec = BuildSpec(
        context="shop/web",
        dockerfile="docker/Dockerfile",
        args={"A": "1"},
        labels={"b": "c"},
        target="last",
        network="none",
        no_cache=True,
        pull=True,
        tags=("shop/web:1",),
        cache_from=("ghcr.io/org/cache:1",),
        cache_to="ghcr.io/org/cache:1",
        platform="linux/amd64",
        secrets={"t": BuildSecret(file="/run/t"), "u": BuildSecret(environment="U")},
        ssh={"default": "", "deploy": "/run/agent.sock"},
        additional_contexts={
            "top": NamedContext(context=""),
            "base": NamedContext(image="nginx:1.27"),
            "shared": NamedContext(context="common"),
        },
        shm_size=1 << 30,
        ulimits={"nofile": UlimitSpec(soft=1, hard=2)},
        extra_hosts=(("db", "10.0.0.5"),),
    )
    for one in (spec, spec.model_copy(update={"dockerfile": "", "dockerfile_inline": "FROM nginx"})):
        text = write_compose({WEB: ContainerSpec(image=image_of(one), build=one)}, PATH)
        found = read(Revision("r", "s", {PATH: text.encode()})).objects[WEB].spec
        assert isinstance(found, ContainerSpec) and found.build == one
    said = spec.model_fields_set | {"dockerfile_inline", "tree"}
    assert said == set(BuildSpec.model_fields)


def test_three_ports_in_a_row_are_a_range() -> None:
    ports = tuple(Port(target=80 + n, published=8080 + n) for n in range(3))
    objects: dict[Key, AnySpec] = {WEB: ContainerSpec(image="a", ports=ports)}
    text = write_compose(objects, PATH)
    assert '"8080-8082:80-82"' in text
    same(objects, text)


def test_limits_of_disks_are_written() -> None:
    """The property above does not come to each of them every time."""
    blkio = Blkio(
        weight=300,
        weight_device=(BlkioWeight(path="/dev/sda", weight=400),),
        device_read_bps=(BlkioRate(path="/dev/sdb", rate=12 << 20),),
        device_write_iops=(BlkioRate(path="/dev/sdb", rate=120),),
    )
    objects: dict[Key, AnySpec] = {WEB: ContainerSpec(image="a", blkio_config=blkio)}
    same(objects, write_compose(objects, PATH))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (ContainerSpec(image="a", labels={"setpoint.key": "b"}), "reserved"),
        (ContainerSpec(image="a", environment={"A": "\ud800"}), "not valid"),
        (ContainerSpec(image="a", environment={"A": "b\0"}), "NUL"),
        (ContainerSpec(image="a b"), "not an image's name"),
        (ContainerSpec(image="a", hostname="-"), "not valid"),
        (
            ContainerSpec(
                image="a",
                mounts=(
                    Mount(type="tmpfs", target="/run", options=("noexec",)),
                    Mount(type="bind", source="/a", target="/b"),
                ),
            ),
            "mounts would be read otherwise",
        ),
    ],
)
def test_what_a_manifest_cannot_say_is_found(spec: ContainerSpec, said: str) -> None:
    objects: dict[Key, AnySpec] = {WEB: spec}
    found = differences(objects, PATH, write_compose(objects, PATH))
    assert any(said in line for line in found), found


def test_nothing_in_it_can_steer_a_terminal_or_hide() -> None:
    bad = "\u202egnp.exe \x1b[2J \u200b\x9b\ufeff"
    spec = ContainerSpec(image="a", environment={"A": bad, bad: "é"}, command=(bad,))
    text = write_compose({WEB: spec}, PATH, [bad])
    assert all(letter == "\n" or letter.isprintable() for letter in text)
    same({WEB: spec}, text)


@settings(max_examples=100)
@given(made.SECONDS)
def test_a_duration_is_the_same_seconds(seconds: float) -> None:
    assert to_duration(duration_text(seconds)) == seconds


@given(made.SIZES)
def test_a_size_is_the_same_bytes(count: int) -> None:
    assert to_size(str(size_text(count))) == count


@pytest.mark.parametrize(
    ("value", "text"), [(10.0, "10s"), (90.0, "1m30s"), (0.5, "500ms"), (7200.0, "2h"), (0.0, "0s")]
)
def test_durations_as_people_write_them(value: float, text: str) -> None:
    assert duration_text(value) == text


def test_sizes_as_people_write_them() -> None:
    found: list[Any] = [size_text(count) for count in (64 << 20, 1 << 30, 1000, 1536, 0, -1)]
    assert found == ["64m", "1g", 1000, 1536, 0, -1]
