"""Create calls to specs: what is honoured, what is refused, and which changes need a new container."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.docker.body_networks import port_of
from agent.api.docker.config_view import port_bindings
from agent.api.docker.container_body import Lookup, command_of, spec_of
from agent.manifest.hashing import recreate_hash
from agent.manifest.spec import ContainerSpec, Mount
from runtime.errors import Invalid, NotFound, SetpointError, Unsupported
from runtime.model import ImageInfo

IMAGE = ImageInfo(
    id="sha256:" + "a" * 64, names=("busybox:latest",), size_bytes=1, created_at=0.0, architecture="amd64",
    os="linux", entrypoint=("/entry",), command=("serve",), environment=("PATH=/bin", "KEEP=1"),
    exposed_ports=("80/tcp",), volumes=("/declared",),
)  # fmt: skip
BARE = ImageInfo(
    id="sha256:" + "b" * 64, names=(), size_bytes=1, created_at=0.0, architecture="amd64", os="linux"
)


def network(name: str) -> str:
    if name == "nobody":
        raise NotFound("", "", "network nobody not found")
    return name


LOOKUP = Lookup(
    network=network,
    container=lambda name: f"key-of-{name}",
    volume=lambda name: name,
    mounts=lambda name: (Mount(type="volume", source=f"of-{name}", target="/from"),),
    profile=lambda content: f"/profiles/{len(content)}",
)


def spec(image: ImageInfo = IMAGE, host: dict[str, Any] | None = None, **body: Any) -> ContainerSpec:
    if host is not None:
        body["HostConfig"] = host
    return spec_of("web", {"Image": "busybox", **body}, image, LOOKUP)


def test_on_the_hosts_network_it_has_the_hosts_name() -> None:
    assert spec(host={"NetworkMode": "host"}).hostname == os.uname().nodename
    assert spec(host={"NetworkMode": "host"}, Hostname="own").hostname == "own"
    assert spec(host={"NetworkMode": "host", "UTSMode": "host"}).hostname == spec().hostname == ""


def test_the_least() -> None:
    made = spec()
    assert (made.container_name, made.image, made.ensure, made.network_mode) == (
        "web", IMAGE.id, "stopped", "bridge",
    )  # fmt: skip
    assert (made.entrypoint, made.command) == (("/entry",), ("serve",))
    assert made.restart.policy == "no" and made.asked is not None and made.asked.image == "busybox"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (("/entry",), ("serve",))),
        ({"Cmd": ["x"]}, (("/entry",), ("x",))),
        ({"Cmd": "x"}, (("/entry",), ("x",))),
        ({"Entrypoint": ["e"]}, (("e",), ())),
        ({"Entrypoint": "e", "Cmd": ["c"]}, (("e",), ("c",))),
        ({"Entrypoint": [""], "Cmd": ["c"]}, ((), ("c",))),
        ({"Entrypoint": [], "Cmd": []}, (("/entry",), ("serve",))),
    ],
)
def test_the_command_is_as_docker_merges_it(body: dict[str, Any], expected: tuple[Any, Any]) -> None:
    assert command_of(body, IMAGE) == expected


def test_no_command_at_all() -> None:
    with pytest.raises(Invalid, match="no command specified"):
        spec(BARE)
    with pytest.raises(Invalid, match="no command specified"):
        spec(Entrypoint=[""])


def test_binds_volumes_and_tmpfs() -> None:
    made = spec(
        host={
            "Binds": ["/host:/a:ro,rslave", "data:/b:nocopy", "/c:/c:z"],
            "Tmpfs": {"/t": "size=64m,mode=1777,noexec"},
            "VolumesFrom": ["other:ro"],
            "Mounts": [{"Type": "volume", "Source": "v", "Target": "/m", "VolumeOptions": {"Subpath": "s"}}],
        },
        Volumes={"/anonymous": {}},
    )
    by_target = {mount.target: mount for mount in made.mounts}
    assert by_target["/a"].read_only and by_target["/a"].propagation == "rslave"
    assert by_target["/b"].no_copy and by_target["/b"].source == "data"
    assert by_target["/t"].size_bytes == 64 << 20 and by_target["/t"].mode == 0o1777
    assert by_target["/from"].read_only and by_target["/from"].source == "of-other"
    assert by_target["/m"].subpath == "s" and by_target["/anonymous"].source == ""


def test_networks_and_ports() -> None:
    made = spec(
        host={
            "NetworkMode": "back",
            "PortBindings": {"80/tcp": [{"HostPort": "8080"}, {"HostIp": "127.0.0.1", "HostPort": ""}]},
        },
        NetworkingConfig={
            "EndpointsConfig": {
                "back": {"Aliases": ["db"]},
                "front": {"IPAMConfig": {"IPv4Address": "10.1.2.3"}},
            }
        },
    )
    assert made.networks["back"].aliases == ("db",) and made.networks["front"].ipv4_address == "10.1.2.3"
    assert [(port.published, port.host_ip) for port in made.ports] == [(8080, ""), (None, "127.0.0.1")]
    everything = spec(host={"PublishAllPorts": True}, ExposedPorts={"53/udp": {}})
    assert {(port.target, port.protocol) for port in everything.ports} == {(80, "tcp"), (53, "udp")}
    several = spec(host={"PortBindings": {"80/tcp": [{"HostPort": "8000-8010"}, {"HostPort": "90-90"}]}})
    assert [(port.published, port.published_last) for port in several.ports] == [(8000, 8010), (90, None)]
    assert port_bindings(several.ports)["80/tcp"][0] == {"HostIp": "", "HostPort": "8000-8010"}
    assert spec(host={"NetworkMode": "container:db"}).network_mode == "container:key-of-db"
    assert spec(NetworkDisabled=True).network_mode == "none"


@pytest.mark.parametrize("host", [
    {"Memory": 6 << 20, "MemorySwap": 5 << 20}, {"MemorySwap": 64 << 20}, {"Memory": 1},
    {"CpusetCpus": "0-99999"}, {"CpusetCpus": "3-1"}, {"NanoCpus": 1, "CpuQuota": 1}, {"CpuShares": 1},
    {"Binds": ["relative:x"]},
    {"Binds": ["a:/b", "c:/b"]}, {"Binds": ["/a"]}, {"Binds": ["/a:/"]}, {"Tmpfs": {"/t": "bad=1"}},
    {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}}, {"RestartPolicy": {"Name": "x"}},
    {"IpcMode": "x"}, {"PidMode": "y"}, {"SecurityOpt": ["nonsense"]}, {"Runtime": "kata-nobody"},
    {"PortBindings": {"80/icmp": []}}, {"PortBindings": {"0/tcp": []}}, {"PortBindings": {"99999/tcp": []}},
    {"PortBindings": {"80/tcp": [{"HostIp": "x"}]}}, {"PortBindings": {"80/tcp": [{"HostPort": "9-8"}]}},
    {"PortBindings": {"80/tcp": [{"HostPort": "0-8"}]}}, {"PortBindings": {"80/tcp": [{"HostPort": "8-"}]}},
    {"ExtraHosts": ["x"]}, {"Dns": ["x"]},
    {"NetworkMode": "nobody"}, {"LogConfig": {"Type": "json-file", "Config": {"max-size": "1"}}},
    {"Ulimits": [{"Name": "nofile", "Soft": 5, "Hard": 1}]}, {"Mounts": ["x"]}, {"Binds": "x"},
    {"Memory": "1g"},
    {"Devices": [{"PathOnHost": "dev/x"}]},
], ids=str)  # fmt: skip
def test_what_makes_no_sense(host: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        spec(host=host)


@pytest.mark.parametrize("host", [
    {"BlkioWeight": 10}, {"CgroupParent": "/x"}, {"DeviceRequests": [{}]}, {"DeviceCgroupRules": ["c 1:1 r"]},
    {"Links": ["a:b"]}, {"StorageOpt": {"size": "1g"}}, {"CgroupnsMode": "host"}, {"MemorySwappiness": 10},
    {"LogConfig": {"Type": "syslog"}},
    {"MaskedPaths": ["/proc/x"]}, {"Mounts": [{"Type": "npipe", "Target": "/x"}]}, {"CpusetMems": "0"},
], ids=str)  # fmt: skip
def test_what_there_is_not(host: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        spec(host=host)


def test_zero_and_null_say_nothing() -> None:
    numbers = {"Memory": 0, "NanoCpus": 0, "CpuShares": 0, "PidsLimit": None, "MemorySwappiness": -1}
    texts = {"CgroupParent": "", "RestartPolicy": {"Name": ""}, "MaskedPaths": None}
    said: dict[str, Any] = {**numbers, **texts, "Binds": None, "Links": []}
    assert spec(host=said).model_dump(exclude={"asked"}) == spec().model_dump(exclude={"asked"})


def test_a_seccomp_profile_is_content_and_becomes_a_file() -> None:
    assert spec(host={"SecurityOpt": ['seccomp={"x": 1}']}).seccomp == "/profiles/8"
    assert spec(host={"SecurityOpt": ["seccomp=unconfined"]}).seccomp == "unconfined"
    made = spec(host={"SecurityOpt": ["no-new-privileges:true", "label=disable", "systempaths=unconfined"]})
    assert made.no_new_privileges and not made.masked_paths


def test_a_variable_is_not_taken_from_the_image_silently() -> None:
    assert spec(Env=["A=1=2", "NEW"]).environment == {"A": "1=2"}
    with pytest.raises(Unsupported):
        spec(Env=["KEEP"])


def test_what_changes_live_needs_no_new_container() -> None:
    before = spec(host={"Memory": 64 << 20})
    for change in ({"mem_limit": 1}, {"ensure": "running"}, {"asked": {"stop_seconds": 1.0}}):
        after = ContainerSpec.model_validate({**before.model_dump(exclude_unset=True), **change})
        assert recreate_hash(after) == recreate_hash(before), change


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
KEYS = st.text(max_size=8)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "Hostname",
        "User",
        "Tty",
        "Env",
        "Cmd",
        "Healthcheck",
        "Volumes",
        "WorkingDir",
        "Entrypoint",
        "Labels",
        "StopSignal",
        "StopTimeout",
        "ExposedPorts",
        "NetworkingConfig",
        "HostConfig",
        "nonsense",
    ]
)
HOST_FIELDS = st.sampled_from(
    [
        "Binds",
        "LogConfig",
        "NetworkMode",
        "PortBindings",
        "RestartPolicy",
        "VolumesFrom",
        "Mounts",
        "CapAdd",
        "Dns",
        "ExtraHosts",
        "GroupAdd",
        "IpcMode",
        "OomScoreAdj",
        "PidMode",
        "SecurityOpt",
        "Tmpfs",
        "Ulimits",
        "Memory",
        "NanoCpus",
        "CpusetCpus",
        "Devices",
        "PidsLimit",
        "Sysctls",
        "ShmSize",
        "MaskedPaths",
    ]
)


@given(st.dictionaries(FIELDS, JSON, max_size=4), st.dictionaries(HOST_FIELDS, JSON, max_size=4))
def test_whatever_comes_is_a_spec_or_one_of_our_errors(body: dict[str, Any], host: dict[str, Any]) -> None:
    try:
        spec_of("web", {"Image": "busybox", **body, "HostConfig": host}, IMAGE, LOOKUP)
    except SetpointError as error:
        assert str(error)


@given(st.text(max_size=12))
def test_ports_are_numbers_or_refused(text: str) -> None:
    try:
        number, protocol = port_of(text)
    except Invalid:
        return
    assert 1 <= number <= 65535 and protocol in ("tcp", "udp", "sctp")
