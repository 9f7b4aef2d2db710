"""What changes a hash, what does not, and that a hash is the same tomorrow."""

from __future__ import annotations

import pytest

from agent.manifest.hashing import LIVE_CONTAINER_FIELDS, LIVE_OTHER_FIELDS, hashes, recreate_hash, spec_hash
from agent.manifest.objects import Revision
from agent.manifest.reader import read
from agent.manifest.spec import ContainerSpec, ImageSpec, NetworkSpec, VolumeSpec
from store.records import Key


def container(text: str) -> ContainerSpec:
    files = {"compose.yaml": f"services: {{a: {{image: x, {text}}}}}".encode()}
    manifest = read(Revision("r", "s", files, base="/srv"))
    assert not manifest.errors
    found = manifest.objects[Key("default", "container", "a")]
    assert isinstance(found.spec, ContainerSpec)
    assert (found.spec_hash, found.recreate_hash) == hashes(found.spec)
    return found.spec


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("command: a b", "command: [a, b]"),
        ("environment: [A=1, B=2]", "environment: {B: 2, A: '1'}"),
        ("restart: always", "restart: {policy: always}"),
        ("mem_limit: 64m", "deploy: {resources: {limits: {memory: 65536k}}}"),
        ("scale: 2", "deploy: {replicas: 2}"),
        ("volumes: ['/a:/b:ro']", "volumes: [{type: bind, source: /a, target: /b, read_only: true}]"),
        ("tmpfs: /run", "volumes: [{type: tmpfs, target: /run}]"),
        ("", "privileged: false, tty: false, read_only: false"),
        ("labels: [a=b, c=d]", "labels: {c: d, a: b}"),
        ("stop_grace_period: 60s", "stop_grace_period: 1m"),
    ],
)
def test_two_ways_to_say_one_thing_have_one_hash(one: str, other: str) -> None:
    assert hashes(container(one)) == hashes(container(other))


@pytest.mark.parametrize(
    "text",
    [
        "cpus: 2",
        "cpu_shares: 5",
        "cpuset: '0'",
        "mem_limit: 1g",
        "mem_limit: 1g, memswap_limit: 2g",
        "mem_reservation: 1g",
        "pids_limit: 5",
        "restart: always",
        "healthcheck: {tcp: ':80'}",
        "stop_grace_period: 1s",
        "on_unhealthy: restart",
        "update: {policy: minor}",
        "scale: 3",
        "ensure: stopped",
        "suspend: true",
        "pull_policy: always",
        "expose: [80]",
        "blkio_config: {weight: 10}",
        "cpuset_mems: '0'",
        "cpu_rt_runtime: 5",
        "mem_swappiness: 5",
    ],
)
def test_live_changes_need_no_new_container(text: str) -> None:
    before, after = container(""), container(text)
    assert recreate_hash(before) == recreate_hash(after)
    assert spec_hash(before) != spec_hash(after)


@pytest.mark.parametrize(
    "text",
    [
        "command: x",
        "environment: {A: b}",
        "labels: {a: b}",
        "ports: [80]",
        "tty: true",
        "cap_add: [ALL]",
        "user: a",
        "device_cgroup_rules: ['c 1:1 r']",
        "external_links: [a:b]",
        "hidden_paths: []",
        "cgroup: host",
    ],
)
def test_other_changes_need_a_new_container(text: str) -> None:
    assert recreate_hash(container("")) != recreate_hash(container(text))


def test_live_fields_exist() -> None:
    assert set(ContainerSpec.model_fields) >= LIVE_CONTAINER_FIELDS
    others = (NetworkSpec, VolumeSpec, ImageSpec)
    assert {name for kind in others for name in kind.model_fields} >= LIVE_OTHER_FIELDS


def test_networks_and_volumes() -> None:
    assert recreate_hash(NetworkSpec()) == recreate_hash(NetworkSpec(suspend=True))
    assert recreate_hash(NetworkSpec()) != recreate_hash(NetworkSpec(mtu=1400))
    assert recreate_hash(VolumeSpec()) == recreate_hash(VolumeSpec(keep=False))
    assert spec_hash(VolumeSpec()) != spec_hash(VolumeSpec(keep=False))


def test_hashes_stay_as_they_are_from_version_to_version() -> None:
    """These may never change: a change would make every container anew at an upgrade."""
    spec = container(
        "ports: ['127.0.0.1:80:80'], command: a 'ü', volumes: [/a:/b], ulimits: {nofile: 5}, cpus: 1.5"
    )
    assert hashes(spec) == (SPEC, RECREATE)
    assert spec_hash(NetworkSpec()) == EMPTY


SPEC = "c35c22504a80b6220d128d9b53a60ed76d3dfacceb7ff5188cfa34dba5ef9264"
RECREATE = "d2b06d2a9b7fd9bd022bc1eae6ed2940dc528f8ec4cf8afb90729ee7b8099cc6"
EMPTY = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_defaults_are_part_of_the_format() -> None:
    """A field that equals its default is left out of hashes, so a default may never change."""
    defaults = ContainerSpec(image="x").model_dump(mode="json", exclude={"image"})
    assert {name: value for name, value in defaults.items() if value not in (None, "", [], {}, False)} == {
        "seccomp": "default",
        "masked_paths": True,
        "restart": {"policy": "no", "max_attempts": 10, "window_seconds": 600.0},
        "stop_grace_period": 10.0,
        "logging": {
            "driver": "",
            "max_size_bytes": 10485760,
            "max_file": 3,
            "labels": "",
            "env": "",
            "tag": "",
        },
        "scale": 1,
        "ensure": "running",
        "on_unhealthy": "ignore",
    }


def test_a_digest_beside_a_tag_needs_no_new_container_by_itself() -> None:
    digest = "sha256:" + "a" * 64
    tagged, locked = ContainerSpec(image="h:5000/x:1"), ContainerSpec(image=f"h:5000/x:1@{digest}")
    assert recreate_hash(tagged) == recreate_hash(locked) and spec_hash(tagged) != spec_hash(locked)
    plain, pinned = ContainerSpec(image="h:5000/x"), ContainerSpec(image=f"h:5000/x@{digest}")
    assert recreate_hash(plain) != recreate_hash(pinned)


def test_what_the_docker_api_made_is_renamed_and_changes_networks_in_place() -> None:
    def asked(**fields: object) -> ContainerSpec:
        return ContainerSpec.model_validate({"image": "x", "asked": {"image": "x"}, **fields})

    before = asked(container_name="a", network_mode="bridge")
    for after in (
        asked(container_name="b", network_mode="bridge"),
        asked(container_name="a", networks={"n": {"aliases": ["x"]}}),
        asked(container_name="a"),
    ):
        assert recreate_hash(before) == recreate_hash(after) and spec_hash(before) != spec_hash(after)
    for mode in ("host", "none", "container:x"):
        assert recreate_hash(before) != recreate_hash(asked(container_name="a", network_mode=mode))
    assert recreate_hash(ContainerSpec(image="x", container_name="a")) != recreate_hash(
        ContainerSpec(image="x", container_name="b")
    )
