"""From specs to the runtime's values: the agent's words in, the runtime's words out. Pure.

Called by the planner when it emits a create. Every label that a lost database is rebuilt from is
set here and nowhere else.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.manifest.spec import (
    AnySpec,
    Blkio,
    BlkioRate,
    ContainerSpec,
    Ipv6,
    Mount,
    NetworkSpec,
    Port,
    VolumeSpec,
)
from agent.reconcile.api_objects import is_api
from runtime.model import (
    ContainerConfig,
    DeviceConfig,
    EndpointConfig,
    ImageInfo,
    Ipv6Config,
    MountConfig,
    NetworkConfig,
    PortConfig,
    Resources,
    SandboxConfig,
    Security,
    Ulimit,
    VolumeConfig,
)
from store.records import Key

LABEL_KEY = "setpoint.key"
LABEL_INDEX = "setpoint.index"
LABEL_RECREATE_HASH = "setpoint.recreate_hash"
LABEL_ATTEMPT = "setpoint.attempt"
LABEL_FILE = "setpoint.file"
LABEL_REVISION = "setpoint.revision"
LABEL_SPEC = "setpoint.spec"  # of what no manifest describes: all that is left of it without the database

MICROSECONDS_PER_CPU_PERIOD = 100_000
LEAST_CPU_QUOTA = 1000  # microseconds, sched-bwc
DEFAULT_SHM_BYTES = 64 * 1024 * 1024  # Docker's default


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a desired object comes from; goes into labels, never into a hash."""

    file: str = ""
    line: int = 0
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Names:
    """What the names in a spec stand for in this instance.

    networks, volumes: the project's key name -> the real name. sandboxes: service or container name
    -> sandbox id. containers: the same -> container id (for pid: and ipc: modes). bind_roots: a bind's
    source -> the directory that it must not leave. own_sandbox: its network namespace, where that is
    not the one that goes by its key.
    """

    instance: str
    networks: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    sandboxes: Mapping[str, str] = field(default_factory=dict)
    containers: Mapping[str, str] = field(default_factory=dict)
    bind_roots: Mapping[str, str] = field(default_factory=dict)
    own_sandbox: str = ""


def _digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()


def container_id(instance: str, key: Key, index: int, recreate_hash: str, attempt: int = 0) -> str:
    """64 hex digits that the same wish always gives, so that a repeated create meets itself. Of what the
    Docker Engine API made, its clients hold the id: it is the key's, and stays."""
    if is_api(key):
        return api_container_id(instance, key.name)
    return _digest("container", instance, key, index, recreate_hash, attempt)


@functools.lru_cache(maxsize=4096)
def api_container_id(instance: str, digits: str) -> str:
    """The id that begins with these 12 digits."""
    return digits + _digest("container", instance, digits)[len(digits) :]


@functools.lru_cache(maxsize=4096)
def sandbox_id(instance: str, key: Key, index: int) -> str:
    """The network namespace of one replica: it stays the same while containers come and go."""
    return _digest("sandbox", instance, key, index)[:24]


def container_name(key: Key, spec: ContainerSpec, index: int) -> str:
    """`container_name`, else project-service-index as compose names them. index counts from 1."""
    return spec.container_name or f"{key.project}-{key.name}-{index}"


def real_name(key: Key, said: str = "", *, is_external: bool = False) -> str:
    """Of a network or a volume, on this host. said: its spec's `name`."""
    return said or (key.name if is_external else f"{key.project}_{key.name}")


def stored_name(key: Key, spec: Mapping[str, Any]) -> str:
    """The same by a stored record's spec."""
    return real_name(key, str(spec.get("name") or ""), is_external=bool(spec.get("external")))


def network_name(key: Key, spec: NetworkSpec) -> str:
    return real_name(key, spec.name, is_external=spec.external)


def volume_name(key: Key, spec: VolumeSpec) -> str:
    return real_name(key, spec.name, is_external=spec.external)


def anonymous_volume_name(key: Key, index: int, target: str) -> str:
    """A volume that the manifest gives no name: one a replica and target, so that it is found again."""
    if is_api(key):
        return _digest("volume", key, target)
    return f"{key.project}_{key.name}-{index}_{_digest(target)[:12]}"


def networks_of(spec: ContainerSpec) -> tuple[str, ...]:
    """The key names of the project's networks that a container is on, highest priority first. What the Docker
    Engine API made is on those that it names, and may be on none."""
    if spec.network_mode == "bridge":
        return ("bridge",)
    if spec.network_mode:
        return ()
    if not spec.networks and spec.asked is None:
        return ("default",)
    return tuple(sorted(spec.networks, key=lambda name: (-spec.networks[name].priority, name)))


def volumes_of(spec: ContainerSpec) -> tuple[str, ...]:
    """The key names of the project's volumes that a container has."""
    return tuple(dict.fromkeys(m.source for m in spec.mounts if m.type == "volume" and m.source))


def shared_network_of(spec: ContainerSpec) -> str:
    """The service or container whose network namespace this one joins, or ""."""
    kind, _, name = spec.network_mode.partition(":")
    return name if kind in ("service", "container") else ""


def mounts_of(spec: ContainerSpec, image_volumes: Sequence[str]) -> tuple[Mount, ...]:
    """Its mounts, and an anonymous volume for each directory that the image declares as one and the
    manifest puts nothing on: what is there outlives the container."""
    taken = {mount.target for mount in spec.mounts}
    declared = {f"/{path.strip('/')}" for path in image_volumes} - taken - {"/"}
    return (*spec.mounts, *map(_anonymous, sorted(declared)))


def nameless_volumes(spec: ContainerSpec, image_volumes: Sequence[str]) -> tuple[str, ...]:
    """Where a container has volumes that nobody gave a name."""
    mounts = mounts_of(spec, image_volumes)
    return tuple(mount.target for mount in mounts if mount.type == "volume" and not mount.source)


@functools.lru_cache(maxsize=256)
def _anonymous(target: str) -> Mount:
    """Kept, since lists and plans ask for the same few again and again: it cannot be changed."""
    return Mount(type="volume", target=target)


def labels_of(key: Key, index: int, recreate_hash: str, attempt: int, origin: Origin) -> dict[str, str]:
    return {
        LABEL_KEY: str(key),
        LABEL_INDEX: str(index),
        LABEL_RECREATE_HASH: recreate_hash,
        LABEL_ATTEMPT: str(attempt),
        LABEL_FILE: f"{origin.file}:{origin.line}" if origin.file else "",
        LABEL_REVISION: origin.revision,
    }


_DEFAULT = Resources()
_NO_BLKIO = Blkio()


def resources_of(spec: ContainerSpec) -> Resources:
    """The limits of a spec; all of them can be changed while the container runs."""
    period = _cpu_period(spec)
    pids = _DEFAULT.pids if spec.pids_limit is None else spec.pids_limit
    block = spec.blkio_config or _NO_BLKIO
    return Resources(
        cpu_quota_us=None if spec.cpus is None else round(spec.cpus * period),
        cpu_period_us=period,
        cpu_shares=spec.cpu_shares,
        cpuset_cpus=spec.cpuset,
        memory_bytes=spec.mem_limit,
        memory_swap_bytes=spec.memswap_limit,
        memory_reservation_bytes=spec.mem_reservation,
        pids=-1 if pids == 0 else pids,
        cpuset_mems=spec.cpuset_mems,
        cpu_rt_period_us=spec.cpu_rt_period,
        cpu_rt_runtime_us=spec.cpu_rt_runtime,
        memory_swappiness=spec.mem_swappiness,
        blkio_weight=block.weight,
        blkio_weight_device=tuple((each.path, each.weight) for each in block.weight_device),
        blkio_read_bps=_rates(block.device_read_bps),
        blkio_write_bps=_rates(block.device_write_bps),
        blkio_read_iops=_rates(block.device_read_iops),
        blkio_write_iops=_rates(block.device_write_iops),
        oom_score_adj=spec.oom_score_adj,
        oom_kill_disable=spec.oom_kill_disable,
    )


def _cpu_period(spec: ContainerSpec) -> int:
    """As asked for, and longer where the share would be of less than the kernel measures: the bound holds."""
    wanted = spec.cpu_period or MICROSECONDS_PER_CPU_PERIOD
    return max(wanted, math.ceil(LEAST_CPU_QUOTA / spec.cpus)) if spec.cpus else wanted


def _rates(limits: Sequence[BlkioRate]) -> tuple[tuple[str, int], ...]:
    return tuple((each.path, each.rate) for each in limits)


def _spec_label(key: Key, spec: AnySpec) -> dict[str, str]:
    """What the Docker Engine API made is described nowhere else than in the database."""
    if not is_api(key):
        return {}
    return {LABEL_SPEC: spec.model_dump_json(exclude_unset=True)}


def _mount(key: Key, index: int, mount: Mount, names: Names) -> MountConfig:
    source = mount.source
    if mount.type == "volume":
        source = (
            names.volumes.get(source) or real_name(Key(key.project, "volume", source))
            if source
            else anonymous_volume_name(key, index, mount.target)
        )
    return MountConfig(
        kind=mount.type,
        target=mount.target,
        source=source,
        read_only=mount.read_only,
        propagation=mount.propagation,
        recursive=mount.recursive,
        create_host_path=mount.create_host_path,
        no_copy=mount.no_copy,
        subpath=mount.subpath,
        # Of the policy's and a scoped socket's the inner one: both hold the source.
        below=max(names.bind_roots.get(source, ""), mount.below, key=len) if mount.type == "bind" else "",
        size_bytes=mount.size_bytes,
        mode=mount.mode,
        options=mount.options,
    )


def endpoints_of(key: Key, spec: ContainerSpec, index: int, names: Names) -> tuple[EndpointConfig, ...]:
    """The interfaces of a network namespace of its own, the most preferred first."""
    endpoints = []
    own = (key.name, container_name(key, spec, index))
    for name in networks_of(spec):
        attachment = spec.networks.get(name)
        aliases = attachment.aliases if attachment else ()
        endpoints.append(
            EndpointConfig(
                network=names.networks.get(name) or real_name(Key(key.project, "network", name)),
                aliases=tuple(dict.fromkeys((*own, *aliases))),
                ipv4=(attachment.ipv4_address or None) if attachment else None,
                ipv6=(attachment.ipv6_address or None) if attachment else None,
                mac=(attachment.mac_address or None) if attachment else None,
            )
        )
    return tuple(endpoints)


def _ports(spec: ContainerSpec, index: int) -> tuple[PortConfig, ...]:
    """Published ports. host_port 0 asks the runtime to pick a free one; of a range it takes one that is
    free, and replica n rather the n-th.
    """
    return tuple(
        PortConfig(
            container_port=port.target,
            host_port=_host_port(port, index),
            protocol=port.protocol,
            host_ip=port.host_ip,
            among=_among(port),
        )
        for port in spec.ports
    )


def _host_port(port: Port, index: int) -> int:
    if port.published is None:
        return 0
    last = port.published_last or port.published
    return port.published + (index - 1) % (last - port.published + 1)


def _among(port: Port) -> tuple[int, int] | None:
    if port.published is None or port.published_last is None:
        return None
    return port.published, port.published_last


def sandbox_config(key: Key, spec: ContainerSpec, index: int, names: Names) -> SandboxConfig:
    if spec.network_mode == "host":
        return SandboxConfig(mode="host")
    shared = shared_network_of(spec)
    if shared:
        return SandboxConfig(mode="join", id=names.sandboxes[shared])
    return SandboxConfig(
        mode="own",
        id=names.own_sandbox or sandbox_id(names.instance, key, index),
        endpoints=endpoints_of(key, spec, index, names),
        ports=_ports(spec, index),
        links=(*spec.links, *((name.rpartition("/")[2], alias) for name, alias in spec.external_links)),
    )


def _namespace_mode(mode: str, names: Names) -> str:
    """`service:x` and `container:x` by name become `container:<id>`."""
    kind, _, name = mode.partition(":")
    if kind in ("service", "container") and name:
        return f"container:{names.containers.get(name, name)}"
    return "" if mode in ("private", "shareable") else mode


def container_config(
    key: Key,
    spec: ContainerSpec,
    index: int,
    *,
    image: ImageInfo,
    recreate_hash: str,
    attempt: int,
    names: Names,
    origin: Origin,
) -> ContainerConfig:
    """The runtime's config for replica `index` (from 1) of a container object."""
    labels = (
        dict(spec.labels) | labels_of(key, index, recreate_hash, attempt, origin) | _spec_label(key, spec)
    )
    id = container_id(names.instance, key, index, recreate_hash, attempt)
    return ContainerConfig(
        id=id,
        name=container_name(key, spec, index),
        image=image.id,
        sandbox=sandbox_config(key, spec, index, names),
        hostname=spec.hostname or id[:12],
        domainname=spec.domainname,
        entrypoint=spec.entrypoint,
        command=spec.command,
        environment=dict(spec.environment),
        environment_unset=spec.environment_unset,
        working_dir=spec.working_dir,
        user=spec.user,
        group_add=spec.group_add,
        labels=labels,
        tty=spec.tty,
        tty_size=spec.asked.tty_size if spec.asked else (0, 0),
        stdin_open=spec.stdin_open,
        init=spec.init,
        read_only=spec.read_only,
        mounts=tuple(_mount(key, index, mount, names) for mount in mounts_of(spec, image.volumes)),
        devices=tuple(DeviceConfig(d.source, d.target, d.permissions) for d in spec.devices),
        device_rules=spec.device_cgroup_rules,
        extra_hosts=spec.extra_hosts,
        dns=spec.dns,
        dns_search=spec.dns_search,
        dns_options=spec.dns_opt,
        security=Security(
            privileged=spec.privileged,
            cap_add=spec.cap_add,
            cap_drop=spec.cap_drop,
            no_new_privileges=spec.no_new_privileges,
            seccomp=spec.seccomp,
            apparmor=spec.apparmor,
            masked_paths=spec.masked_paths,
            hidden_paths=spec.hidden_paths,
            readonly_paths=spec.readonly_paths,
            user_namespace="auto" if spec.userns_mode == "auto" else "host",
        ),
        resources=resources_of(spec),
        sysctls=dict(spec.sysctls),
        ulimits=tuple(Ulimit(name, u.soft, u.hard) for name, u in sorted(spec.ulimits.items())),
        shm_bytes=DEFAULT_SHM_BYTES if spec.shm_size is None else spec.shm_size,
        pid_mode=_namespace_mode(spec.pid, names),
        ipc_mode=_namespace_mode(spec.ipc, names),
        uts_mode=spec.uts,
        cgroup_mode=spec.cgroup,
        stop_signal=spec.stop_signal,
        log_max_bytes=0 if spec.logging.driver == "none" else spec.logging.max_size_bytes,
        log_max_files=spec.logging.max_file,
        annotations=dict(spec.annotations),
    )


def network_config(key: Key, spec: NetworkSpec) -> NetworkConfig:
    return NetworkConfig(
        name=network_name(key, spec),
        subnet=spec.subnet,
        gateway=spec.gateway,
        ip_range=spec.ip_range,
        aux_addresses=dict(spec.aux_addresses),
        internal=spec.internal,
        isolated=spec.isolated,
        routed=spec.routed,
        mtu=spec.mtu,
        bridge=spec.bridge,
        ipv6=_ipv6_config(spec.ipv6) if spec.ipv6 is not None else None,
        labels=dict(spec.labels) | {LABEL_KEY: str(key)} | _spec_label(key, spec),
    )


def _ipv6_config(spec: Ipv6) -> Ipv6Config:
    return Ipv6Config(spec.subnet, spec.gateway, spec.ip_range, dict(spec.aux_addresses))


def volume_config(key: Key, spec: VolumeSpec) -> VolumeConfig:
    labels = dict(spec.labels) | {LABEL_KEY: str(key)} | _spec_label(key, spec)
    return VolumeConfig(volume_name(key, spec), labels, dict(spec.driver_opts), spec.below)
