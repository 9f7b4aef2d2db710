"""The normalised specs behind every manifest, compose file or envelope. One model for both forms.

A ContainerSpec is a compose service after interpolation, short forms written out and defaults left
out. Frozen values: the planner compares them, `spec_hash` is computed from the fields that were set.
The parsers of short forms are in `agent.manifest.parse_*`; nothing here reads a file. Defaults are a
part of the format: hashes leave out what equals its default, so a default is never changed.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """Frozen, and unknown fields are refused: nothing is silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Mount(Spec):
    type: Literal["bind", "volume", "tmpfs"]
    target: str
    source: str = ""  # host path (absolute) for bind; the volume's key name in the project; "" is anonymous
    read_only: bool = False
    propagation: str = "rprivate"
    recursive: Literal["", "disabled", "writable", "readonly"] = ""  # of mounts below a bind; "" has them all
    create_host_path: bool = True
    no_copy: bool = False
    subpath: str = ""
    size_bytes: int | None = None
    mode: int | None = None
    options: tuple[str, ...] = ()
    below: str = ""  # of a bind that a scoped socket allowed: where its source must lie, whatever links say


class Port(Spec):
    """published None: the engine picks one (ephemeral). published_last, when set, makes a range of host
    ports for one container port: a free one is taken and kept; replica n (from 1) rather takes
    published + n - 1."""

    target: int
    published: int | None = None
    published_last: int | None = None
    protocol: Literal["tcp", "udp", "sctp"] = "tcp"
    host_ip: str = ""
    name: str = ""


class Attachment(Spec):
    """One network a container is on."""

    aliases: tuple[str, ...] = ()
    ipv4_address: str = ""
    ipv6_address: str = ""
    mac_address: str = ""
    priority: int = 0


class Healthcheck(Spec):
    """How to ask whether a container is well. Times in seconds.

    test: ("CMD", …), ("CMD-SHELL", line), ("NONE",); or http/tcp, asked from inside its network
    namespace with no tool of the image: http "http://:8080/healthz" or ":8080/path", tcp ":5432".
    """

    test: tuple[str, ...] = ()
    http: str = ""
    tcp: str = ""
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0
    start_interval: float = 5.0
    disable: bool = False


class Dependency(Spec):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"] = (
        "service_started"
    )
    restart: bool = False
    required: bool = True


class Restart(Spec):
    """always | on-failure | unless-stopped | no. Over `max_attempts` failures within
    `window_seconds` the container is Stalled."""

    policy: Literal["no", "always", "on-failure", "unless-stopped"] = "no"
    max_attempts: int = 10
    window_seconds: float = 600.0


class Device(Spec):
    source: str
    target: str
    permissions: str = "rwm"


class UlimitSpec(Spec):
    soft: int
    hard: int


class BlkioRate(Spec):
    """rate: bytes, or operations, a second; 0 is no limit. path: of a whole disk on the host."""

    path: str
    rate: int


class BlkioWeight(Spec):
    path: str
    weight: int


class Blkio(Spec):
    """Block I/O. weight: from 10 to 1000, its share when the disk is busy."""

    weight: int | None = None
    weight_device: tuple[BlkioWeight, ...] = ()
    device_read_bps: tuple[BlkioRate, ...] = ()
    device_write_bps: tuple[BlkioRate, ...] = ()
    device_read_iops: tuple[BlkioRate, ...] = ()
    device_write_iops: tuple[BlkioRate, ...] = ()


class Logging(Spec):
    """labels, env: names with commas between them. They and tag are shown with each line to who asks."""

    driver: Literal["json-file", "local", "none", ""] = ""
    max_size_bytes: int = 10 * 1024 * 1024
    max_file: int = 3
    labels: str = ""
    env: str = ""
    tag: str = ""


class UpdateSpec(Spec):
    """Which newer images are looked for. window: see `agent.updates.window`; () is any time. minimum_age:
    seconds since this agent saw one first."""

    policy: Literal["digest", "patch", "minor", "major"]
    window: tuple[str, ...] = ()
    minimum_age: float = 72 * 3600.0
    prereleases: bool = False


class BuildSecret(Spec):
    """Where a secret of builds is: a file of this host (absolute), or a variable. Its value is in no spec."""

    file: str = ""
    environment: str = ""


class NamedContext(Spec):
    """What a Dockerfile may name beside its stages: an image, or a directory as `BuildSpec` has its own."""

    image: str = ""
    context: str = ""
    tree: str = ""


class BuildSpec(Spec):
    """How its image is built. context: below the source's top, "" for that itself. tree: what is in it, by
    content: another one is another image. tags: further names for the image. ssh: id -> a socket, "" for that
    of the agent's own ssh agent. cache_to: an image's name. shm_size, ulimits, extra_hosts: of RUN steps."""

    context: str
    tree: str = ""
    dockerfile: str = ""
    dockerfile_inline: str = ""
    args: dict[str, str] = {}
    labels: dict[str, str] = {}
    target: str = ""
    network: Literal["default", "none", "host"] = "default"
    no_cache: bool = False
    pull: bool = False
    tags: tuple[str, ...] = ()
    cache_from: tuple[str, ...] = ()
    cache_to: str = ""
    platform: str = ""
    secrets: dict[str, BuildSecret] = {}
    ssh: dict[str, str] = {}
    additional_contexts: dict[str, NamedContext] = {}
    shm_size: int | None = None
    ulimits: dict[str, UlimitSpec] = {}
    extra_hosts: tuple[tuple[str, str], ...] = ()


class Asked(Spec):
    """What the Docker Engine API was asked for, kept for who looks at the container by that API's words.

    image: as it was named, where the spec has its id. request: the body of the create call as it was read;
    nothing is decided by it. auto_remove: it goes, with its anonymous volumes, when it has ended.
    stop_seconds: how long the latest stop that was asked for may take, None for its own stop_grace_period;
    stop_signal: the same, "" for its own; is_kill: it is to be killed, which is told as no stop.
    takes_volumes: their real names; they go with it when it is let go, whichever agent is there by then.
    is_last_run: it was sent the signal that stops it, and whatever its restart policy says it stays down when
    it has ended, until somebody starts it. tty_size: rows and columns that its terminal begins with.
    start_error: why the latest start failed, "" when it did not.
    """

    image: str = ""
    request: dict[str, Any] = {}
    auto_remove: bool = False
    stop_seconds: float | None = None
    stop_signal: str = ""
    is_kill: bool = False
    takes_volumes: tuple[str, ...] = ()
    is_last_run: bool = False
    tty_size: tuple[int, int] = (0, 0)
    start_error: str = ""


class ContainerSpec(Spec):
    """A compose service, normalised. Lengths in bytes, times in seconds."""

    image: str
    build: BuildSpec | None = None
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: dict[str, str] = {}
    environment_unset: tuple[str, ...] = ()  # variables of the image that it is to be without
    working_dir: str = ""
    user: str = ""
    group_add: tuple[str, ...] = ()
    hostname: str = ""
    domainname: str = ""
    container_name: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    tty: bool = False
    stdin_open: bool = False
    init: bool = False
    read_only: bool = False
    mounts: tuple[Mount, ...] = ()  # volumes: and tmpfs: together
    devices: tuple[Device, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    expose: tuple[str, ...] = ()
    networks: dict[str, Attachment] = {}  # {} with network_mode "" is the project's default network
    network_mode: str = ""  # "" | none | host | bridge | service:NAME | container:NAME
    extra_hosts: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()  # (service, what it is called here)
    external_links: tuple[tuple[str, str], ...] = ()  # (container, what it is called here)
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_opt: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    no_new_privileges: bool = False  # from security_opt
    seccomp: str = "default"
    apparmor: str = ""
    masked_paths: bool = True
    hidden_paths: tuple[str, ...] | None = None  # in place of those that are by default
    readonly_paths: tuple[str, ...] | None = None
    sysctls: dict[str, str] = {}
    ulimits: dict[str, UlimitSpec] = {}
    shm_size: int | None = None
    pid: str = ""
    ipc: str = ""
    uts: str = ""
    userns_mode: str = ""
    cgroup: str = ""
    cpus: float | None = None
    cpu_period: int | None = None  # microseconds: of which cpus are a share
    cpu_shares: int | None = None
    cpuset: str = ""
    cpuset_mems: str = ""
    cpu_rt_period: int | None = None  # microseconds
    cpu_rt_runtime: int | None = None
    blkio_config: Blkio | None = None
    mem_limit: int | None = None
    memswap_limit: int | None = None
    mem_reservation: int | None = None
    mem_swappiness: int | None = None
    pids_limit: int | None = None
    oom_score_adj: int | None = None
    oom_kill_disable: bool = False
    restart: Restart = Restart()
    stop_signal: str = ""
    stop_grace_period: float = 10.0
    healthcheck: Healthcheck | None = None
    depends_on: dict[str, Dependency] = {}
    logging: Logging = Logging()
    scale: int = 1
    pull_policy: str = ""
    platform: str = ""
    profiles: tuple[str, ...] = ()
    # Setpoint's own
    ensure: Literal["running", "stopped", "absent"] = "running"
    suspend: bool = False
    on_unhealthy: Literal["ignore", "restart"] = "ignore"
    update: UpdateSpec | None = None
    asked: Asked | None = None  # of what the Docker Engine API made; no manifest says it


class AskedNetwork(Spec):
    """What the Docker Engine API was asked for, for who looks at the network by that API's words. Nothing is
    decided by it."""

    options: dict[str, str] = {}
    attachable: bool = False


class Ipv6(Spec):
    """The IPv6 of a network. subnet "" is one of the instance's own range, found by the network's name."""

    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    aux_addresses: dict[str, str] = {}


class NetworkSpec(Spec):
    name: str = ""  # the real name; "" is project_key
    driver: Literal["bridge", ""] = ""
    external: bool = False
    internal: bool = False
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""  # that part of the subnet of which containers get addresses
    aux_addresses: dict[str, str] = {}  # that no container gets
    mtu: int | None = None
    isolated: bool = False
    routed: bool = False  # its containers go out by their own addresses, not by the host's
    bridge: str = ""  # the link's name; "" is one of ours
    ipv6: Ipv6 | None = None  # beside IPv4; None: it has none
    labels: dict[str, str] = {}
    ensure: Literal["present", "absent"] = "present"
    suspend: bool = False
    asked: AskedNetwork | None = None  # of what the Docker Engine API made; no manifest says it


class VolumeSpec(Spec):
    """driver_opts: see `runtime.volume_options`. below: of a bind that a scoped socket allowed: where its
    device must lie, whatever links say."""

    name: str = ""
    driver: Literal["local", ""] = ""
    driver_opts: dict[str, str] = {}
    below: str = ""
    external: bool = False
    labels: dict[str, str] = {}
    keep: bool = True  # False: removed with its manifest; True: kept, and listed as kept
    ensure: Literal["present", "absent"] = "present"
    suspend: bool = False


class ImageSpec(Spec):
    """An image that is kept here, whether or not a container uses it."""

    image: str
    pull_policy: Literal["", "missing", "never"] = ""
    update: UpdateSpec | None = None
    labels: dict[str, str] = {}
    ensure: Literal["present", "absent"] = "present"
    suspend: bool = False


class Share(Spec):
    """Of the host, in the words of compose's deploy.resources.limits. None is as much as there is."""

    memory: int | None = None  # bytes
    cpus: float | None = None
    pids: int | None = None


class Quota(Share):
    """How much there may be at a time of what a scoped socket made, running or not: in number, in sum, and of
    each container."""

    containers: int | None = None  # and builds that run
    networks: int | None = None
    volumes: int | None = None  # with those that have no name
    execs: int | None = None  # that have not ended
    each: Share = Share()


class SocketSpec(Spec):
    """A way into the API that is fenced. path: "" is in the instance's run directory. owner: USER[:GROUP], ""
    is root's. allow: permissions (see `agent.policy.permissions`). label: NAME=VALUE, what is seen there
    bears it and what is made there gets it; "" is one of its own. limits: as a policy's `allow` (see
    `socket_limits`). quota: how much there may be of it. time_to_live: seconds that what is made there lives,
    None for ever."""

    path: str = ""
    owner: str = ""
    mode: int = 0o660
    allow: tuple[str, ...] = ()
    label: str = ""
    limits: dict[str, Any] = {}
    quota: Quota | None = None
    time_to_live: float | None = None
    labels: dict[str, str] = {}
    ensure: Literal["present", "absent"] = "present"
    suspend: bool = False


AnySpec = ContainerSpec | NetworkSpec | VolumeSpec | ImageSpec | SocketSpec
JSON = dict[str, Any]
