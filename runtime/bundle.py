"""A container as an OCI runtime-spec config (1.2): pure, from a ContainerConfig and its image.

Called by `engine` at create. The result is what the native runtime and every other OCI runtime
starts. Changes nothing: host paths, devices and namespaces that were looked up come in as values, but for the
numbers of disks that limits name.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime import devices, security, user_namespaces
from runtime.errors import Invalid
from runtime.model import ContainerConfig, ImageInfo, MountConfig, Resources, Security, Ulimit
from runtime.mounts import NAMESPACE, Overlay

VERSION = "1.2.0"
INIT_PROGRAM = "/usr/bin/tini-static"
INIT_TARGET = "/dev/init"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOFILE_SOFT, NOFILE_HARD = 1024, 524_288  # systemd's defaults, which images are used to
RESERVED = "setpoint."
IDS = "setpoint.ids"  # see supervisor.own_ids
LABEL = "setpoint.label/"  # annotation names: a label can never be one of the runtime's own

# proc(5), sysfs(5): options and order as every engine has them.
_PROC = {
    "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"],
}  # fmt: skip
_DEV = {
    "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
    "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
}  # fmt: skip
_PTS = {
    "destination": "/dev/pts", "type": "devpts", "source": "devpts",
    "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
}  # fmt: skip
_MQUEUE = {
    "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
    "options": ["nosuid", "noexec", "nodev"],
}  # fmt: skip
_SYSCTLS = {
    # ping without a capability and low ports without root, inside: both are the namespace's own.
    "net.ipv4.ping_group_range": "0 2147483647",
    "net.ipv4.ip_unprivileged_port_start": "0",
}


@dataclass(frozen=True, slots=True)
class HostPaths:
    """What the host provides for one container.

    volumes: a volume's name -> its directory; rbinds: those of which all that is mounted below counts.
    pid_namespace, ipc_namespace: files of the namespaces to join for "container:<id>" ("" otherwise);
    shm_namespace: the mount namespace that has the shared memory of that ipc namespace.
    seccomp: the compiled filter's file, "" for none. ids: the first of its own, 0 for the host's.
    """

    overlay: Overlay
    cgroup: str
    netns: str = ""
    hosts: str = ""
    resolv: str = ""
    hostname: str = ""
    volumes: Mapping[str, str] | None = None
    rbinds: Collection[str] = ()
    pid_namespace: str = ""
    ipc_namespace: str = ""
    joined: tuple[tuple[int, int], ...] = ()  # pid and start time of whose namespaces those are
    shm_namespace: str = ""
    seccomp: str = ""
    ids: int = 0


@dataclass(frozen=True, slots=True)
class HostLimits:
    """What this host can give: capabilities of the bounding set, the hard limit of open files, and the
    AppArmor profile of who names none ("" where there is none)."""

    capabilities: tuple[str, ...] = security.CAPABILITIES
    nofile: int = NOFILE_HARD
    apparmor: str = ""


def oci_config(
    config: ContainerConfig,
    image: ImageInfo,
    paths: HostPaths,
    *,
    found_devices: Sequence[tuple[devices.Device, devices.Rule]] = (),
    host: HostLimits = HostLimits(),
    seccomp_profile: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The OCI config. found_devices: `find_devices(config)`. seccomp_profile: the OCI object, only for
    runtimes that compile it themselves (ours takes paths.seccomp). `Invalid` for what cannot work."""
    made: dict[str, Any] = {
        "ociVersion": VERSION,
        "root": {"path": "rootfs", "readonly": config.read_only},
        "process": _process(config, image, host),
        "mounts": _mounts(config, paths),
        "linux": _linux(config, paths, found_devices),
        "annotations": _annotations(config, paths),
    }
    if config.uts_mode != "host":
        made["hostname"] = config.hostname or config.id[:12]
        if config.domainname:
            made["domainname"] = config.domainname
    if paths.ids:
        _give_ids(made, paths)
    if seccomp_profile is not None:
        made["linux"]["seccomp"] = seccomp_profile
    return made


def _give_ids(made: dict[str, Any], paths: HostPaths) -> None:
    """A user namespace: the one that its network belongs to. The files of `names` are given to it where they
    are written; what a manifest mounts is shown to it idmapped."""
    linux = made["linux"]
    linux["uidMappings"] = linux["gidMappings"] = user_namespaces.mapping(paths.ids)
    linux["namespaces"].append(_namespace("user", paths.netns))
    made["annotations"][IDS] = "own"


def find_devices(config: ContainerConfig) -> tuple[tuple[devices.Device, devices.Rule], ...]:
    """The devices that a config asks for, looked up on the host; all of them when it is privileged.
    `NotFound`, `Invalid`."""
    found = list(devices.host_devices()) if config.security.privileged else []
    for device in config.devices:
        found += devices.look_up(device.source, device.target, device.access)
    return tuple(found)


def _annotations(config: ContainerConfig, paths: HostPaths) -> dict[str, str]:
    made = {
        "setpoint.rootfs": paths.overlay.to_json(),
        "setpoint.groups": json.dumps(config.group_add),
        "setpoint.name": config.name,
    }
    if paths.seccomp and not config.security.privileged:
        made["setpoint.seccomp"] = paths.seccomp
    if paths.joined:
        made["setpoint.joined"] = json.dumps(paths.joined)
    # What steers this runtime is not for a manifest to say, nor for an image.
    plain = {key: value for key, value in config.annotations.items() if not key.startswith(RESERVED)}
    return {**plain, **made, **{f"{LABEL}{key}": value for key, value in config.labels.items()}}


# --- process ------------------------------------------------------------------------------------


def arguments(config: ContainerConfig, image: ImageInfo) -> tuple[str, ...]:
    """The argv: a new entrypoint drops the image's command, an empty one only the image's entrypoint, as
    in Docker. `Invalid` when empty."""
    entrypoint = image.entrypoint if config.entrypoint is None else config.entrypoint
    command = config.command
    if command is None:
        command = () if config.entrypoint else image.command
    argv = (*entrypoint, *command)
    if not argv or not argv[0]:
        raise Invalid("create", config.name, "no command", "the image has none: set command or entrypoint")
    return (INIT_TARGET, "--", *argv) if config.init else argv


def environment(config: ContainerConfig, image: ImageInfo) -> tuple[str, ...]:
    """The environment from nothing: defaults, the image's, the config's. An entry of the image without
    a value is left out: nothing is ever taken from the host's environment."""
    found = {"PATH": DEFAULT_PATH}
    if config.uts_mode != "host":
        found["HOSTNAME"] = config.hostname or config.id[:12]
    if config.tty:
        found["TERM"] = "xterm"
    for entry in image.environment:
        name, separator, value = entry.partition("=")
        if name and separator:
            found[name] = value
    for name in config.environment_unset:
        found.pop(name, None)
    found.update(config.environment)
    found.update(config.secret_environment)
    return tuple(f"{name}={value}" for name, value in found.items())


def _console_size(config: ContainerConfig) -> dict[str, Any]:
    rows, columns = config.tty_size
    return {"consoleSize": {"height": rows, "width": columns}} if config.tty and rows and columns else {}


def _process(config: ContainerConfig, image: ImageInfo, host: HostLimits) -> dict[str, Any]:
    security_ = config.security
    caps = security.capabilities(
        security_.cap_add, security_.cap_drop, security_.privileged, host.capabilities
    )
    process: dict[str, Any] = {
        "terminal": config.tty,
        "user": {"uid": 0, "gid": 0, "username": config.user or image.user},
        "args": arguments(config, image),
        "env": environment(config, image),
        "cwd": config.working_dir or image.working_dir or "/",
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        "noNewPrivileges": security_.no_new_privileges,
        "rlimits": rlimits(config.ulimits, host),
        **_console_size(config),
        "oomScoreAdj": config.resources.oom_score_adj or 0,  # and not what its parent is spared by
    }
    profile = apparmor_of(security_, host)
    if profile and profile != "unconfined":
        process["apparmorProfile"] = profile
    return process


def apparmor_of(security_: Security, host: HostLimits) -> str:
    """The profile that confines a container, "" for none."""
    return security_.apparmor or ("" if security_.privileged else host.apparmor)


def rlimits(ulimits: Sequence[Ulimit], host: HostLimits) -> list[dict[str, Any]]:
    """OCI rlimits: those asked for, and defaults for open files and core dumps."""
    made = {
        "RLIMIT_NOFILE": (min(NOFILE_SOFT, host.nofile), min(NOFILE_HARD, host.nofile)),
        "RLIMIT_CORE": (0, 0),
    }
    for limit in ulimits:
        name = f"RLIMIT_{limit.name.upper()}"
        security.rlimit_number(name)
        made[name] = (limit.soft, limit.hard)
    # -1 is "no limit", which OCI writes as the largest number.
    top = (1 << 64) - 1
    return [
        {"type": name, "soft": soft if soft >= 0 else top, "hard": hard if hard >= 0 else top}
        for name, (soft, hard) in made.items()
    ]


# --- mounts -------------------------------------------------------------------------------------


def _mounts(config: ContainerConfig, paths: HostPaths) -> list[dict[str, Any]]:
    privileged = config.security.privileged
    access = "rw" if privileged else "ro"
    own = {mount.target.rstrip("/") or "/" for mount in config.mounts}
    made: list[dict[str, Any]] = [_PROC, _DEV, _PTS]
    if config.ipc_mode != "none":
        made.append(_shm(config, paths))
    if config.ipc_mode in ("", "none") or config.ipc_mode.startswith("container:"):
        made.append(_MQUEUE)
    made.append(_plain("/sys", "sysfs", ["nosuid", "noexec", "nodev", access]))
    made.append(_plain("/sys/fs/cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", access]))
    if config.init:
        made.append(_bind(INIT_PROGRAM, INIT_TARGET, ["ro"]))
    for source, target in (
        (paths.hosts, "/etc/hosts"),
        (paths.resolv, "/etc/resolv.conf"),
        (paths.hostname, "/etc/hostname"),
    ):
        if source:
            made.append(_bind(source, target, []))
    made = [each for each in made if each["destination"] not in own]
    # The kernel mounts in this order: what is above must be there before what is below.
    for mount in sorted(config.mounts, key=lambda mount: mount.target.count("/")):
        made.append(mount_to_oci(mount, paths.volumes or {}, paths.rbinds))
        if paths.ids and mount.kind != "tmpfs":
            made[-1]["options"].append("ridmap" if mount.kind == "bind" else "idmap")
    return made


def _shm(config: ContainerConfig, paths: HostPaths) -> dict[str, Any]:
    if config.ipc_mode == "host":
        return _bind("/dev/shm", "/dev/shm", [])  # noqa: S108
    if paths.shm_namespace:
        return _bind("/dev/shm", "/dev/shm", [f"{NAMESPACE}{paths.shm_namespace}"])  # noqa: S108
    return {
        "destination": "/dev/shm", "type": "tmpfs", "source": "shm",  # noqa: S108
        "options": ["nosuid", "noexec", "nodev", "mode=1777", f"size={config.shm_bytes}"],
    }  # fmt: skip


def _plain(target: str, kind: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": options}


def _bind(source: str, target: str, options: list[str]) -> dict[str, Any]:
    return {
        "destination": target, "type": "bind", "source": source, "options": ["rbind", "rprivate", *options],
    }  # fmt: skip


def bind_to_oci(source: str, target: str) -> dict[str, Any]:
    """A file of the engine's own, shown in a container."""
    return _bind(source, target, [])


def mount_to_oci(
    mount: MountConfig, volumes: Mapping[str, str], rbinds: Collection[str] = ()
) -> dict[str, Any]:
    """One mount of a manifest as an OCI mount. `Invalid` for a target that would break the container."""
    target = "/" + "/".join(part for part in mount.target.split("/") if part not in ("", "."))
    if mount.target[:1] != "/" or target in ("/", "/proc", "/sys", "/dev") or "\0" in target:
        raise Invalid("mount", mount.target or "''", "not a place to mount on", "an absolute path below /")
    options = list(mount.options)
    if mount.read_only:
        options.append("ro")
    if mount.kind == "tmpfs":
        return {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": _tmpfs(mount, options)}
    source = mount.source
    if mount.kind == "volume":
        if source not in volumes:
            raise Invalid("mount", target, f"volume {source} was not made", "")
        source = volumes[source]
    subpath = mount.subpath
    if mount.below and (rest := below(mount)):  # resolved as if that directory were the root
        source, subpath = mount.below, f"{rest}/{subpath}".rstrip("/")
    if subpath:
        options.append(f"x-setpoint.subpath={subpath}")
    is_whole = mount.kind == "bind" or mount.source in rbinds
    kind = "rbind" if is_whole and mount.recursive != "disabled" else "bind"
    if mount.read_only and kind == "rbind" and mount.recursive != "writable":
        options.append("rro")  # with the mounts below it, as in Docker since 25
    return {
        "destination": target, "type": "bind", "source": source,
        "options": [kind, mount.propagation or "rprivate", *options],
    }  # fmt: skip


def below(mount: MountConfig) -> str:
    """Where a bind's source is in the directory that it must not leave; "" for that itself. `Invalid` for
    one outside of it."""
    if mount.source == mount.below:
        return ""
    root = mount.below.rstrip("/") + "/"
    if not mount.source.startswith(root):
        raise Invalid("mount", mount.target, f"{mount.source} is not below {mount.below}", "")
    return mount.source.removeprefix(root)


def _tmpfs(mount: MountConfig, options: list[str]) -> list[str]:
    options = ["noexec", "nosuid", "nodev", *options]
    if mount.size_bytes is not None:
        options.append(f"size={mount.size_bytes}")
    if mount.mode is not None:
        options.append(f"mode={mount.mode:o}")
    return options


# --- linux --------------------------------------------------------------------------------------


def _linux(
    config: ContainerConfig, paths: HostPaths, found_devices: Sequence[tuple[devices.Device, devices.Rule]]
) -> dict[str, Any]:
    privileged = config.security.privileged
    linux: dict[str, Any] = {
        "namespaces": _namespaces(config, paths),
        "cgroupsPath": paths.cgroup,
        "resources": resources_to_oci(config.resources, strict=True)
        | {"devices": _rules(config, found_devices)},
        "sysctl": (_SYSCTLS if config.sandbox.mode == "own" else {}) | _sysctls(config),
        "devices": devices.to_oci([device for device, _ in found_devices]),
    }
    if config.security.masked_paths and not privileged:
        linux["maskedPaths"] = security.MASKED_PATHS
        linux["readonlyPaths"] = security.READ_ONLY_PATHS
    for name, said in (
        ("maskedPaths", config.security.hidden_paths), ("readonlyPaths", config.security.readonly_paths),
    ):  # fmt: skip
        if said is not None:
            linux[name] = [security.check_system_path(path) for path in said]
    sharing = {mount.propagation.removeprefix("r") for mount in config.mounts if mount.kind != "tmpfs"}
    if "shared" in sharing:
        linux["rootfsPropagation"] = "shared"
    elif "slave" in sharing:
        linux["rootfsPropagation"] = "slave"
    return linux


def _sysctls(config: ContainerConfig) -> dict[str, str]:
    """As asked for; refused here already, so that no part of a start has set one by then."""
    for key in config.sysctls:
        security.sysctl_path(
            key,
            own_network=config.sandbox.mode != "host",
            own_ipc=config.ipc_mode != "host",
            own_uts=config.uts_mode != "host",
        )
    return dict(config.sysctls)


def _rules(
    config: ContainerConfig, found_devices: Sequence[tuple[devices.Device, devices.Rule]]
) -> list[dict[str, Any]]:
    if config.security.privileged:
        return devices.rules_to_oci([devices.Rule(True)])
    asked = [rule for _, rule in found_devices]
    asked += [rule for text in config.device_rules for rule in devices.rules_of(text)]
    return devices.rules_to_oci([devices.Rule(False), *devices.DEFAULT_RULES, *asked])


def _namespaces(config: ContainerConfig, paths: HostPaths) -> list[dict[str, str]]:
    made = [{"type": "mount"}]
    if config.pid_mode != "host":
        made.append(_namespace("pid", paths.pid_namespace))
    if config.ipc_mode != "host":
        made.append(_namespace("ipc", paths.ipc_namespace))
    if config.uts_mode != "host":
        made.append({"type": "uts"})
    is_own = not config.security.privileged if config.cgroup_mode == "" else config.cgroup_mode != "host"
    if is_own:
        made.append({"type": "cgroup"})
    if config.sandbox.mode != "host":
        made.append(_namespace("network", paths.netns))
    return made


def _namespace(kind: str, path: str) -> dict[str, str]:
    return {"type": kind, "path": path} if path else {"type": kind}


def resources_to_oci(resources: Resources, *, strict: bool = False) -> dict[str, Any]:
    """Limits as OCI `linux.resources`, without device rules. Disks that limits name are looked up; strict:
    NotFound for one that is not there, which else has no limit, as the kernel forgets it then."""
    made: dict[str, Any] = {}
    if memory := _memory(resources):
        made["memory"] = memory
    if cpu := _cpu(resources):
        made["cpu"] = cpu
    if resources.pids is not None:
        made["pids"] = {"limit": resources.pids}
    if block := _block_io(resources, strict):
        made["blockIO"] = block
    return made


def _memory(resources: Resources) -> dict[str, Any]:
    """Without a swap limit it gets as much swap again, as in Docker."""
    memory: dict[str, Any] = {}
    if resources.memory_bytes is not None:
        memory["limit"] = resources.memory_bytes
        memory["swap"] = resources.memory_bytes * 2
    if resources.memory_swap_bytes is not None:
        memory["swap"] = resources.memory_swap_bytes
    if resources.memory_reservation_bytes is not None:
        memory["reservation"] = resources.memory_reservation_bytes
    if resources.memory_swappiness is not None:
        memory["swappiness"] = resources.memory_swappiness
    if resources.oom_kill_disable:
        memory["disableOOMKiller"] = True
    return memory


def _cpu(resources: Resources) -> dict[str, Any]:
    cpu: dict[str, Any] = {}
    if resources.cpu_quota_us is not None:
        cpu |= {"quota": resources.cpu_quota_us, "period": resources.cpu_period_us}
    elif resources.cpu_period_us != Resources().cpu_period_us:  # it bounds nothing, and is shown
        cpu["period"] = resources.cpu_period_us
    if resources.cpu_shares is not None:
        cpu["shares"] = resources.cpu_shares
    if resources.cpuset_cpus:
        cpu["cpus"] = resources.cpuset_cpus
    if resources.cpuset_mems:
        cpu["mems"] = resources.cpuset_mems
    if resources.cpu_rt_period_us is not None:
        cpu["realtimePeriod"] = resources.cpu_rt_period_us
    if resources.cpu_rt_runtime_us is not None:
        cpu["realtimeRuntime"] = resources.cpu_rt_runtime_us
    return cpu


_BLOCK_IO = (
    ("weightDevice", "weight", "blkio_weight_device"),
    ("throttleReadBpsDevice", "rate", "blkio_read_bps"),
    ("throttleWriteBpsDevice", "rate", "blkio_write_bps"),
    ("throttleReadIOPSDevice", "rate", "blkio_read_iops"),
    ("throttleWriteIOPSDevice", "rate", "blkio_write_iops"),
)


def _block_io(resources: Resources, strict: bool) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if resources.blkio_weight is not None:
        made["weight"] = resources.blkio_weight
    for name, what, field in _BLOCK_IO:
        found = [
            {"major": number[0], "minor": number[1], what: value}
            for path, value in getattr(resources, field)
            if (number := devices.disk_number(path, strict=strict)) is not None
        ]
        if found:
            made[name] = found
    return made
