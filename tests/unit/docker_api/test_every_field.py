"""Every field that the definition has for a call that makes something: it changes what is wanted, or is
refused; or it stands here with the reason why it means nothing. A field of a newer definition fails this."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.api.docker.container_body import spec_of
from runtime.errors import SetpointError
from tests.unit.docker_api.test_container_body import IMAGE, LOOKUP

DATA = Path(__file__).resolve().parents[2] / "data/docker-engine-api/v1.52.yaml"
Body = dict[str, Any]

# --- what a field is asked with: (a body without it, a body with it) ------------------------------


def _host(**fields: Any) -> Body:
    return {"HostConfig": fields}


def _mount(kind: str = "bind", source: str = "/src", **fields: Any) -> Body:
    return _host(Mounts=[{"Type": kind, "Source": source, "Target": "/dst", **fields}])


def _endpoint(**fields: Any) -> Body:
    return {**_host(NetworkMode="n"), "NetworkingConfig": {"EndpointsConfig": {"n": fields}}}


def _health(**fields: Any) -> Body:
    return {"Healthcheck": {"Test": ["CMD", "x"], **fields}}


def _by_disk(name: str, what: str) -> dict[str, tuple[Body, Body]]:
    def of(path: str, number: int) -> Body:
        return _host(**{name: [{"Path": path, what: number}]})

    return {
        f"HostConfig.{name}[].Path": (of("/dev/a", 20), of("/dev/b", 20)),
        f"HostConfig.{name}[].{what}": (of("/dev/a", 20), of("/dev/a", 30)),
    }


def _device(**fields: Any) -> Body:
    return _host(Devices=[{"PathOnHost": "/dev/null", **fields}])


def _gpu(**fields: Any) -> Body:
    return _host(DeviceRequests=[fields])


def _ulimit(**fields: Any) -> Body:
    return _host(Ulimits=[{"Name": "nofile", "Soft": 1, "Hard": 2, **fields}])


def _port(**fields: Any) -> Body:
    return _host(PortBindings={"80/tcp": [fields]})


SECOND = 10**9
PLAIN: dict[str, Any] = {  # of the body itself
    "Hostname": "h", "Domainname": "d", "User": "1", "ExposedPorts": {"81/tcp": {}}, "Tty": True,
    "OpenStdin": True, "Env": ["A=b"], "Cmd": ["x"], "Volumes": {"/v": {}}, "WorkingDir": "/w",
    "Entrypoint": ["e"], "NetworkDisabled": True, "Labels": {"a": "b"}, "StopSignal": "SIGINT",
    "StopTimeout": 3,
}  # fmt: skip
PLAIN_HOST: dict[str, Any] = {
    "CpuShares": 5, "Memory": 2**24, "CgroupParent": "/x", "BlkioWeight": 20, "CpuQuota": 50000,
    "CpuRealtimePeriod": 10000, "CpuRealtimeRuntime": 500, "CpusetCpus": "0", "CpusetMems": "0",
    "DeviceCgroupRules": ["c 1:1 r"], "MemoryReservation": 2**24, "MemorySwappiness": 5, "NanoCpus": 10**8,
    "OomKillDisable": True, "Init": True, "PidsLimit": 7, "CpuCount": 1, "CpuPercent": 1, "IOMaximumIOps": 1,
    "IOMaximumBandwidth": 1, "Binds": ["/a:/b"], "NetworkMode": "host", "AutoRemove": True,
    "VolumeDriver": "nfs", "VolumesFrom": ["x"], "Annotations": {"a": "b"}, "CapAdd": ["SYS_TIME"],
    "CapDrop": ["CHOWN"], "CgroupnsMode": "host", "Dns": ["1.1.1.1"], "DnsOptions": ["ndots:1"],
    "DnsSearch": ["x"], "ExtraHosts": ["a:1.1.1.1"], "GroupAdd": ["7"], "IpcMode": "host", "Cgroup": "x",
    "Links": ["x:y"], "OomScoreAdj": 5, "PidMode": "host", "Privileged": True, "PublishAllPorts": True,
    "ReadonlyRootfs": True, "SecurityOpt": ["no-new-privileges"], "StorageOpt": {"size": "1G"},
    "Tmpfs": {"/t": ""}, "UTSMode": "host", "UsernsMode": "host", "ShmSize": 2**20, "Runtime": "runsc",
    "Sysctls": {"net.ipv4.ip_forward": "1"}, "Isolation": "hyperv", "MaskedPaths": ["/proc/x"],
    "ReadonlyPaths": ["/proc/x"], "ConsoleSize": [20, 30],
}  # fmt: skip
CONTAINER: dict[str, tuple[Body, Body]] = {
    **{name: ({}, {name: value}) for name, value in PLAIN.items()},
    **{f"HostConfig.{name}": ({}, _host(**{name: value})) for name, value in PLAIN_HOST.items()},
    "HostConfig.ConsoleSize": ({"Tty": True}, {"Tty": True, **_host(ConsoleSize=[20, 30])}),
    "HostConfig.CpuPeriod": (_host(CpuQuota=1000), _host(CpuQuota=1000, CpuPeriod=5000)),
    "HostConfig.MemorySwap": (_host(Memory=2**24), _host(Memory=2**24, MemorySwap=2**25)),
    "Healthcheck.Test": (_health(), _health(Test=["CMD", "y"])),
    **{
        f"Healthcheck.{name}": (_health(), _health(**{name: 3 * SECOND}))
        for name in ("Interval", "Timeout", "StartPeriod", "StartInterval")
    },
    "Healthcheck.Retries": (_health(), _health(Retries=9)),
    **_by_disk("BlkioWeightDevice", "Weight"),
    **_by_disk("BlkioDeviceReadBps", "Rate"),
    **_by_disk("BlkioDeviceWriteBps", "Rate"),
    **_by_disk("BlkioDeviceReadIOps", "Rate"),
    **_by_disk("BlkioDeviceWriteIOps", "Rate"),
    "HostConfig.Devices[].PathOnHost": ({}, _device()),
    "HostConfig.Devices[].PathInContainer": (_device(), _device(PathInContainer="/dev/x")),
    "HostConfig.Devices[].CgroupPermissions": (_device(), _device(CgroupPermissions="r")),
    "HostConfig.DeviceRequests[].Driver": ({}, _gpu(Driver="nvidia")),
    "HostConfig.DeviceRequests[].Count": ({}, _gpu(Count=-1)),
    "HostConfig.DeviceRequests[].DeviceIDs": ({}, _gpu(DeviceIDs=["0"])),
    "HostConfig.DeviceRequests[].Capabilities": ({}, _gpu(Capabilities=[["gpu"]])),
    "HostConfig.DeviceRequests[].Options": ({}, _gpu(Options={"a": "b"})),
    "HostConfig.Ulimits[].Name": (_ulimit(), _ulimit(Name="nproc")),
    "HostConfig.Ulimits[].Soft": (_ulimit(), _ulimit(Soft=2)),
    "HostConfig.Ulimits[].Hard": (_ulimit(), _ulimit(Hard=3)),
    "HostConfig.LogConfig.Type": ({}, _host(LogConfig={"Type": "none"})),
    "HostConfig.LogConfig.Config": ({}, _host(LogConfig={"Config": {"max-size": "1m"}})),
    "HostConfig.PortBindings{}[].HostIp": (_port(), _port(HostIp="127.0.0.1")),
    "HostConfig.PortBindings{}[].HostPort": (_port(), _port(HostPort="8080")),
    "HostConfig.RestartPolicy.Name": ({}, _host(RestartPolicy={"Name": "always"})),
    "HostConfig.RestartPolicy.MaximumRetryCount": (
        _host(RestartPolicy={"Name": "on-failure"}),
        _host(RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 4}),
    ),
    "HostConfig.Mounts[].Target": (_mount(), _mount(Target="/other")),
    "HostConfig.Mounts[].Source": (_mount(), _mount(source="/other")),
    "HostConfig.Mounts[].Type": (_mount("volume", "v"), _mount("cluster", "v")),
    "HostConfig.Mounts[].ReadOnly": (_mount(), _mount(ReadOnly=True)),
    **{
        f"HostConfig.Mounts[].BindOptions.{name}": (_mount(), _mount(BindOptions={name: value}))
        for name, value in (
            ("Propagation", "rslave"), ("NonRecursive", True), ("CreateMountpoint", True),
            ("ReadOnlyNonRecursive", True), ("ReadOnlyForceRecursive", True),
        )
    },
    **{
        f"HostConfig.Mounts[].VolumeOptions.{name}": (
            _mount("volume", "v"), _mount("volume", "v", VolumeOptions={name: value}),
        )
        for name, value in (("NoCopy", True), ("Subpath", "s"), ("Labels", {"a": "b"}))
    },
    "HostConfig.Mounts[].VolumeOptions.DriverConfig.Name": (
        _mount("volume", "v"), _mount("volume", "v", VolumeOptions={"DriverConfig": {"Name": "nfs"}}),
    ),
    "HostConfig.Mounts[].VolumeOptions.DriverConfig.Options": (
        _mount("volume", "v"), _mount("volume", "v", VolumeOptions={"DriverConfig": {"Options": {"a": "b"}}}),
    ),
    "HostConfig.Mounts[].ImageOptions.Subpath": (
        _mount("volume", "v"), _mount("image", "v", ImageOptions={"Subpath": "s"}),
    ),
    **{
        f"HostConfig.Mounts[].TmpfsOptions.{name}": (
            _mount("tmpfs", ""), _mount("tmpfs", "", TmpfsOptions={name: value}),
        )
        for name, value in (("SizeBytes", 2**20), ("Mode", 0o700), ("Options", [["noexec"]]))
    },
    **{
        f"NetworkingConfig.EndpointsConfig{{}}.{name}": (_endpoint(), _endpoint(**{name: value}))
        for name, value in (
            ("MacAddress", "02:00:00:00:00:01"), ("Aliases", ["a"]), ("DriverOpts", {"a": "b"}),
            ("GwPriority", 3), ("Links", ["x:y"]),
        )
    },
    **{
        f"NetworkingConfig.EndpointsConfig{{}}.IPAMConfig.{name}": (
            _endpoint(), _endpoint(IPAMConfig={name: value}),
        )
        for name, value in (
            ("IPv4Address", "10.0.0.9"), ("IPv6Address", "fd00::9"), ("LinkLocalIPs", ["169.254.1.1"]),
        )
    },
}  # fmt: skip
_NOTHING = dict.fromkeys(
    ("AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce"),
    "is kept, and told by inspect: who attaches says it",
)
_TOLD = "what the engine says of it, which a client may send back as it was told"
MEANS_NOTHING: dict[str, str] = {
    **_NOTHING,
    "ArgsEscaped": "of Windows",
    "Image": "is what it is made of",
    "OnBuild": "is kept for a commit",
    "Shell": "is kept for a commit",
    "HostConfig.ContainerIDFile": "the client writes it; it is kept, and told by inspect",
    "HostConfig.Mounts[].Consistency": "of Docker Desktop",
    **{
        f"NetworkingConfig.EndpointsConfig{{}}.{name}": _TOLD
        for name in (
            "NetworkID", "EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "IPv6Gateway",
            "GlobalIPv6Address", "GlobalIPv6PrefixLen", "DNSNames",
        )
    },
}  # fmt: skip


@functools.cache
def _definition() -> dict[str, Any]:
    data: dict[str, Any] = yaml.load(DATA.read_text(), Loader=yaml.CSafeLoader)
    return data


def leaves(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The fields that have none below them, as `HostConfig.Mounts[].Target`."""
    while "$ref" in schema:
        schema = _definition()["definitions"][schema["$ref"].rpartition("/")[2]]
    parts = [*schema.get("allOf", ()), *([schema["items"]] if "items" in schema else ())]
    named = schema.get("properties", {})
    more = schema.get("additionalProperties")
    if isinstance(more, dict) and more.get("type") != "string":
        parts, path = [*parts, more], f"{path}{{}}"
    end = "[]" if "items" in schema else ""
    below = [
        *(found for part in parts for found in leaves(part, path + end)),
        *(found for name, each in named.items() for found in leaves(each, f"{path}.{name}")),
    ]
    yield from below or [re.sub(r"(\[\]|\{\})+$", "", path.removeprefix("."))]


def fields_of(path: str) -> list[str]:
    call = _definition()["paths"][path]["post"]
    body = next(each for each in call["parameters"] if each["in"] == "body")
    return sorted(set(leaves(body["schema"])))


def wanted(body: Body) -> tuple[Any, ...]:
    """All that comes of a create call: the spec, and what volumes it asks for."""
    volumes: list[Any] = []

    def volume(name: str, options: Mapping[str, str], labels: Mapping[str, str]) -> str:
        volumes.append((name, dict(options), dict(labels)))
        return name

    spec = spec_of("web", {"Image": "busybox", **body}, IMAGE, replace(LOOKUP, volume=volume))
    asked = spec.asked.model_copy(update={"request": {}}) if spec.asked else None
    return spec.model_copy(update={"asked": asked}), volumes


def test_no_field_of_a_container_is_left_out() -> None:
    assert fields_of("/containers/create") == sorted({*CONTAINER, *MEANS_NOTHING})


@pytest.mark.parametrize("field", CONTAINER)
def test_a_field_of_a_container_is_honoured_or_refused(field: str) -> None:
    without, asked = CONTAINER[field]
    before = wanted(without)
    try:
        after = wanted(asked)
    except SetpointError:
        return
    assert before != after
