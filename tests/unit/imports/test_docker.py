"""What a Docker daemon inspects, as manifests: what was asked for, said; what cannot be said, named. Pure."""

from __future__ import annotations

from typing import Any

from agent.imports.accept import accepted
from agent.imports.docker import Dump, Import, import_docker
from agent.manifest.spec import (
    Attachment,
    ContainerSpec,
    Ipv6,
    Logging,
    Mount,
    NetworkSpec,
    Port,
    Restart,
    VolumeSpec,
)
from agent.manifest.writer.check import differences
from agent.manifest.writer.documents import write_compose
from runtime.errors import Invalid
from store.records import Key

IMAGE = {"Id": "sha256:aa", "Config": {"Cmd": ["serve"], "Env": ["PATH=/bin"], "Labels": {"of": "image"}}}
ID = "ab" * 32
MASKED = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/of-a-newer-one",
]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def container(name: str = "web", id: str = ID, **more: Any) -> dict[str, Any]:
    config = {"Image": "nginx:1.27", "Cmd": ["serve"], "Env": ["PATH=/bin"], "Labels": {"of": "image"}}
    config |= {"Hostname": id[:12], **more.pop("Config", {})}
    host = {
        "NetworkMode": "bridge", "IpcMode": "private", "ShmSize": 64 << 20, "Runtime": "runc",
        "RestartPolicy": {"Name": "no"}, "LogConfig": {"Type": "json-file", "Config": {}},
        "MaskedPaths": MASKED, "ReadonlyPaths": READ_ONLY, "PidsLimit": None, "CgroupnsMode": "host",
        "ConsoleSize": [0, 0],
        **more.pop("HostConfig", {}),
    }  # fmt: skip
    return {
        "Id": id, "Name": f"/{name}", "Image": "sha256:aa", "State": {"Status": "running", "Running": True},
        "Config": config, "HostConfig": host, "Mounts": [], **more,
    }  # fmt: skip


def imported(*containers: dict[str, Any], names: tuple[str, ...] = (), **more: Any) -> Import:
    """All of it is read back as the same."""
    found = import_docker(Dump(containers, {"sha256:aa": IMAGE}, **more), names)
    for project in {key.project for key in found.objects}:
        path = f"{project}/compose.yaml"
        assert differences(found.of(project), path, write_compose(found.of(project), path)) == ()
    return found


def web(found: Import, project: str = "imported", name: str = "web") -> ContainerSpec:
    spec = found.objects[Key(project, "container", name)]
    assert isinstance(spec, ContainerSpec)
    return spec


def test_what_the_image_and_the_daemon_say_is_not_said_again() -> None:
    found = imported(container())
    assert web(found) == ContainerSpec(
        image="nginx:1.27", container_name="web", network_mode="bridge", restart=Restart()
    )
    assert found.notes == {}


def test_what_was_asked_for_is_said() -> None:
    config = {"Cmd": ["run", "it"], "Env": ["PATH=/bin", "A=b$c"], "Labels": {"of": "image", "my": "own"}}
    host = {
        "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}, "Memory": 64 << 20,
        "MemorySwap": 128 << 20, "CapAdd": ["CAP_NET_ADMIN"],
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 5},
        "Tmpfs": {"/run": "size=1m"}, "ReadonlyRootfs": True,
        "LogConfig": {"Type": "json-file", "Config": {"tag": "{{.Name}}", "labels": "my", "max-file": "2"}},
    }  # fmt: skip
    spec = web(imported(container(Config=config, HostConfig=host)))
    assert spec.command == ("run", "it") and spec.environment == {"A": "b$c"} and spec.labels == {"my": "own"}
    assert spec.ports == (Port(target=80, published=8080),)
    assert spec.mem_limit == 64 << 20 and spec.memswap_limit is None and spec.cap_add == ("NET_ADMIN",)
    assert spec.restart == Restart(policy="on-failure", max_attempts=5)
    assert spec.logging == Logging(max_file=2, labels="my", tag="{{.Name}}")
    assert spec.mounts == (Mount(type="tmpfs", target="/run", size_bytes=1 << 20),) and spec.read_only


def test_what_cannot_be_said_is_named_and_takes_nothing_along() -> None:
    host = {
        "CgroupParent": "/x", "Memory": 64 << 20, "LogConfig": {"Type": "syslog", "Config": {}},
        "PortBindings": {"80/tcp": [{"HostIp": "::1", "HostPort": "1"}], "81/tcp": [{"HostPort": "2"}]},
    }  # fmt: skip
    found = imported(container(HostConfig=host))
    assert web(found).mem_limit == 64 << 20
    assert web(found).ports == (Port(target=81, published=2),)
    said = "\n".join(found.notes["imported"])
    assert "CgroupParent (/x): a container's group lies in the engine's own" in said
    assert "syslog" in said and "::1" in said


def test_a_secret_is_in_no_note() -> None:
    def take(body: dict[str, Any]) -> None:
        if any("\0" in entry for entry in body.get("Env", ())):
            raise Invalid("", "", "a NUL byte")

    kept, left = accepted({"Image": "a", "Env": ["PASSWORD=geh\0eim", "A=b"]}, take)
    assert kept == {"Image": "a", "Env": ["A=b"]}
    assert left == ("Env (PASSWORD): a NUL byte",)


def test_a_compose_project_is_one_of_ours() -> None:
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
    networks = {"shop_default": {"Name": "shop_default", "Driver": "bridge", "Labels": {
        "com.docker.compose.project": "shop", "com.docker.compose.network": "default"}}}  # fmt: skip
    volumes = {"shop_data": {"Name": "shop_data", "Driver": "local", "Labels": {
        "com.docker.compose.project": "shop", "com.docker.compose.volume": "data"}}}  # fmt: skip
    mounts = [{"Type": "volume", "Name": "shop_data", "Destination": "/data", "RW": True}]
    used = {"Networks": {"shop_default": {"Aliases": ["web", "w", ID[:12]], "IPAddress": "10.0.0.2"}}}
    one = container(
        "shop-web-1", Config={"Labels": labels}, HostConfig={"NetworkMode": "shop_default"}, Mounts=mounts,
        NetworkSettings=used,
    )  # fmt: skip
    two = container("shop-web-2", "cd" * 32, Config={"Labels": labels}, HostConfig={"NetworkMode": "none"})
    found = imported(one, two, networks=networks, volumes=volumes)
    spec = web(found, "shop")
    assert spec.container_name == "" and spec.labels == {}, "as we would name it, and no label of compose's"
    assert spec.networks == {"default": Attachment(aliases=("w",))}
    assert spec.mounts == (Mount(type="volume", source="data", target="/data"),)
    assert found.objects[Key("shop", "network", "default")] == NetworkSpec()
    assert found.objects[Key("shop", "volume", "data")] == VolumeSpec()
    assert found.volumes == {"shop_data": "shop_data"}
    assert web(found, "shop", "shop-web-2").container_name == "shop-web-2"


def test_an_anonymous_volume_gets_a_name_and_another_projects_is_external() -> None:
    name = "f" * 64
    mounts = [
        {"Type": "volume", "Name": name, "Destination": "/cache", "RW": True},
        {"Type": "volume", "Name": "shop_data", "Destination": "/data", "RW": False},
        {"Type": "bind", "Source": "/etc/app", "Destination": "/app", "RW": False, "Propagation": "rprivate"},
    ]
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.volume": "data"}
    volumes = {name: {"Name": name}, "shop_data": {"Name": "shop_data", "Labels": labels}}
    found = imported(container(Mounts=mounts), volumes=volumes)
    assert {(m.source, m.target, m.read_only) for m in web(found).mounts} == {
        ("web-ffffffffffff", "/cache", False), ("shop_data", "/data", True), ("/etc/app", "/app", True)
    }  # fmt: skip
    assert found.objects[Key("imported", "volume", "shop_data")] == VolumeSpec(external=True)
    assert found.volumes == {name: "imported_web-ffffffffffff"}


def test_a_networks_subnet_counts_where_somebody_has_an_address_of_it() -> None:
    network = {
        "Name": "lab", "Driver": "bridge", "Internal": True, "EnableIPv6": True,
        "IPAM": {"Config": [
            {"Subnet": "fd00:9::/64", "Gateway": "fd00:9::1/64"},
            {"Subnet": "10.9.0.0/24", "Gateway": "10.9.0.1"},
        ]},
        "Options": {"com.docker.network.driver.mtu": "1400", "other": "x"},
    }  # fmt: skip

    def of(endpoint: dict[str, Any]) -> Import:
        used = {"Networks": {"lab": endpoint}}
        return imported(
            container(HostConfig={"NetworkMode": "lab"}, NetworkSettings=used), networks={"lab": network}
        )

    found = of({})
    assert found.objects[Key("imported", "network", "lab")] == NetworkSpec(
        name="lab", internal=True, mtu=1400, ipv6=Ipv6()
    )
    assert len(found.notes["imported"]) == 1, "an option"
    found = of({"IPAMConfig": {"IPv4Address": "10.9.0.7"}})
    spec = found.objects[Key("imported", "network", "lab")]
    assert isinstance(spec, NetworkSpec) and spec.subnet == "10.9.0.0/24"
    assert web(found).networks["lab"].ipv4_address == "10.9.0.7"
    found = of({"IPAMConfig": {"IPv6Address": "fd00:9::7"}})
    spec = found.objects[Key("imported", "network", "lab")]
    assert isinstance(spec, NetworkSpec) and spec.subnet == ""
    assert spec.ipv6 == Ipv6(subnet="fd00:9::/64", gateway="fd00:9::1")
    assert web(found).networks["lab"].ipv6_address == "fd00:9::7"


def test_a_driver_that_is_not_to_be_had_is_external_and_said() -> None:
    network = {"Name": "wan", "Driver": "macvlan"}
    used: dict[str, Any] = {"Networks": {"wan": {}}}
    found = imported(
        container(HostConfig={"NetworkMode": "wan"}, NetworkSettings=used), networks={"wan": network}
    )
    assert found.objects[Key("imported", "network", "wan")] == NetworkSpec(external=True)
    assert "macvlan" in found.notes["imported"][0]


def test_only_those_that_are_named() -> None:
    found = imported(container(), container("db", "cd" * 32), names=("db",))
    assert set(found.objects) == {Key("imported", "container", "db")}


def test_one_that_does_not_run_is_wanted_stopped_and_that_is_said() -> None:
    found = imported(container(State={"Status": "exited"}))
    assert web(found).ensure == "stopped" and "does not run" in found.notes["imported"][0]


def test_paths_of_one_s_own_are_not_the_daemon_s() -> None:
    found = web(imported(container(HostConfig={"MaskedPaths": ["/proc/kcore"], "ReadonlyPaths": []})))
    assert (found.hidden_paths, found.readonly_paths) == (("/proc/kcore",), ())
    said = {"MaskedPaths": None, "ReadonlyPaths": None, "Privileged": True}
    found = web(imported(container(HostConfig=said)))
    assert (found.hidden_paths, found.readonly_paths, found.privileged) == (None, None, True)


def test_a_0_that_says_something_is_said() -> None:
    assert web(imported(container(HostConfig={"MemorySwappiness": 0}))).mem_swappiness == 0
    assert web(imported(container(HostConfig={"MemorySwappiness": None}))).mem_swappiness is None
    assert web(imported(container(HostConfig={"MemorySwappiness": -1}))).mem_swappiness is None


def test_a_privileged_one_may_have_control_groups_of_its_own() -> None:
    said = {"Privileged": True, "CgroupnsMode": "private", "MaskedPaths": None, "ReadonlyPaths": None}
    assert web(imported(container(HostConfig=said))).cgroup == "private"
    assert web(imported(container(HostConfig={"CgroupnsMode": "private"}))).cgroup == ""


def test_a_volume_that_is_not_filled_stays_so() -> None:
    mounts = [
        {"Type": "volume", "Name": name, "Destination": f"/{name}", "Mode": mode, "RW": True}
        for name, mode in (("data", "nocopy"), ("more", "z"))
    ]
    found = web(imported(container(Mounts=mounts)))
    assert [(mount.source, mount.no_copy) for mount in found.mounts] == [("data", True), ("more", False)]
