"""A spec as Docker's Config and HostConfig. Pure.

Of what the API made, the request itself is shown, with what was changed since; of what a manifest made, the
same is derived from its spec.
"""

from __future__ import annotations

from typing import Any

from agent.api.docker.container_body import FOREVER_SECONDS
from agent.manifest.parse_mounts import container_path
from agent.manifest.service import DEFAULT_CPU_PERIOD
from agent.manifest.spec import Blkio, BlkioRate, ContainerSpec, Healthcheck, Logging, Mount, Port
from agent.reconcile import convert
from runtime.model import ImageInfo
from runtime.signals import own_stop_signal

NANOSECONDS = 1_000_000_000
LIVE = frozenset(
    ("NanoCpus", "CpuQuota", "CpuPeriod", "CpuShares", "CpusetCpus", "Memory", "MemorySwap",
     "MemoryReservation", "PidsLimit", "RestartPolicy", "MemorySwappiness", "CpusetMems", "CpuRealtimePeriod",
     "CpuRealtimeRuntime", "BlkioWeight", "BlkioWeightDevice", "BlkioDeviceReadBps", "BlkioDeviceWriteBps",
     "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps")
)  # fmt: skip
DERIVED = LIVE | {"Links", "CgroupnsMode"}
MASKED = [
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
    "/sys/devices/virtual/powercap", "/sys/firmware",
]  # fmt: skip
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def config_of(spec: ContainerSpec, image: ImageInfo | None, id: str, reference: str) -> dict[str, Any]:
    """Config: what the process is, the image's part of it included."""
    asked = spec.asked.request if spec.asked else {}
    environment = dict(entry.partition("=")[::2] for entry in image.environment) if image else {}
    for name in spec.environment_unset:
        environment.pop(name, None)
    environment |= spec.environment
    entrypoint, command = _words_of(spec, image)
    found: dict[str, Any] = {
        "Hostname": spec.hostname or id[:12],
        "Domainname": spec.domainname,
        "User": spec.user or (image.user if image else ""),
        "AttachStdin": bool(asked.get("AttachStdin")),
        "AttachStdout": bool(asked.get("AttachStdout")),
        "AttachStderr": bool(asked.get("AttachStderr")),
        "Tty": spec.tty,
        "OpenStdin": spec.stdin_open,
        "StdinOnce": bool(asked.get("StdinOnce")),
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Cmd": list(command),
        "Image": reference,
        "Volumes": {path: {} for path in convert.nameless_volumes(spec, image.volumes if image else ())},
        "WorkingDir": spec.working_dir or (image.working_dir if image else ""),
        "Entrypoint": list(entrypoint),
        "OnBuild": asked.get("OnBuild") or [],
        "Labels": {**(image.labels if image else {}), **spec.labels},
    }
    if exposed := exposed_of(spec, image):
        found["ExposedPorts"] = {name: {} for name in exposed}
    if signal := own_stop_signal(spec.stop_signal, image):
        found["StopSignal"] = signal
    if "stop_grace_period" in spec.model_fields_set:
        seconds = spec.stop_grace_period
        found["StopTimeout"] = -1 if seconds >= FOREVER_SECONDS else int(seconds)
    if (said := asked.get("Healthcheck")) and not (image and image.healthcheck):
        found["Healthcheck"] = {name: value for name, value in said.items() if value}
    elif spec.healthcheck is not None:
        found["Healthcheck"] = healthcheck_view(spec.healthcheck)
    elif image is not None and image.healthcheck:
        found["Healthcheck"] = dict(image.healthcheck)
    return found


Words = tuple[str, ...]


def _words_of(spec: ContainerSpec, image: ImageInfo | None) -> tuple[Words, Words]:
    """Entrypoint and command, the image's where the spec says nothing."""
    entrypoint, command = spec.entrypoint, spec.command
    if entrypoint is None:
        entrypoint = image.entrypoint if image else ()
        command = (image.command if image else ()) if command is None else command
    return entrypoint, command or ()


def command_of(spec: ContainerSpec, image: ImageInfo | None) -> Words:
    """What is run, as one list."""
    entrypoint, command = _words_of(spec, image)
    return (*entrypoint, *command)


def exposed_of(spec: ContainerSpec, image: ImageInfo | None) -> Words:
    """ "80/tcp" of its own and its image's ports, and of those that are published."""
    published = (f"{port.target}/{port.protocol}" for port in spec.ports)
    names = (*spec.expose, *published, *(image.exposed_ports if image else ()))
    return tuple(dict.fromkeys(name if "/" in name else f"{name}/tcp" for name in names))


def network_mode_of(spec: ContainerSpec) -> str:
    """As it was asked for; Docker's word for what a manifest says."""
    if spec.asked is not None:
        mode = (spec.asked.request.get("HostConfig") or {}).get("NetworkMode")
        return "bridge" if mode in (None, "", "default") else str(mode)
    networks = convert.networks_of(spec)
    return spec.network_mode or (networks[0] if networks else "none")


def healthcheck_view(check: Healthcheck) -> dict[str, Any]:
    test = ["NONE"] if check.disable else list(check.test)
    if check.http or check.tcp:  # asked by the engine itself: Docker has no word for it
        test = ["CMD", "setpoint-probe", check.http or check.tcp]
    return {
        "Test": test,
        "Interval": round(check.interval * NANOSECONDS),
        "Timeout": round(check.timeout * NANOSECONDS),
        "StartPeriod": round(check.start_period * NANOSECONDS),
        "StartInterval": round(check.start_interval * NANOSECONDS),
        "Retries": check.retries,
    }


# --- HostConfig -------------------------------------------------------------------------------------


def host_config_of(spec: ContainerSpec) -> dict[str, Any]:
    """HostConfig, whole."""
    derived = {**_limits(spec), **_isolation(spec), **_network(spec), **_mounts(spec)}
    if spec.asked is None:
        return derived
    said = spec.asked.request.get("HostConfig") or {}
    kept = {name: value for name, value in said.items() if value not in (None, "") and name not in DERIVED}
    logging = kept.pop("LogConfig", None) or {}
    if logging.get("Config"):  # in its own words, and what it leaves to us
        derived["LogConfig"]["Config"] |= logging["Config"]
    if logging.get("Type"):
        derived["LogConfig"]["Type"] = logging["Type"]
    if not kept.get("ShmSize"):
        kept.pop("ShmSize", None)
    return {**derived, **kept, "NetworkMode": network_mode_of(spec)}


def _limits(spec: ContainerSpec) -> dict[str, Any]:
    restart = spec.restart
    swappiness = {} if spec.mem_swappiness is None else {"MemorySwappiness": spec.mem_swappiness}
    count = restart.max_attempts - 1 if restart.policy == "on-failure" and restart.max_attempts < 10**6 else 0
    return {
        "CpuShares": spec.cpu_shares or 0,
        "Memory": spec.mem_limit or 0,
        **_processors(spec),
        "CgroupParent": "",
        **_block_io(spec.blkio_config or Blkio()),
        "CpuRealtimePeriod": spec.cpu_rt_period or 0,
        "CpuRealtimeRuntime": spec.cpu_rt_runtime or 0,
        "CpusetCpus": spec.cpuset,
        "CpusetMems": spec.cpuset_mems,
        "Devices": [
            {"PathOnHost": d.source, "PathInContainer": d.target, "CgroupPermissions": d.permissions}
            for d in spec.devices
        ],
        "DeviceCgroupRules": list(spec.device_cgroup_rules),
        "DeviceRequests": [],
        "MemoryReservation": spec.mem_reservation or 0,
        "MemorySwap": spec.memswap_limit or 0,
        **swappiness,
        "OomKillDisable": spec.oom_kill_disable,
        "PidsLimit": spec.pids_limit,
        "Ulimits": [{"Name": n, "Hard": u.hard, "Soft": u.soft} for n, u in sorted(spec.ulimits.items())],
        "RestartPolicy": {"Name": restart.policy, "MaximumRetryCount": count},
        "AutoRemove": bool(spec.asked and spec.asked.auto_remove),
        "LogConfig": {
            "Type": spec.logging.driver or "json-file",
            "Config": _log_options(spec.logging),
        },
        "OomScoreAdj": spec.oom_score_adj or 0,
        "ShmSize": convert.DEFAULT_SHM_BYTES if spec.shm_size is None else spec.shm_size,
        "Runtime": "setpoint",
        "ConsoleSize": [0, 0],
        "Isolation": "",
    }  # fmt: skip


def _log_options(logging: Logging) -> dict[str, str]:
    if logging.driver == "none":
        return {}
    words = {"labels": logging.labels, "env": logging.env, "tag": logging.tag}
    return {
        "max-size": str(logging.max_size_bytes), "max-file": str(logging.max_file),
        **{name: said for name, said in words.items() if said},
    }  # fmt: skip


def _processors(spec: ContainerSpec) -> dict[str, int]:
    """As a share of a period where one was said. The kernel's own is 0, as who says none says it; with no
    share of it, somebody said -1."""
    cpus, period = spec.cpus or 0, spec.cpu_period
    if period is None:
        return {"NanoCpus": round(cpus * NANOSECONDS), "CpuPeriod": 0, "CpuQuota": 0}
    is_default = period == DEFAULT_CPU_PERIOD
    return {
        "NanoCpus": 0, "CpuPeriod": 0 if is_default else period,
        "CpuQuota": round(cpus * period) or (-1 if is_default else 0),
    }  # fmt: skip


def _block_io(limits: Blkio) -> dict[str, Any]:
    def rates(items: tuple[BlkioRate, ...]) -> list[dict[str, Any]]:
        return [{"Path": each.path, "Rate": each.rate} for each in items]

    return {
        "BlkioWeight": limits.weight or 0,
        "BlkioWeightDevice": [{"Path": each.path, "Weight": each.weight} for each in limits.weight_device],
        "BlkioDeviceReadBps": rates(limits.device_read_bps),
        "BlkioDeviceWriteBps": rates(limits.device_write_bps),
        "BlkioDeviceReadIOps": rates(limits.device_read_iops),
        "BlkioDeviceWriteIOps": rates(limits.device_write_iops),
    }


def _isolation(spec: ContainerSpec) -> dict[str, Any]:
    options = ["no-new-privileges"] if spec.no_new_privileges else []
    options += [f"seccomp={spec.seccomp}"] if spec.seccomp != "default" else []
    options += [f"apparmor={spec.apparmor}"] if spec.apparmor else []
    is_masked = spec.masked_paths and not spec.privileged
    hidden, read_only = (MASKED, READ_ONLY) if is_masked else ([], [])
    return {
        "CapAdd": list(spec.cap_add),
        "CapDrop": list(spec.cap_drop),
        "CgroupnsMode": spec.cgroup or ("host" if spec.privileged else "private"),
        "GroupAdd": list(spec.group_add),
        "IpcMode": spec.ipc or "private",
        "Cgroup": "",
        "PidMode": spec.pid,
        "Privileged": spec.privileged,
        "ReadonlyRootfs": spec.read_only,
        "SecurityOpt": options,
        "UTSMode": spec.uts,
        "UsernsMode": spec.userns_mode,
        "Sysctls": dict(spec.sysctls),
        "Init": spec.init,
        "Annotations": dict(spec.annotations),
        "MaskedPaths": hidden if spec.hidden_paths is None else list(spec.hidden_paths),
        "ReadonlyPaths": read_only if spec.readonly_paths is None else list(spec.readonly_paths),
    }


def _network(spec: ContainerSpec) -> dict[str, Any]:
    return {
        "NetworkMode": network_mode_of(spec),
        "PortBindings": port_bindings(spec.ports),
        "PublishAllPorts": False,
        "Dns": list(spec.dns),
        "DnsOptions": list(spec.dns_opt),
        "DnsSearch": list(spec.dns_search),
        "ExtraHosts": [f"{name}:{address}" for name, address in spec.extra_hosts],
        "Links": _links(spec),
    }


def _links(spec: ContainerSpec) -> list[str]:
    """ "/other:/this/what it is called there", by the names that were said."""
    said = (spec.asked.request.get("HostConfig") or {}).get("Links") if spec.asked else None
    pairs = [(text.partition(":")[0], text.rpartition(":")[2]) for text in said or ()]
    if spec.asked is None:
        pairs = [*spec.links, *spec.external_links]
    own = spec.container_name
    return [f"/{name.removeprefix('/')}:/{own}/{alias.rpartition('/')[2]}" for name, alias in pairs]


def port_bindings(ports: tuple[Port, ...]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        host_port = "" if port.published is None else str(port.published)
        host_port += f"-{port.published_last}" if port.published_last else ""
        binding = {"HostIp": port.host_ip, "HostPort": host_port}
        found.setdefault(f"{port.target}/{port.protocol}", []).append(binding)
    return found


def asked_targets(spec: ContainerSpec) -> frozenset[str]:
    """Where what is said by Mounts lies in the container."""
    said = (spec.asked.request.get("HostConfig") or {}).get("Mounts") if spec.asked else None
    return frozenset(container_path(item["Target"]) for item in said or ())


def _mounts(spec: ContainerSpec) -> dict[str, Any]:
    """What Mounts says is not said again: who makes another container just like it would have each twice."""
    said = asked_targets(spec)
    others = [mount for mount in spec.mounts if mount.target not in said]
    tmpfs = {mount.target: _tmpfs(mount) for mount in others if mount.type == "tmpfs"}
    return {
        "Binds": [_bind(mount) for mount in others if mount.type != "tmpfs" and mount.source],
        "Tmpfs": tmpfs,
        "VolumesFrom": [],
        "VolumeDriver": "",
        "ContainerIDFile": "",
    }


def _bind(mount: Mount) -> str:
    return f"{mount.source}:{mount.target}:{'ro' if mount.read_only else 'rw'}"


def _tmpfs(mount: Mount) -> str:
    words = list(mount.options)
    words += [f"size={mount.size_bytes}"] if mount.size_bytes is not None else []
    words += [f"mode={mount.mode:o}"] if mount.mode is not None else []
    return ",".join(words + (["ro"] if mount.read_only else []))
