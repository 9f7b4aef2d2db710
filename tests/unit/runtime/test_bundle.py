"""A ContainerConfig as an OCI config: valid by the runtime-spec's own schema, and safe by default."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry
from referencing.jsonschema import DRAFT4

from runtime import bundle, devices, security
from runtime.errors import Invalid, NotFound
from runtime.model import (
    ContainerConfig,
    ImageInfo,
    MountConfig,
    Resources,
    SandboxConfig,
    Security,
    Ulimit,
)
from runtime.mounts import Overlay
from runtime.oci import describe
from runtime.supervisor.prepare import prepare

SCHEMAS = Path(__file__).parents[2] / "data" / "oci-runtime-spec"
IMAGE = ImageInfo(
    id="sha256:1", names=("busybox:latest",), size_bytes=1, created_at=0.0, architecture="amd64", os="linux",
    entrypoint=("/entry",), command=("default",), environment=("PATH=/bin", "A=1", "FOO", "=x", ""),
    working_dir="/srv", user="web",
)  # fmt: skip
CONFIG = ContainerConfig(
    id="a" * 64, name="shop-web-1", image="sha256:1", sandbox=SandboxConfig("own", id="s"), hostname="web"
)
PATHS = bundle.HostPaths(
    Overlay(("/l2", "/l1"), "/up", "/work"),
    "/setpoint/a",
    "/run/netns/s",
    "/h",
    "/r",
    "/n",
    {"data": "/vol/data"},
)


def made(config: ContainerConfig = CONFIG, image: ImageInfo = IMAGE, **more: Any) -> dict[str, Any]:
    # Through JSON, as it is written: what does not survive that must not be in it.
    found: dict[str, Any] = json.loads(json.dumps(bundle.oci_config(config, image, PATHS, **more)))
    return found


def validate(instance: Any, name: str) -> None:
    found = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    base = "https://example.test/"
    resources = [(base + file, DRAFT4.create_resource(value)) for file, value in found.items()]
    schema = {**found[name], "id": base + name}
    registry: Any = Registry().with_resources(resources)
    jsonschema.Draft4Validator(schema, registry=registry).validate(instance)


FULL = replace(
    CONFIG,
    tty=True, init=True, read_only=True, domainname="example.test", working_dir="/w", user="1:2",
    group_add=("video",), labels={"tier": "front", "setpoint.rootfs": "evil"},
    mounts=(
        MountConfig("bind", "/b", "/srv", read_only=True, propagation="rslave"),
        MountConfig("volume", "/v/data", "data", subpath="x"),
        MountConfig("tmpfs", "/t", size_bytes=4096, mode=0o700),
    ),
    security=Security(cap_add=("NET_ADMIN",), cap_drop=("CHOWN",), no_new_privileges=True),
    resources=Resources(150_000, 100_000, 512, "0", "0", 1 << 20, -1, 1 << 19, 100, 500, True, 300),
    sysctls={"net.core.somaxconn": "10"}, ulimits=(Ulimit("nofile", 5, 6), Ulimit("memlock", -1, -1)),
)  # fmt: skip


@pytest.mark.parametrize("config", [CONFIG, FULL, replace(CONFIG, security=Security(privileged=True))])
def test_it_is_valid_by_the_schema_and_by_our_own_launch_path(config: ContainerConfig) -> None:
    found = made(config)
    validate(found, "config-schema.json")
    prepare(found, "/bundle", b"")


def test_the_example_config_and_features_are_valid() -> None:
    validate(json.loads(json.dumps(describe.example_config())), "config-schema.json")
    validate(json.loads(json.dumps(describe.features(True, False))), "features-schema.json")


@pytest.mark.parametrize(
    ("entrypoint", "command", "expected"),
    [
        (None, None, ["/entry", "default"]),
        (None, ("x",), ["/entry", "x"]),
        (("e",), None, ["e"]),  # a new entrypoint drops the image's command
        (("e",), ("x",), ["e", "x"]),
        ((), ("x",), ["x"]),
        ((), None, ["default"]),  # an empty one does not
        (None, (), ["/entry"]),
    ],
)
def test_arguments(
    entrypoint: tuple[str, ...] | None, command: tuple[str, ...] | None, expected: list[str]
) -> None:
    assert made(replace(CONFIG, entrypoint=entrypoint, command=command))["process"]["args"] == expected


def test_a_read_only_bind_takes_what_is_mounted_below_with_it() -> None:
    mount = MountConfig("bind", "/x", "/srv", read_only=True)
    assert {"rbind", "ro", "rro"} <= set(bundle.mount_to_oci(mount, {})["options"])
    volume = MountConfig("volume", "/x", "data", read_only=True)
    assert "rro" not in bundle.mount_to_oci(volume, {"data": "/v"})["options"]


def test_annotations_do_not_override_what_the_runtime_reads() -> None:
    found = made(replace(CONFIG, annotations={"note": "text", "setpoint.rootfs": "evil"}))["annotations"]
    assert found["note"] == "text"
    assert found["setpoint.rootfs"] == PATHS.overlay.to_json()


def test_shared_memory_goes_with_a_joined_ipc_namespace() -> None:
    paths = replace(PATHS, ipc_namespace="/proc/7/ns/ipc", shm_namespace="/proc/7/ns/mnt")
    config = replace(CONFIG, ipc_mode=f"container:{'b' * 64}")
    mounts = bundle.oci_config(config, IMAGE, paths)["mounts"]
    (found,) = (mount for mount in mounts if mount["destination"] == "/dev/shm")
    assert (found["type"], found["source"]) == ("bind", "/dev/shm")
    assert "x-setpoint.namespace=/proc/7/ns/mnt" in found["options"]


def test_a_privileged_container_has_the_hosts_devices_and_terminals_of_its_own() -> None:
    config = replace(CONFIG, security=Security(privileged=True))
    paths = {device.path for device, _ in bundle.find_devices(config)}
    assert {"/dev/null", "/dev/zero"} <= paths
    assert not any(path.startswith(("/dev/pts/", "/dev/shm/")) for path in paths)
    assert paths.isdisjoint(("/dev/console", "/dev/ptmx"))
    assert bundle.find_devices(CONFIG) == ()


def test_no_command_at_all_is_refused() -> None:
    with pytest.raises(Invalid, match="no command"):
        made(replace(CONFIG, entrypoint=(), command=()))


def test_init_comes_first_and_is_bound_read_only() -> None:
    found = made(replace(CONFIG, init=True))
    assert found["process"]["args"][:3] == ["/dev/init", "--", "/entry"]
    mount = next(each for each in found["mounts"] if each["destination"] == "/dev/init")
    assert "ro" in mount["options"]


def test_the_environment_is_built_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FOO", "CANARY"):
        monkeypatch.setenv(name, "secret")
    found = made(replace(CONFIG, environment={"A": "2", "B": "3"}))["process"]["env"]
    assert found == ["PATH=/bin", "HOSTNAME=web", "A=2", "B=3"]
    assert "secret" not in json.dumps(found)


def test_a_label_is_never_an_annotation_of_the_runtime() -> None:
    annotations = made(FULL)["annotations"]
    assert json.loads(annotations["setpoint.rootfs"])["lower"] == ["/l2", "/l1"]
    assert annotations["setpoint.label/setpoint.rootfs"] == "evil"


def test_the_defaults_are_safe() -> None:
    found = made()
    assert set(found["process"]["capabilities"]) == {"bounding", "effective", "permitted"}
    assert found["process"]["capabilities"]["bounding"] == [
        name for name in security.CAPABILITIES if name in security.DEFAULT_CAPABILITIES
    ]
    assert found["linux"]["maskedPaths"] == list(security.MASKED_PATHS)
    assert found["linux"]["readonlyPaths"] == list(security.READ_ONLY_PATHS)
    assert found["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert found["linux"]["resources"]["pids"] == {"limit": 2048}
    assert {each["type"] for each in found["linux"]["namespaces"]} == {
        "mount", "pid", "ipc", "uts", "cgroup", "network",
    }  # fmt: skip
    sys_mounts = [each for each in found["mounts"] if each["destination"] in ("/sys", "/sys/fs/cgroup")]
    assert all("ro" in each["options"] for each in sys_mounts)


def test_r13_a_container_is_not_spared_with_its_supervisor() -> None:
    assert made(CONFIG)["process"]["oomScoreAdj"] == 0
    assert made(FULL)["process"]["oomScoreAdj"] == 500


def test_privileged_takes_what_the_host_can_give() -> None:
    host = bundle.HostLimits(tuple(name for name in security.CAPABILITIES if name != "CAP_SYS_RESOURCE"))
    found = made(replace(CONFIG, security=Security(privileged=True)), host=host)
    assert "CAP_SYS_RESOURCE" not in found["process"]["capabilities"]["bounding"]
    assert "maskedPaths" not in found["linux"]
    assert found["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]


def test_limits() -> None:
    assert bundle.resources_to_oci(Resources(memory_bytes=100)) == {
        "memory": {"limit": 100, "swap": 200}, "pids": {"limit": 2048},
    }  # fmt: skip
    assert bundle.resources_to_oci(Resources(pids=None)) == {}
    assert bundle.resources_to_oci(Resources(pids=-1, memory_bytes=5, memory_swap_bytes=-1)) == {
        "memory": {"limit": 5, "swap": -1}, "pids": {"limit": -1},
    }  # fmt: skip


def test_limits_of_disks_are_by_their_numbers(tmp_path: Path) -> None:
    file = str(tmp_path / "file")
    Path(file).touch()
    limits = Resources(pids=None, blkio_weight=10, blkio_read_bps=((file, 1), (f"{file}2", 1)))
    assert bundle.resources_to_oci(limits) == {"blockIO": {"weight": 10}}
    with pytest.raises(Invalid, match="not a block device"):
        bundle.resources_to_oci(limits, strict=True)
    with pytest.raises(NotFound, match="no such disk"):
        bundle.resources_to_oci(replace(limits, blkio_read_bps=((f"{file}2", 1),)), strict=True)
    others = Resources(
        pids=None, cpu_rt_period_us=5, cpu_rt_runtime_us=0, memory_swappiness=0, cpuset_mems="0"
    )
    assert bundle.resources_to_oci(Resources(pids=None, cpu_period_us=50_000)) == {"cpu": {"period": 50_000}}
    assert bundle.resources_to_oci(others) == {
        "cpu": {"mems": "0", "realtimePeriod": 5, "realtimeRuntime": 0}, "memory": {"swappiness": 0},
    }  # fmt: skip


def test_paths_to_hide_of_ones_own() -> None:
    own = Security(hidden_paths=("/proc/kcore",), readonly_paths=())
    found = made(replace(CONFIG, security=own))["linux"]
    assert (found["maskedPaths"], found["readonlyPaths"]) == (["/proc/kcore"], [])
    found = made(replace(CONFIG, security=Security(hidden_paths=("/a",))))["linux"]
    assert found["readonlyPaths"] == list(security.READ_ONLY_PATHS)
    for path in ("", "/", "proc/x", "/proc", "/sys", "/dev", "/proc/1/mem", "/proc/self", "/a/../b", "/a//b",
                 "/a\0", "/proc/thread-self/mem", f"/{'a' * 5000}"):  # fmt: skip
        with pytest.raises(Invalid):
            made(replace(CONFIG, security=Security(readonly_paths=(path,))))


def test_who_sees_whose_control_groups() -> None:
    for mode, is_privileged, is_own in (("", False, True), ("", True, False), ("host", False, False),
                                        ("private", True, True)):  # fmt: skip
        config = replace(CONFIG, cgroup_mode=mode, security=Security(privileged=is_privileged))
        kinds = {each["type"] for each in made(config)["linux"]["namespaces"]}
        assert ("cgroup" in kinds) is is_own


def test_device_rules_are_those_of_the_manifest_too() -> None:
    rules = made(replace(CONFIG, device_rules=("c 188:* wr", "a 1:2 m")))["linux"]["resources"]["devices"]
    assert rules[-3:] == [
        {"allow": True, "access": "rw", "type": "c", "major": 188},
        {"allow": True, "access": "m", "type": "c", "major": 1, "minor": 2},
        {"allow": True, "access": "m", "type": "b", "major": 1, "minor": 2},
    ]
    with pytest.raises(Invalid, match="not a device rule"):
        made(replace(CONFIG, device_rules=("c 1:1 x",)))


def test_a_variable_of_the_image_is_taken_away() -> None:
    config = replace(CONFIG, environment={"A": "1"}, environment_unset=("PATH", "A", "NONE"))
    variables = dict(entry.split("=", 1) for entry in made(config)["process"]["env"])
    assert "PATH" not in variables and variables["A"] == "1"


def test_unlimited_ulimits_are_the_largest_number() -> None:
    found = {each["type"]: each for each in made(FULL)["process"]["rlimits"]}
    assert found["RLIMIT_MEMLOCK"]["hard"] == (1 << 64) - 1
    assert found["RLIMIT_NOFILE"] == {"type": "RLIMIT_NOFILE", "soft": 5, "hard": 6}
    assert found["RLIMIT_CORE"]["hard"] == 0


@pytest.mark.parametrize(
    "target",
    [
        "",
        "/",
        "relative",
        "/proc",
        "/sys/",
        "/dev",
        "/a\0b",
        "/./",
        "//",
        "/./proc",
        "//sys",
        "/dev/.",
        "./a",
    ],
)
def test_a_target_that_would_break_the_container_is_refused(target: str) -> None:
    with pytest.raises(Invalid):
        made(replace(CONFIG, mounts=(MountConfig("tmpfs", target),)))


def test_a_users_mount_replaces_a_default_one() -> None:
    found = made(replace(CONFIG, mounts=(MountConfig("bind", "/etc/hosts", "/my/hosts"),)))
    assert [each["source"] for each in found["mounts"] if each["destination"] == "/etc/hosts"] == [
        "/my/hosts"
    ]


def test_parents_are_mounted_before_what_is_below_them() -> None:
    mounts = (MountConfig("tmpfs", "/a/b/c"), MountConfig("tmpfs", "/a"), MountConfig("tmpfs", "/a/b"))
    found = [each["destination"] for each in made(replace(CONFIG, mounts=mounts))["mounts"]]
    assert found[-3:] == ["/a", "/a/b", "/a/b/c"]


def test_shared_namespaces() -> None:
    config = replace(CONFIG, pid_mode="host", ipc_mode="host", uts_mode="host", sandbox=SandboxConfig("host"))
    found = made(config)
    assert {each["type"] for each in found["linux"]["namespaces"]} == {"mount", "cgroup"}
    assert "hostname" not in found
    assert "net.ipv4.ping_group_range" not in found["linux"]["sysctl"]
    prepare(found, "/bundle", b"")


def test_propagation_of_the_root_follows_the_mounts() -> None:
    assert made(FULL)["linux"]["rootfsPropagation"] == "slave"
    assert "rootfsPropagation" not in made()["linux"]


def test_devices_are_looked_up_and_allowed() -> None:
    found = devices.look_up("/dev/zero", "/dev/nil", "r")
    oci = made(found_devices=found)["linux"]
    assert oci["devices"][0]["path"] == "/dev/nil"
    assert oci["resources"]["devices"][-1] == {
        "allow": True,
        "type": "c",
        "major": 1,
        "minor": 5,
        "access": "r",
    }


@pytest.mark.parametrize("access", ["", "x", "rwmm-", "rw "])
def test_an_odd_access_is_refused(access: str) -> None:
    with pytest.raises(Invalid):
        devices.look_up("/dev/zero", "/dev/zero", access)


def test_a_directory_is_no_single_device_and_a_file_none() -> None:
    with pytest.raises(Invalid, match="not a device"):
        devices.look_up("/etc/passwd", "/dev/x")
