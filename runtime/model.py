"""The values that cross the runtime's face: what to make, and what is there. Pure data.

`agent` builds these from manifests; `runtime` turns them into bundles, links and mounts. Nothing
here reads the kernel. Lengths are in bytes and seconds, times are Unix seconds (float, wall clock).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from runtime.errors import SetpointError
from runtime.images.info import ImageInfo as ImageInfo

Phase = Literal["created", "running", "paused", "stopped"]
Protocol_ = Literal["tcp", "udp", "sctp"]


# --- what to make -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MountConfig:
    """One mount of a container. `source` is a host path for bind, a volume's name for volume. below: a
    directory that source lies in and that no link on the way may lead out of; "" is none. recursive: of a
    bind, whether the mounts below come along: "disabled" leaves them out, "writable" has them stay so where
    it is read-only, "" and "readonly" make them so, too."""

    kind: Literal["bind", "volume", "tmpfs"]
    target: str
    source: str = ""
    read_only: bool = False
    propagation: str = "rprivate"
    recursive: Literal["", "disabled", "writable", "readonly"] = ""
    create_host_path: bool = False
    no_copy: bool = False
    subpath: str = ""
    below: str = ""
    size_bytes: int | None = None
    mode: int | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PortConfig:
    """A published port. host_ip "" means all addresses of the host, those of IPv6 where the container has it.
    host_port 0 is one that the kernel gives.
    among: (first, last) of the host ports of which a free one is taken, host_port before all others."""

    container_port: int
    host_port: int
    protocol: Protocol_ = "tcp"
    host_ip: str = ""
    among: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """One interface of a sandbox: which network, and by which names others find it there."""

    network: str
    aliases: tuple[str, ...] = ()
    ipv4: str | None = None
    ipv6: str | None = None
    mac: str | None = None


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """The network namespace a container runs in.

    mode "own": the namespace `id` is this container's, with `endpoints` and `ports`; it outlives a
    replaced container, so that others may share it. "join": the namespace `id` belongs to another.
    "host": the host's network, id is "".
    """

    mode: Literal["own", "join", "host"]
    id: str = ""
    endpoints: tuple[EndpointConfig, ...] = ()
    ports: tuple[PortConfig, ...] = ()
    links: tuple[
        tuple[str, str], ...
    ] = ()  # (name of another on one of its networks, what it is called here)


DeviceRates = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits. None is no limit. cpu_quota_us is per cpu_period_us (cpus 1.5 is 150000 of 100000).
    blkio_*: (path of a disk on the host, bytes or operations a second, or a weight)."""

    cpu_quota_us: int | None = None
    cpu_period_us: int = 100_000
    cpu_shares: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None  # memory and swap together; -1 is unlimited swap
    memory_reservation_bytes: int | None = None
    pids: int | None = 2048  # -1 is unlimited
    oom_score_adj: int | None = None
    oom_kill_disable: bool = False
    blkio_weight: int | None = None
    blkio_weight_device: DeviceRates = ()
    blkio_read_bps: DeviceRates = ()
    blkio_write_bps: DeviceRates = ()
    blkio_read_iops: DeviceRates = ()
    blkio_write_iops: DeviceRates = ()
    cpu_rt_period_us: int | None = None
    cpu_rt_runtime_us: int | None = None
    memory_swappiness: int | None = None


@dataclass(frozen=True, slots=True)
class Ulimit:
    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    source: str
    target: str
    access: str = "rwm"


@dataclass(frozen=True, slots=True)
class Security:
    """Isolation. seccomp: "default", "unconfined", or a host path to a JSON profile. hidden_paths,
    readonly_paths: in place of the usual ones."""

    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    seccomp: str = "default"
    apparmor: str = ""
    masked_paths: bool = True
    hidden_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None
    user_namespace: Literal["host", "auto"] = "host"


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """Everything the runtime needs to make one container. Equal configs make equal containers.

    id: 64 hex digits, derived by the caller, so that a repeated create meets itself.
    name: unique in the instance, as people see it (project-service-1).
    image: the id of an image that is in the store ("sha256:…" of its config); "" with lower.
    lower: directories in place of an image's layers, topmost first, and lower_root: the mode, uid and gid of
    the root that they make: a step of a build.
    entrypoint, command: None takes the image's; () clears it.
    environment: added to, and overriding, the image's. environment_unset: those of the image to be without.
    device_rules: "c 188:* rw", beside those of its devices.
    secret_environment: the same, and never written to a disk: gone when the agent is.
    labels: kept in the bundle as annotations; they are how a lost database is rebuilt.
    replaces: ids of containers that it takes over from, and whose name it may bear beside them.
    """

    id: str
    name: str
    image: str
    sandbox: SandboxConfig
    hostname: str = ""
    domainname: str = ""
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    environment_unset: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    group_add: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    tty: bool = False
    tty_size: tuple[int, int] = (0, 0)  # rows and columns that a terminal begins with
    stdin_open: bool = False
    init: bool = False
    read_only: bool = False
    mounts: tuple[MountConfig, ...] = ()
    devices: tuple[DeviceConfig, ...] = ()
    device_rules: tuple[str, ...] = ()
    extra_hosts: tuple[tuple[str, str], ...] = ()  # (name, address)
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    security: Security = Security()
    resources: Resources = Resources()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    ulimits: tuple[Ulimit, ...] = ()
    shm_bytes: int = 64 * 1024 * 1024
    pid_mode: str = ""  # "" own, "host", "container:<id>"
    ipc_mode: str = ""  # "" own, "host", "none", "container:<id>"
    uts_mode: str = ""  # "" own, "host"
    cgroup_mode: str = ""  # "" own, but for one that is privileged; "host", "private"
    stop_signal: str = ""  # "" takes the image's, else SIGTERM
    log_max_bytes: int = 10 * 1024 * 1024  # 0 keeps no log
    log_max_files: int = 3
    annotations: Mapping[str, str] = field(default_factory=dict)  # for an OCI runtime
    lower: tuple[str, ...] | None = None
    lower_root: tuple[int, int, int] = (0o755, 0, 0)
    secret_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    replaces: tuple[str, ...] = ()

    @property
    def volumes(self) -> tuple[str, ...]:
        """Their real names, as they are mounted."""
        return tuple(mount.source for mount in self.mounts if mount.kind == "volume")


@dataclass(frozen=True, slots=True)
class Ipv6Config:
    """The IPv6 of a network. subnet "" lets the runtime choose one of the instance's own range."""

    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    aux_addresses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """A bridge network. subnet "" lets the runtime find a free one. ip_range: the part of it that containers
    get addresses of, unless they name one. aux_addresses: those that none gets. bridge: the link's name, ""
    for one of the runtime's own. ipv6: None is IPv4 alone."""

    name: str
    subnet: str = ""
    gateway: str = ""
    internal: bool = False
    isolated: bool = False  # containers on it do not reach each other
    routed: bool = False  # outside they are seen by their own addresses, to which somebody must know the way
    mtu: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    ip_range: str = ""
    aux_addresses: Mapping[str, str] = field(default_factory=dict)
    bridge: str = ""
    ipv6: Ipv6Config | None = None


@dataclass(frozen=True, slots=True)
class VolumeConfig:
    """options: see `runtime.volume_options`; {} is a directory of its own. below: a directory that a bind's
    device lies in and that no link on the way may lead out of; "" is none."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    below: str = ""


# --- what is there ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContainerState:
    """One container as the kernel and its bundle show it.

    exit_code: 0..255, 128+signal when a signal ended it, None while it runs or where it is unknown.
    addresses, addresses6: network name -> IPv4, IPv6 address. endpoints: as they were asked for, of one that
    does not run too. volumes: the real names of those that it has.
    began_at, ended_at: when the latest run did, by the clock that never jumps (`runtime.steady`), for what is
    decided by time; None where it is unknown, and after a reboot. ran_seconds: how long it ran.
    """

    id: str
    name: str
    labels: Mapping[str, str]
    phase: Phase
    sandbox: str = ""
    image: str = ""
    pid: int | None = None
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    began_at: float | None = None
    ended_at: float | None = None
    ran_seconds: float | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    addresses: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = Resources()
    ports: tuple[PortConfig, ...] = ()
    endpoints: tuple[EndpointConfig, ...] = ()
    addresses6: Mapping[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SandboxState:
    """A network namespace of this instance. labels are those of the container that owns it."""

    id: str
    labels: Mapping[str, str]
    addresses: Mapping[str, str]
    addresses6: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NetworkState:
    name: str
    labels: Mapping[str, str]
    subnet: str
    gateway: str
    bridge: str
    internal: bool = False
    created_at: float = 0.0
    subnet6: str = ""
    gateway6: str = ""


@dataclass(frozen=True, slots=True)
class VolumeState:
    name: str
    labels: Mapping[str, str]
    path: str
    created_at: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing in the kernel that is not as it was made, and that can be put back in place.

    kind: "bridge", "veth", "address", "route", "firewall", "cgroup", "netns", "hosts", "forwarding",
    "apparmor", "process" (stopped), "freezer", "mount", "record" (of ours, on the disk or in /run).
    subject: a container's or sandbox's id, a network's name, "" for the host's. detail: expected and
    found, in words. noticed: what stirred, in a word: "network", "files", "mounts", "signal", or "slow pass".
    """

    kind: str
    subject: str
    detail: str
    noticed: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class PullState:
    """What became of fetching an image: error is None while it is under way. project: who began it."""

    error: SetpointError | None = None
    project: str = ""


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """Something happened: look at `id` again. Never a fact to act upon by itself.

    kind: "exit", "oom" (with a detail, in words, the container lives on), "start", "drift" (id is a
    container's or sandbox's id, a network's name, or "" for the host), "repaired" (by itself; detail says
    what), "image" (id is a reference that was being fetched), "signatures" (of an image, likewise),
    "supervisor" (restarted), "warning" (detail says what this host did not allow; the container runs
    without), "denied" (detail says which system call).
    """

    kind: str
    id: str
    at: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ExecResult:
    exit_code: int
    output: bytes  # stdout and stderr as they came, bounded
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class InterfaceStats:
    """What passed through one interface, as the container sees it."""

    received_bytes: int = 0
    received_packets: int = 0
    received_errors: int = 0
    received_dropped: int = 0
    sent_bytes: int = 0
    sent_packets: int = 0
    sent_errors: int = 0
    sent_dropped: int = 0


@dataclass(frozen=True, slots=True)
class StatsDetails:
    """What is read only for who asks: it costs more reads of the kernel.

    memory: memory.stat by its own names. memory_peak_bytes, memory_failures: cgroup v1's alone. cpu_each_ns:
    of each processor, where the kernel counts it (v1's cpuacct). devices: (major, minor, bytes read, bytes
    written), where a controller counts them (v2).
    """

    memory: Mapping[str, int] = field(default_factory=dict)
    memory_peak_bytes: int | None = None
    memory_failures: int | None = None
    cpu_periods: int = 0
    cpu_periods_throttled: int = 0
    cpu_each_ns: tuple[int, ...] = ()
    devices: tuple[tuple[int, int, int, int], ...] = ()
    interfaces: Mapping[str, InterfaceStats] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters since the container started (bytes, seconds), and the present use."""

    id: str
    at: float
    cpu_seconds: float
    cpu_user_seconds: float
    cpu_system_seconds: float
    memory_bytes: int
    memory_limit_bytes: int | None
    memory_cache_bytes: int
    oom_kills: int
    pids: int
    pids_limit: int | None
    io_read_bytes: int
    io_write_bytes: int
    network_received_bytes: int
    network_sent_bytes: int
    network_received_packets: int
    network_sent_packets: int
    throttled_seconds: float = 0.0
    details: StatsDetails | None = None
