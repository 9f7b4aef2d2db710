"""Create calls to specs: what is honoured, what is refused, and which changes need a new container."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.docker.body_limits import limits_of, refuse_mixed_cpus
from agent.api.docker.body_networks import attachment_of, port_of
from agent.api.docker.config_view import config_of, host_config_of, port_bindings
from agent.api.docker.container_body import Lookup, command_of, spec_of
from agent.api.sockets.bodies import used_by
from agent.manifest.hashing import recreate_hash
from agent.manifest.spec import ContainerSpec, Logging, Mount
from agent.reconcile.convert import resources_of
from runtime.errors import Conflict, Invalid, NotFound, SetpointError, Unsupported
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
    volume=lambda name, _options, _labels: name,
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
    ranges = spec(ExposedPorts={"3000-3001": {}, "53-53/udp": {}})
    assert ranges.expose == ("3000/tcp", "3001/tcp", "53/udp", "80/tcp")
    for bad in ({"2-1": {}}, {"1-x": {}}, {f"{first}-65535": {} for first in range(1, 9)}):
        with pytest.raises(Invalid, match=r"exposed ports|invalid port specification"):
            spec(ExposedPorts=bad)
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
    {"Memory": "1g"}, {"BlkioWeight": 9}, {"BlkioWeightDevice": [{"Path": "/dev/x", "Weight": 1001}]},
    {"BlkioDeviceReadBps": [{"Path": "vda", "Rate": 1}]}, {"BlkioDeviceReadBps": ["x"]},
    {"BlkioDeviceWriteIOps": [{"Path": "/dev/vda", "Rate": -1}]}, {"CpusetMems": "x"},
    {"CpuRealtimePeriod": -1}, {"CpuRealtimePeriod": 5, "CpuRealtimeRuntime": 6}, {"MemorySwappiness": 101},
    {"DeviceCgroupRules": ["c 1:1"]}, {"CgroupnsMode": "other"}, {"Links": [":x"]}, {"Links": ["a:b c"]},
    {"LogConfig": {"Type": "none", "Config": {"max-size": "5m"}}},
    {"LogConfig": {"Config": {"mode": "x"}}}, {"LogConfig": {"Config": {"whatever": "x"}}},
    {"Links": ["a"], "NetworkMode": "host"}, {"Links": ["a"], "NetworkMode": "container:b"},
    {"MaskedPaths": ["/proc"]}, {"ReadonlyPaths": ["/proc/../etc"]}, {"MaskedPaths": ["/proc/self/mem"]},
    {"Devices": [{"PathOnHost": "dev/x"}]}, {"LogConfig": {"Config": {"tag": "{{.Nobody}}"}}},
    {"LogConfig": {"Config": {"tag": "{{.ID"}}},
], ids=str)  # fmt: skip
def test_what_makes_no_sense(host: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        spec(host=host)


@pytest.mark.parametrize("host", [
    {"CgroupParent": "/x"}, {"DeviceRequests": [{}]}, {"KernelMemory": 1}, {"StorageOpt": {"size": "1g"}},
    {"LogConfig": {"Type": "syslog"}}, {"LogConfig": {"Config": {"mode": "non-blocking"}}},
    {"LogConfig": {"Config": {"env-regex": "x"}}}, {"LogConfig": {"Config": {"max-buffer-size": "1m"}}},
    {"Mounts": [{"Type": "npipe", "Target": "/x"}]},
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


def test_a_variable_is_taken_from_the_image() -> None:
    made = spec(Env=["A=1=2", "KEEP", "B=1", "B", "C", "C=2"])
    assert (made.environment, made.environment_unset) == ({"A": "1=2", "C": "2"}, ("KEEP", "B"))
    assert config_of(made, IMAGE, "", "")["Env"] == ["PATH=/bin", "A=1=2", "C=2"]


DISK = {"Path": "/dev/vda", "Rate": 5}
SAID: dict[str, Any] = {
    "BlkioWeight": 500, "BlkioWeightDevice": [{"Path": "/dev/vda", "Weight": 10}],
    "BlkioDeviceReadBps": [DISK], "BlkioDeviceWriteBps": [DISK, {**DISK, "Path": "/dev/vdb"}],
    "BlkioDeviceReadIOps": [DISK], "BlkioDeviceWriteIOps": [DISK], "CpusetMems": "0-1",
    "CpuRealtimePeriod": 500_000, "CpuRealtimeRuntime": 400_000, "MemorySwappiness": 0,
    "DeviceCgroupRules": ["c 188:* rw"], "CgroupnsMode": "host", "MaskedPaths": ["/proc/kcore"],
    "ReadonlyPaths": [], "NanoCpus": 500_000_000,
}  # fmt: skip


def test_limits_are_taken_and_shown_as_they_were_said() -> None:
    made = spec(host=SAID)
    shown = host_config_of(made)
    assert {name: shown[name] for name in SAID} == SAID
    limits = resources_of(made)
    assert (limits.blkio_weight, limits.blkio_weight_device) == (500, (("/dev/vda", 10),))
    assert limits.blkio_write_bps == (("/dev/vda", 5), ("/dev/vdb", 5))
    assert limits.blkio_read_bps == limits.blkio_read_iops == limits.blkio_write_iops == (("/dev/vda", 5),)
    assert (limits.cpu_rt_period_us, limits.cpu_rt_runtime_us, limits.cpuset_mems) == (
        500_000,
        400_000,
        "0-1",
    )
    assert limits.memory_swappiness == 0
    assert (made.hidden_paths, made.readonly_paths, made.masked_paths) == (("/proc/kcore",), (), True)
    assert limits_of(shown) == limits_of(SAID)


@pytest.mark.parametrize(
    ("said", "quota", "period"),
    [
        ({"CpuQuota": 25_000, "CpuPeriod": 50_000}, 25_000, 50_000),
        ({"CpuQuota": 25_000}, 25_000, 100_000),
        ({"CpuPeriod": 50_000}, None, 50_000),
        ({"CpuQuota": -1, "CpuPeriod": 50_000}, None, 50_000),
        ({"CpuQuota": -1}, None, 100_000),
        ({"CpuPeriod": 100_000}, None, 100_000),
    ],
)
def test_a_quota_keeps_its_period(said: dict[str, Any], quota: int | None, period: int) -> None:
    made = spec(host=said)
    limits = resources_of(made)
    assert (limits.cpu_quota_us, limits.cpu_period_us) == (quota, period)
    shown = host_config_of(made)
    assert shown["NanoCpus"] == 0
    assert shown["CpuPeriod"] == said.get("CpuPeriod", 0) % 100_000
    assert shown["CpuQuota"] == max(0 if "CpuPeriod" in said else -1, said.get("CpuQuota", 0))


def test_an_update_says_processors_in_the_way_they_were_said() -> None:
    for present, said in (
        ({"NanoCpus": 1}, {"CpuQuota": 1000}),
        ({"NanoCpus": 1}, {"CpuPeriod": 1000}),
        ({"CpuQuota": 1000}, {"NanoCpus": 1}),
        ({"CpuPeriod": 1000}, {"NanoCpus": 1}),
    ):
        with pytest.raises(Conflict, match=r"Conflicting options: .* cannot be updated as"):
            refuse_mixed_cpus(present, said)
    refuse_mixed_cpus({"NanoCpus": 1}, {"CpuQuota": -1})
    refuse_mixed_cpus({"CpuQuota": 1000, "NanoCpus": 0}, {"CpuPeriod": 1000, "Memory": 1})


def test_who_sees_whose_control_groups() -> None:
    for host, said, shown in (
        ({}, "", "private"),
        ({"CgroupnsMode": "private"}, "", "private"),
        ({"Privileged": True}, "", "host"),
        ({"Privileged": True, "CgroupnsMode": "private"}, "private", "private"),
    ):
        made = spec(host=host)
        assert (made.cgroup, host_config_of(made)["CgroupnsMode"]) == (said, shown)


def test_links_are_of_the_container_that_says_them() -> None:
    made = spec(
        host={"Links": ["/db:store", "cache"], "NetworkMode": "back"},
        NetworkingConfig={"EndpointsConfig": {"back": {"Links": ["other:/web/third"]}}},
    )
    assert made.external_links == (
        ("key-of-db", "store"),
        ("key-of-cache", "cache"),
        ("key-of-other", "third"),
    )
    assert host_config_of(made)["Links"] == ["/db:/web/store", "/cache:/web/cache"]
    manifest = ContainerSpec(image="x", container_name="web", links=(("db", "store"),))
    assert host_config_of(manifest)["Links"] == ["/db:/web/store"]
    with pytest.raises(Unsupported):  # of a container that is there
        attachment_of({"Links": ["a:b"]})


@pytest.mark.parametrize("more", [{}, {"NetworkDisabled": True}, {"host": {"NetworkMode": "host"}}])
def test_an_endpoint_that_is_no_object_is_refused_in_every_mode(more: dict[str, Any]) -> None:
    for name in ("bridge", "back"):
        with pytest.raises(Invalid, match="not an object"):
            spec(**more, NetworkingConfig={"EndpointsConfig": {name: ":"}})
        spec(**more, NetworkingConfig={"EndpointsConfig": {name: None}})


def test_no_more_processors_than_there_are() -> None:
    for nano in (1, 2_000_000_001):
        with pytest.raises(Invalid, match=r"Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs"):
            limits_of({"NanoCpus": nano}, 2)
    assert limits_of({"NanoCpus": 2_000_000_000}, 2) == {"cpus": 2.0}


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


def test_logs_are_files_that_are_bounded() -> None:
    config = {"max-size": "5m", "max-file": "2", "mode": "blocking", "compress": "true"}
    assert spec(host={"LogConfig": {"Type": "local", "Config": config}}).logging == Logging(
        max_size_bytes=5 << 20, max_file=2
    )


def test_no_log_at_all() -> None:
    assert spec(host={"LogConfig": {"Type": "none", "Config": {}}}).logging == Logging(driver="none")


def test_what_is_shown_with_each_line_is_part_of_a_spec() -> None:
    said = {"labels": "a,b", "env": "E", "tag": "{{.Name}}"}
    assert spec(host={"LogConfig": {"Config": said}}).logging == Logging(**said)


def test_what_a_link_leads_to_is_used() -> None:
    assert list(used_by(spec(host={"Links": ["db"]}))) == [("container", "key-of-db")]
