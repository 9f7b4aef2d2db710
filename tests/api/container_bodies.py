"""Bodies of create calls, drawn by Hypothesis: what clients send, with the texts that files get wrong."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

MIB = 1 << 20
NANO = 1_000_000_000
Bodies = st.SearchStrategy[dict[str, Any]]

# Texts that YAML, interpolation or a shell would read otherwise.
ODD = st.sampled_from([
    "$", "$$", "${HOME}", "$HOME ${X:-y}", "a=b=c", "two\nlines\n", "\n", " in front", "behind ", "tab\there",
    "'", '"', "it's \"both\"", "#no comment", "a #b", "yes", "no", "null", "~", "0755", "1e3", "12:30:45",
    "- x", "a: b", "{a: b}", "[x]", "*x", "&x", "!x", "|", ">", "%x", "@x", "`x`", "\\n", "ü ß 漢", "",
    "\u200b", "\u2028", "trailing:", "--- x", "...", "=", "<<", "0x1f", "-1", "+1", ".5", "2001-01-01",
    "\x7f", "a\rb", "\u0085",
])  # fmt: skip
TEXT = ODD | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
WORD = st.from_regex(r"[a-z][a-z0-9_.-]{0,10}[a-z0-9]", fullmatch=True)
LABELS = st.dictionaries(
    WORD | st.sampled_from(["a b", "a.b/c", "ü", "yes", "1", "#x", "x=y", "a:b", "$x"]), TEXT, max_size=3
)
NAME = st.from_regex(r"[A-Z0-9]", fullmatch=True)
ENTRY = st.tuples(st.sampled_from(["A", "PATH_", "a.b", "a-b", "_", "1", "YES", "with space"]), TEXT)
ENV = st.lists(ENTRY.map("=".join), max_size=4, unique_by=lambda entry: entry.partition("=")[0])


def some(**fields: st.SearchStrategy[Any]) -> Bodies:
    """Some of these: a body with all fields is refused for one of them."""
    chosen = st.lists(st.sampled_from(sorted(fields)), max_size=12, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: fields[name] for name in names}))


SECONDS = st.sampled_from([1, 1.5, 2, 10, 90, 3600]).map(lambda seconds: int(seconds * NANO))
HEALTH = st.fixed_dictionaries(
    {
        "Test": st.one_of(
            st.just(["NONE"]),
            st.tuples(st.just("CMD-SHELL"), TEXT.filter(bool)).map(list),
            st.tuples(st.just("CMD"), st.just("true"), TEXT).map(list),
        )
    },
    optional={
        "Interval": SECONDS, "Timeout": SECONDS, "StartPeriod": SECONDS, "StartInterval": SECONDS,
        "Retries": st.integers(1, 9),
    },
)  # fmt: skip
CONFIG = some(
    Env=ENV,
    Labels=LABELS,
    Hostname=st.sampled_from(["h", "h.example", "a-b"]),
    Domainname=st.sampled_from(["example.org"]),
    User=st.sampled_from(["0", "root", "1000:1000", "65534"]),
    WorkingDir=st.sampled_from(["/tmp", "/a b", "/$x", "/ü"]),
    StopSignal=st.sampled_from(["SIGKILL", "9", "KILL"]),
    StopTimeout=st.integers(0, 100),
    Tty=st.booleans(),
    OpenStdin=st.booleans(),
    Healthcheck=HEALTH,
    ExposedPorts=st.sampled_from([{"80/tcp": {}}, {"53/udp": {}, "8000/tcp": {}}]),
    Volumes=st.sampled_from([{"/kept": {}}, {"/a b": {}}, {"/x/y": {}, "/z": {}}]),
)
TMPFS = st.dictionaries(
    st.sampled_from(["/t1", "/t 2"]),
    st.sampled_from(["", "size=1m", "rw,noexec,nosuid,size=65536k", "mode=1777,size=4096", "exec,uid=1000"]),
    max_size=2,
)
BIND = st.sampled_from([
    "/etc/hostname:/b1:ro", "/etc:/b2:ro,rslave", "/etc/hosts:/b 3", "kept:/v1", "kept:/v2:ro",
    "kept:/v3:nocopy", "na.med_x:/v4",
])  # fmt: skip
MOUNT = st.sampled_from([
    {"Type": "bind", "Source": "/etc/hostname", "Target": "/m1", "ReadOnly": True},
    {"Type": "bind", "Source": "/etc", "Target": "/m2", "BindOptions": {"Propagation": "rslave"}},
    {"Type": "volume", "Source": "kept", "Target": "/m3", "VolumeOptions": {"NoCopy": True}},
    {"Type": "volume", "Source": "sub", "Target": "/m4", "VolumeOptions": {"Subpath": "a/b"}},
    {"Type": "volume", "Target": "/m5"},
    {"Type": "tmpfs", "Target": "/m6", "TmpfsOptions": {"SizeBytes": MIB, "Mode": 0o700}},
    {"Type": "tmpfs", "Target": "/m7"},
    {"Type": "volume", "Source": "memory", "Target": "/m8", "VolumeOptions": {"Labels": {"a": "b"},
     "DriverConfig": {"Name": "local", "Options": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}}}},
])  # fmt: skip
PORTS = st.sampled_from([
    {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}, {"53/udp": [{"HostIp": "127.0.0.1"}]},
    {"80/tcp": [{"HostIp": "127.0.0.1"}, {"HostIp": "127.0.0.2"}]}, {"90/sctp": [{"HostIp": "127.0.0.1"}]},
])  # fmt: skip
HOST = some(
    Binds=st.lists(BIND, max_size=3, unique=True),
    Mounts=st.lists(MOUNT, max_size=3, unique_by=lambda mount: str(mount["Target"])),
    Tmpfs=TMPFS,
    NetworkMode=st.sampled_from(["bridge", "none", "host", "default"]),
    PortBindings=PORTS,
    PublishAllPorts=st.booleans(),
    Dns=st.sampled_from([["9.9.9.9"], ["1.1.1.1", "8.8.8.8"]]),
    DnsSearch=st.sampled_from([["example.org"], ["."]]),
    DnsOptions=st.sampled_from([["ndots:2"], ["use-vc", "timeout:1"]]),
    ExtraHosts=st.sampled_from([["db:10.1.2.3"], ["gw:host-gateway", "a.b:::1"]]),
    GroupAdd=st.sampled_from([["27"], ["27", "100"]]),
    CapAdd=st.sampled_from([["NET_ADMIN"], ["CAP_SYS_TIME"], ["ALL"], ["net_admin"]]),
    CapDrop=st.sampled_from([["ALL"], ["MKNOD", "CAP_CHOWN"]]),
    SecurityOpt=st.sampled_from([
        ["no-new-privileges"], ["seccomp=unconfined"], ["apparmor=unconfined"], ["no-new-privileges:true"],
        ["systempaths=unconfined"], ["label=disable"],
    ]),
    Sysctls=st.sampled_from([
        {"net.core.somaxconn": "1024"}, {"net.ipv4.ip_forward": "0", "kernel.msgmax": "8192"},
    ]),
    Ulimits=st.sampled_from([
        [{"Name": "nofile", "Soft": 1024, "Hard": 2048}], [{"Name": "core", "Soft": -1, "Hard": -1}],
    ]),
    ShmSize=st.sampled_from([MIB, 3 * MIB + 4096, 64 * MIB]),
    Init=st.booleans(),
    ReadonlyRootfs=st.booleans(),
    Privileged=st.booleans(),
    PidMode=st.sampled_from(["host"]),
    IpcMode=st.sampled_from(["private", "host", "shareable", "none"]),
    UTSMode=st.sampled_from(["host"]),
    CgroupnsMode=st.sampled_from(["private", "host"]),
    UsernsMode=st.sampled_from(["host"]),
    OomScoreAdj=st.sampled_from([-500, 0, 500]),
    OomKillDisable=st.booleans(),
    PidsLimit=st.sampled_from([-1, 0, 50]),
    Memory=st.sampled_from([8 * MIB, 64 * MIB, 100_000_001]),
    MemoryReservation=st.sampled_from([7 * MIB]),
    MemorySwappiness=st.sampled_from([0, 60]),
    NanoCpus=st.sampled_from([10_000_000, 333_000_000, NANO]),
    CpuShares=st.sampled_from([2, 512, 1024]),
    CpusetCpus=st.sampled_from(["0", "0-1"]),
    BlkioWeight=st.sampled_from([10, 500]),
    Devices=st.sampled_from([
        [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/xnull", "CgroupPermissions": "rw"}],
        [{"PathOnHost": "/dev/zero", "PathInContainer": "/dev/zero", "CgroupPermissions": "rwm"}],
    ]),
    DeviceCgroupRules=st.sampled_from([["c 1:3 rwm"], ["c *:* r", "b 8:* rmw"]]),
    LogConfig=st.sampled_from([
        {"Type": "none"}, {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
        {"Type": "local"}, {"Type": "json-file", "Config": {"labels": "a,b"}},
    ]),
    RestartPolicy=st.sampled_from([
        {"Name": "always"}, {"Name": "unless-stopped"}, {"Name": "on-failure", "MaximumRetryCount": 3},
        {"Name": "on-failure"}, {"Name": "no"},
    ]),
    Annotations=st.dictionaries(st.sampled_from(["a.b", "yes"]), TEXT, max_size=2),
    MaskedPaths=st.sampled_from([[], ["/proc/acpi", "/proc/kcore"]]),
    ReadonlyPaths=st.sampled_from([[], ["/proc/sys"]]),
)  # fmt: skip
ENDPOINT = some(
    Aliases=st.sampled_from([["one"], ["one", "two.three"]]),
    MacAddress=st.sampled_from(["02:42:0a:00:00:07"]),
    GwPriority=st.sampled_from([0, 5]),
)
ENDPOINTS = st.dictionaries(st.sampled_from(["net-a", "net.b"]), ENDPOINT, max_size=2)


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """A create call of something that runs until it is killed."""
    body, host = draw(CONFIG), draw(HOST)
    if host.get("UTSMode") == "host":  # there is no word for one that has no effect
        body.pop("Domainname", None)
    arguments = draw(st.lists(TEXT, max_size=2))
    body |= {"Image": "busybox", "Cmd": ["sh", "-c", "sleep 100000 & wait", "sh", *arguments]}
    if endpoints := draw(ENDPOINTS):
        body["NetworkingConfig"] = {"EndpointsConfig": endpoints}
        host["NetworkMode"] = next(iter(endpoints))
    return body | {"HostConfig": host}
