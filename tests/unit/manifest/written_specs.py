"""Specs as Hypothesis makes them: any field, any value that the reader can give. For `test_writer`."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from agent.manifest.parse_mounts import PROPAGATIONS, TMPFS_FLAGS
from agent.manifest.parse_ports import host_address
from agent.manifest.parse_run import LIMITS
from agent.manifest.spec import (
    Attachment,
    Blkio,
    BlkioRate,
    BlkioWeight,
    ContainerSpec,
    Dependency,
    Device,
    Healthcheck,
    ImageSpec,
    Ipv6,
    Logging,
    Mount,
    NetworkSpec,
    Port,
    Restart,
    UlimitSpec,
    UpdateSpec,
    VolumeSpec,
)

Made = st.SearchStrategy[Any]

NASTY = st.sampled_from(
    [
        "", " ", "no", "yes", "y", "null", "~", "1", "0x1f", "1e3", "1.0", "22:22", "2024-01-01", "a: b",
        "a #b", "- a", "? a", "<<", "=", "$HOME", "${A:-b}", "$$", "%a", "@a", "`a", "a\nb", "a\n\n b\n",
        "\n", "\na", "a\n", " a", "a ", "'", '"', "\\", "\t", "*a", "&a", "!a", "{a}", "[a]", "|", ">",
        "a\u2028b", "a\x85b", "\ufeff", "\x7f", "\U0001f600", "true", "on", "---", "...", "# a", ",",
    ]
)  # fmt: skip
TEXT = NASTY | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
FILLED = TEXT.filter(bool)
# Names that begin with x- are passed over in a compose file: `needs_envelope` says so of objects.
WORD = st.from_regex(r"\A[a-z][a-z0-9_.-]{1,12}\Z").filter(lambda word: not word.startswith("x-"))
VARIABLES = FILLED.filter(lambda text: "=" not in text)
HOST_NAMES = st.from_regex(r"\A[A-Za-z0-9_]([A-Za-z0-9_.-]{0,20}[A-Za-z0-9_])?\Z")
ADDRESSES = st.ip_addresses().map(str)
HOST_ADDRESSES = st.ip_addresses(v=4).map(str) | st.ip_addresses(network="2001:db8::/32").map(
    lambda address: host_address(str(address))
)
SIZES = st.integers(0, 2**53) | st.builds(
    lambda n, shift: n << shift, st.integers(1, 4000), st.sampled_from((10, 20, 30, 40))
)
SECONDS = (
    st.integers(1, 10**7).map(float)
    | st.integers(1, 10**6).map(lambda milliseconds: milliseconds / 1000)
    | st.floats(1e-3, 1e5).map(lambda value: round(value, 9))
)
PATHS = st.from_regex(r"\A(/[a-zA-Z0-9_:$ -]{1,8}){1,3}\Z")
TRUE = st.just(True)
YES_NO = st.booleans()
SIGNALS = st.sampled_from(("SIGTERM", "TERM", "15", "SIGRTMIN+3"))


def some(kind: type[Any], must: dict[str, Made] | None = None, /, **fields: Made) -> Made:
    """Instances with any of the fields set to something."""
    return st.fixed_dictionaries(must or {}, optional=fields).map(lambda values: kind(**values))


def tuples(of: Made, most: int = 4) -> Made:
    return st.lists(of, min_size=1, max_size=most).map(tuple)


def mapping(keys: Made, values: Made) -> Made:
    return st.dictionaries(keys, values, min_size=1, max_size=4)


# --- parts ----------------------------------------------------------------------------------------

BIND = some(
    Mount, {"type": st.just("bind"), "source": PATHS, "target": PATHS},
    read_only=YES_NO, propagation=st.sampled_from(PROPAGATIONS), create_host_path=YES_NO,
    recursive=st.sampled_from(("", "disabled", "writable", "readonly")),
)  # fmt: skip
VOLUME = some(
    Mount, {"type": st.just("volume"), "target": PATHS},
    source=WORD, read_only=YES_NO, no_copy=YES_NO, subpath=WORD,
)  # fmt: skip
TMPFS = some(
    Mount, {"type": st.just("tmpfs"), "target": PATHS},
    read_only=YES_NO, size_bytes=SIZES, mode=st.integers(0, 0o7777),
)  # fmt: skip
FLAGGED_TMPFS = some(
    Mount, {"type": st.just("tmpfs"), "target": PATHS.filter(lambda path: ":" not in path)},
    options=tuples(st.sampled_from(sorted(TMPFS_FLAGS - {"ro"}))), size_bytes=SIZES,
)  # fmt: skip


def _mounts(first: list[Mount], last: list[Mount]) -> tuple[Mount, ...]:
    """One for each target; what only `tmpfs:` can say comes last, as it does when it is read."""
    unique = {mount.target: mount for mount in (*first, *last)}
    return tuple(sorted(unique.values(), key=lambda mount: bool(mount.options)))


MOUNTS = st.builds(_mounts, st.lists(BIND | VOLUME | TMPFS, max_size=5), st.lists(FLAGGED_TMPFS, max_size=2))


def _port(target: int, first: int | None, more: int, protocol: str, host_ip: str, name: str) -> Port:
    last = first + more if first is not None and more else None
    return Port(
        target=target, published=first, published_last=last, protocol=protocol, host_ip=host_ip, name=name  # type: ignore[arg-type]
    )  # fmt: skip


PORT = st.builds(
    _port, st.integers(1, 90), st.none() | st.integers(1, 65000), st.integers(0, 5),
    st.sampled_from(("tcp", "udp", "sctp")), st.just("") | HOST_ADDRESSES, st.just("") | FILLED,
)  # fmt: skip


def _apart(found: list[Port]) -> tuple[Port, ...]:
    """No host port twice, which the reader refuses."""
    taken: set[int] = set()
    kept = []
    for port in found:
        mine = set(range(port.published or 0, (port.published_last or port.published or -1) + 1))
        if taken.isdisjoint(mine):
            taken |= mine
            kept.append(port)
    return tuple(kept)


PORTS = (
    st.lists(PORT, min_size=1, max_size=4)
    | st.builds(
        lambda port, count: [
            port.model_copy(
                update={"target": port.target + n, "published": port.published and port.published + n}
            )
            for n in range(count)
        ],
        PORT.filter(lambda port: not port.published_last),
        st.integers(2, 5),
    )
).map(_apart)
ATTACHMENT = some(Attachment, aliases=tuples(HOST_NAMES), priority=st.integers(-9, 9))
MAC = st.just("02:42:ac:11:00:03")
HEALTHCHECK = st.one_of(
    some(Healthcheck, disable=TRUE),
    *(
        some(
            Healthcheck, {name: way}, interval=SECONDS, timeout=SECONDS, retries=st.integers(1, 9),
            start_period=SECONDS, start_interval=SECONDS,
        )
        for name, way in {
            "test": st.just(("NONE",)) | FILLED.map(lambda line: ("CMD-SHELL", line))
            | tuples(TEXT).map(lambda words: ("CMD", *words)),
            "http": st.sampled_from((":8080/a$b", "http://[::1]:80")),
            "tcp": st.just(":5432"),
        }.items()
    ),
)  # fmt: skip
CONDITIONS = st.sampled_from(("service_started", "service_healthy", "service_completed_successfully"))
DEPENDENCY = some(Dependency, condition=CONDITIONS, restart=YES_NO, required=YES_NO)
RESTART = some(
    Restart, {"policy": st.sampled_from(("no", "always", "on-failure", "unless-stopped"))},
    max_attempts=st.integers(1, 10_000), window_seconds=SECONDS,
)  # fmt: skip
DEVICE = st.builds(
    Device, source=PATHS, target=PATHS, permissions=st.sampled_from(("rwm", "r", "rw"))
) | PATHS.map(lambda path: Device(source=path, target=path))
LIMIT = st.builds(
    lambda low, more: UlimitSpec(soft=low, hard=low + more), st.integers(0, 99), st.integers(0, 9)
)
UPDATE = some(
    UpdateSpec, {"policy": st.sampled_from(("digest", "patch", "minor", "major"))},
    minimum_age=SECONDS, prereleases=YES_NO,
)  # fmt: skip
LOGGING = some(
    Logging, driver=st.sampled_from(("json-file", "local")), max_size_bytes=st.integers(4096, 2**40),
    max_file=st.integers(1, 1000), labels=FILLED, env=FILLED, tag=st.sampled_from(("{{.Name}}", "a b", "$x")),
)  # fmt: skip
RATES = tuples(st.builds(BlkioRate, path=PATHS, rate=SIZES))
BLKIO = some(
    Blkio, weight=st.integers(10, 1000),
    weight_device=tuples(st.builds(BlkioWeight, path=PATHS, weight=st.integers(10, 1000))),
    device_read_bps=RATES, device_write_bps=RATES, device_read_iops=RATES, device_write_iops=RATES,
)  # fmt: skip
LABELS = mapping(FILLED.filter(lambda name: not name.startswith("setpoint.")), TEXT)

# --- objects ----------------------------------------------------------------------------------------

CONTAINER_FIELDS: dict[str, Made] = {
    "image": st.sampled_from(("nginx:1.27", "a/b@sha256:" + "0" * 64, "localhost:5000/$x")),
    "command": st.lists(TEXT, max_size=4).map(tuple),
    "entrypoint": st.lists(TEXT, max_size=4).map(tuple),
    "environment": mapping(VARIABLES, TEXT),
    "environment_unset": st.just(("_UNSET", "no")),
    "working_dir": FILLED,
    "user": TEXT,
    "group_add": tuples(TEXT),
    "hostname": HOST_NAMES,
    "domainname": HOST_NAMES,
    "container_name": st.from_regex(r"\A[a-zA-Z0-9][a-zA-Z0-9_.-]{1,9}\Z"),
    "labels": LABELS,
    "annotations": LABELS,
    "tty": TRUE,
    "stdin_open": TRUE,
    "init": TRUE,
    "read_only": TRUE,
    "mounts": MOUNTS,
    "devices": tuples(DEVICE),
    "device_cgroup_rules": tuples(st.sampled_from(("a *:* rwm", "c 188:* rw", "b 8:0 r"))),
    "ports": PORTS,
    "expose": tuples(st.sampled_from(("80", "3000-3005/udp"))),
    "networks": mapping(WORD, ATTACHMENT) | st.builds(lambda mac: {"net": Attachment(mac_address=mac)}, MAC),
    "network_mode": st.sampled_from(("none", "host", "bridge", "service:db", "container:a")),
    "extra_hosts": tuples(st.tuples(HOST_NAMES, ADDRESSES | st.just("host-gateway"))).map(
        lambda pairs: tuple(sorted(pairs))
    ),
    "links": st.sampled_from(((("db", "db"),), (("db", "x"), ("db", "y")))),
    "external_links": tuples(st.tuples(HOST_NAMES, HOST_NAMES)),
    "dns": tuples(ADDRESSES),
    "dns_search": tuples(TEXT),
    "dns_opt": tuples(TEXT),
    "cap_add": tuples(st.sampled_from(("ALL", "NET_ADMIN"))),
    "cap_drop": tuples(st.sampled_from(("ALL", "NET_ADMIN"))),
    "privileged": TRUE,
    "no_new_privileges": TRUE,
    "seccomp": st.just("unconfined") | PATHS,
    "apparmor": FILLED,
    "masked_paths": st.just(False),
    "hidden_paths": st.sampled_from(((), ("/proc/kcore", "/sys/firmware"))),
    "readonly_paths": st.sampled_from(((), ("/proc/sys",))),
    "sysctls": mapping(FILLED, TEXT),
    "ulimits": mapping(st.sampled_from(LIMITS), LIMIT),
    "shm_size": SIZES,
    "pid": st.sampled_from(("host", "service:db")),
    "ipc": st.sampled_from(("host", "none", "container:a")),
    "uts": st.just("host"),
    "userns_mode": st.sampled_from(("auto", "host")),
    "cgroup": st.sampled_from(("host", "private")),
    "cpus": st.integers(0, 64).map(float) | st.floats(0.01, 100),
    "cpu_shares": st.integers(2, 262144),
    "cpu_period": st.integers(1000, 1_000_000),
    "cpuset": st.sampled_from(("0", "0-3", "0,2")),
    "cpuset_mems": st.sampled_from(("0", "0-1")),
    "cpu_rt_period": st.just(900_000),
    "cpu_rt_runtime": st.integers(0, 900_000),
    "blkio_config": BLKIO,
    "mem_swappiness": st.integers(0, 100),
    "mem_limit": SIZES,
    "memswap_limit": st.just(-1),
    "mem_reservation": SIZES,
    "pids_limit": st.integers(-1, 4_194_304),
    "oom_score_adj": st.integers(-1000, 1000),
    "oom_kill_disable": TRUE,
    "restart": RESTART,
    "stop_signal": SIGNALS,
    "stop_grace_period": SECONDS | st.just(0.0),
    "healthcheck": HEALTHCHECK,
    "depends_on": mapping(st.just("db"), DEPENDENCY),
    "logging": LOGGING,
    "scale": st.integers(0, 10_000),
    "pull_policy": st.sampled_from(("always", "never", "daily", "every_12h")),
    "platform": st.sampled_from(("linux/amd64", "linux/arm64/v8")),
    "profiles": tuples(FILLED),
    "ensure": st.sampled_from(("stopped", "absent")),
    "suspend": TRUE,
    "on_unhealthy": st.just("restart"),
    "update": UPDATE,
}


def _is_readable(spec: ContainerSpec) -> bool:
    """What the reader's checks over several fields let through."""
    modes = spec.network_mode
    if modes and (spec.networks or spec.extra_hosts or spec.ports or spec.links or spec.external_links):
        return False
    if spec.links and "db" not in spec.depends_on:
        return False
    if set(spec.environment_unset) & spec.environment.keys():
        return False
    if spec.uts and (spec.hostname or spec.domainname):
        return False
    if spec.scale > 1 and (spec.container_name or spec.ports or spec.networks):
        return False
    return not (spec.mem_limit and (spec.mem_reservation or 0) > spec.mem_limit)


CONTAINERS = some(
    ContainerSpec, {"image": CONTAINER_FIELDS["image"]},
    **{name: of for name, of in CONTAINER_FIELDS.items() if name != "image"},
).filter(_is_readable)  # fmt: skip
REAL_NAMES = st.from_regex(r"\A[a-zA-Z0-9][a-zA-Z0-9_.-]{1,9}\Z")
IPV6 = some(
    Ipv6, subnet=st.just("fd00:5::/64"),
) | st.just(
    Ipv6(subnet="fd00:5::/64", gateway="fd00:5::9", ip_range="fd00:5::/112", aux_addresses={"n": "fd00:5::8"})
)  # fmt: skip
NETWORKS = some(
    NetworkSpec, name=REAL_NAMES, driver=st.just("bridge"), internal=TRUE, isolated=TRUE, routed=TRUE,
    labels=LABELS, mtu=st.integers(68, 65535), ensure=st.just("absent"), suspend=TRUE,
    subnet=st.just("10.5.0.0/24"),
) | some(NetworkSpec, {"external": TRUE}, name=REAL_NAMES) | st.just(
    NetworkSpec(
        subnet="10.5.0.0/24", gateway="10.5.0.9", ip_range="10.5.0.128/25", aux_addresses={"no": "10.5.0.8"},
    ),
) | st.builds(NetworkSpec, ipv6=IPV6, subnet=st.just("10.5.0.0/24"))  # fmt: skip
VOLUMES = some(
    VolumeSpec, name=REAL_NAMES, driver=st.just("local"), labels=LABELS, keep=st.just(False),
    ensure=st.just("absent"), suspend=TRUE,
) | some(VolumeSpec, {"external": TRUE}, name=REAL_NAMES)  # fmt: skip
IMAGES = some(
    ImageSpec, {"image": CONTAINER_FIELDS["image"]}, pull_policy=st.sampled_from(("missing", "never")),
    update=UPDATE, labels=LABELS, ensure=st.just("absent"), suspend=TRUE,
)  # fmt: skip
