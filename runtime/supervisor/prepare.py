"""An OCI config as a flat plan for the child, computed before the fork.

All parsing and checking happens here, in the parent, where an error is an exception and where the
work does not fault in pages of a forked interpreter; `child` and `join` only carry the plan out.
Standard library only. Reads no file of a container.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal's own makes an enum of each answer
import functools
import json
from collections.abc import Mapping, Sequence

from runtime import security, syscalls
from runtime.cgroup_limits import controllers
from runtime.cgroups import check_path, hierarchies
from runtime.devices import Device, parse_devices
from runtime.errors import Invalid, Unsupported
from runtime.mounts import Mount, Overlay, parse_mounts, propagation_flags
from runtime.supervisor.own_ids import Users, owned_device, owned_mount, users_of
from runtime.typed import Any, NamedTuple

ROOTFS = "setpoint.rootfs"  # JSON of an Overlay, in place of root.path
JOINED = "setpoint.joined"  # JSON of (pid, start time) of those whose namespaces are joined
SECCOMP = "setpoint.seccomp"  # the path of a compiled filter
TOLD = b"setpoint told:\0\0"
"""In its file between the filter and one that has refusals told: no instruction of BPF (`seccomp_told`)."""
USER = "setpoint.groups"  # JSON list of further groups; process.user.username is looked up

_CLONE_FLAGS = {
    "pid": syscalls.CLONE_NEWPID,
    "network": syscalls.CLONE_NEWNET,
    "mount": syscalls.CLONE_NEWNS,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
    "user": syscalls.CLONE_NEWUSER,
    "cgroup": syscalls.CLONE_NEWCGROUP,
    "time": syscalls.CLONE_NEWTIME,
}


class ProcessPlan(NamedTuple):
    """What is done to the process itself, the same for a container's first and for an exec.

    user: (uid, gid, groups), or a lookup by name in the container's root when lookup is given.
    drop: capabilities to take from the bounding set; effective … ambient: masks. seccomp_told: a second
    filter, whose refusals the kernel logs.
    ignored: signals that this process ignores and the program must not.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    lookup: tuple[str, tuple[str, ...]] | None
    drop: tuple[int, ...]
    effective: int
    permitted: int
    inheritable: int
    ambient: int
    no_new_privileges: bool
    rlimits: tuple[tuple[int, int, int, str], ...]
    oom_score_adj: int | None
    umask: int
    terminal: bool
    size: tuple[int, int] | None
    apparmor: str
    seccomp: bytes
    seccomp_told: bytes
    seccomp_flags: int
    ignored: tuple[int, ...]


class Plan(NamedTuple):
    """All that the child does, in order.

    cgroups: (name below /sys/fs/cgroup, host directory), for the mount that shows the container its own.
    sysctls: (path below /proc/sys, value). users: its user namespace, when its root is built outside of it
    and shown with other owners; id_maps when the child does everything in a new one. own_sysctls: those of an
    ipc namespace that users is to own.
    """

    process: ProcessPlan
    flags: int
    joins: tuple[tuple[int, str], ...]
    cgroup: str
    cgroups: tuple[tuple[str, str], ...]
    bundle: str
    root: str
    overlay: Overlay | None
    read_only: bool
    propagation: int
    root_propagation: int
    mounts: tuple[Mount, ...]
    devices: tuple[Device, ...]
    masked: tuple[str, ...]
    read_only_paths: tuple[str, ...]
    sysctls: tuple[tuple[str, str], ...]
    hostname: str
    domainname: str
    id_maps: tuple[str, str]
    hooks: Mapping[str, Any]
    state: Mapping[str, Any]
    users: Users | None = None
    own_sysctls: tuple[tuple[str, str], ...] = ()


def prepare(config: Mapping[str, Any], bundle: str, seccomp: bytes | None) -> Plan:
    """The plan for a container. `Invalid` for a config that cannot work, `Unsupported` for one that
    asks for what this runtime does not do: nothing is silently left out."""
    linux = config.get("linux") or {}
    _refuse_unsupported(linux, ("intelRdt", "personality", "timeOffsets", "mountLabel", "netDevices"))
    flags, joins = _namespaces(linux.get("namespaces") or ())
    own = {flag for flag, _ in joins} | {flag for flag in _CLONE_FLAGS.values() if flags & flag}
    if not flags & syscalls.CLONE_NEWNS:
        raise Invalid("start", "container", "no mount namespace of its own", "add one to linux.namespaces")
    annotations = config.get("annotations") or {}
    rootfs = annotations.get(ROOTFS)
    root = config.get("root") or {}
    sharing = linux.get("rootfsPropagation") or ""
    hostname, domainname = config.get("hostname") or "", config.get("domainname") or ""
    if (hostname or domainname) and syscalls.CLONE_NEWUTS not in own:
        raise Invalid("start", "container", "a hostname needs a uts namespace", "leave the hostname out")
    sysctls = _sysctls(linux.get("sysctl") or {}, own)
    users = users_of(linux, annotations)
    if users:
        flags &= ~syscalls.CLONE_NEWUSER
        joins = tuple(join for join in joins if join[0] != syscalls.CLONE_NEWUSER)
    made = parse_mounts(config.get("mounts") or (), bundle)
    nodes = parse_devices(linux.get("devices") or ())
    return Plan(
        process=prepare_process(config.get("process") or {}, config, seccomp),
        flags=flags,
        joins=joins,
        cgroup=check_path(linux["cgroupsPath"]) if linux.get("cgroupsPath") else "",
        cgroups=_cgroups(linux),
        bundle=bundle,
        root=_root_path(root.get("path") or "rootfs", bundle),
        overlay=Overlay.parse(rootfs) if rootfs else None,
        read_only=bool(root.get("readonly")),
        propagation=propagation_flags(sharing if sharing.startswith("r") else sharing and f"r{sharing}"),
        root_propagation=propagation_flags(sharing) if sharing else 0,
        mounts=tuple(owned_mount(each, users) for each in made) if users else made,
        devices=tuple(owned_device(each, users) for each in nodes) if users else nodes,
        masked=tuple(linux.get("maskedPaths") or ()),
        read_only_paths=tuple(linux.get("readonlyPaths") or ()),
        sysctls=tuple(each for each in sysctls if not (users and _is_ipc(each[0]))),
        hostname=hostname,
        domainname=domainname,
        id_maps=_id_maps(linux, flags),
        hooks=config.get("hooks") or {},
        state={"ociVersion": config.get("ociVersion", "1.2.0"), "annotations": annotations},
        users=users,
        own_sysctls=tuple(each for each in sysctls if users and _is_ipc(each[0])),
    )


def _refuse_unsupported(found: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in names:
        if found.get(name):
            raise Unsupported("start", name, "not supported by this runtime", "leave it out of the config")


def _root_path(path: str, bundle: str) -> str:
    return path if path.startswith("/") else f"{bundle}/{path}"


def _namespaces(namespaces: Sequence[Mapping[str, Any]]) -> tuple[int, tuple[tuple[int, str], ...]]:
    """Flags of the new namespaces, and (flag, path) of those to join."""
    flags, joins = 0, []
    seen = set()
    for namespace in namespaces:
        kind, path = namespace["type"], namespace.get("path")
        flag = _CLONE_FLAGS.get(kind)
        if flag is None or kind in seen:
            reason = "listed twice" if kind in seen else "no such namespace"
            raise Invalid(
                "start", f"namespace {kind}", reason, "pid, network, mount, ipc, uts, user or cgroup"
            )
        seen.add(kind)
        if not path:
            flags |= flag
        elif kind in ("mount", "time"):
            raise Unsupported("start", f"namespace {kind}", "joining one by its path is not supported", "")
        else:
            joins.append((flag, path))
    if flags & syscalls.CLONE_NEWTIME:
        raise Unsupported("start", "namespace time", "time namespaces are not supported", "leave it out")
    return flags, tuple(joins)


def _cgroups(linux: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    if not linux.get("cgroupsPath"):
        return ()
    path = check_path(linux["cgroupsPath"])
    found = hierarchies()
    if not found.v1:
        return (("", found.directory("", path)),)
    names = controllers(linux.get("resources") or {}, found)
    return tuple(
        ((found.v1[name] if name else found.unified).rpartition("/")[2], found.directory(name, path))
        for name in names
    )


def _sysctls(sysctls: Mapping[str, str], own: set[int]) -> tuple[tuple[str, str], ...]:
    found = []
    for key, value in sysctls.items():
        path = security.sysctl_path(
            key,
            own_network=syscalls.CLONE_NEWNET in own,
            own_ipc=syscalls.CLONE_NEWIPC in own,
            own_uts=syscalls.CLONE_NEWUTS in own,
        )
        found.append((path, str(value)))
    return tuple(found)


def _is_ipc(path: str) -> bool:
    return path.startswith("fs/mqueue/") or (path.startswith("kernel/") and path != "kernel/domainname")


def _id_maps(linux: Mapping[str, Any], flags: int) -> tuple[str, str]:
    """The lines for /proc/PID/uid_map and gid_map; empty without a new user namespace."""
    maps = tuple(
        "".join(f"{each['containerID']} {each['hostID']} {each['size']}\n" for each in linux.get(key) or ())
        for key in ("uidMappings", "gidMappings")
    )
    if flags & syscalls.CLONE_NEWUSER and not all(maps):
        raise Invalid("start", "container", "a user namespace without id mappings", "add uidMappings")
    return (maps[0], maps[1]) if flags & syscalls.CLONE_NEWUSER else ("", "")


def prepare_process(
    process: Mapping[str, Any], config: Mapping[str, Any], seccomp: bytes | None
) -> ProcessPlan:
    """The part of a plan that a container's first process and an exec share."""
    _refuse_unsupported(process, ("selinuxLabel", "scheduler", "ioPriority", "execCPUAffinity"))
    environment = tuple(process.get("env") or ())
    _refuse_nul(environment)
    cwd = process.get("cwd") or "/"
    if not cwd.startswith("/"):
        raise Invalid("start", f"working directory {cwd}", "not an absolute path", "begin it with /")
    user = process.get("user") or {}
    caps = {name: _mask(tuple(each)) for name, each in (process.get("capabilities") or {}).items()}
    bounding = caps.get("bounding", 0)
    size = process.get("consoleSize")
    (program, told), seccomp_flags = _seccomp(config, seccomp)
    return ProcessPlan(
        arguments=_arguments(process.get("args") or ()),
        environment=dict(each.split("=", 1) for each in environment if each.find("=") > 0),
        cwd=cwd,
        uid=_id(user.get("uid", 0)),
        gid=_id(user.get("gid", 0)),
        groups=tuple(_id(each) for each in user.get("additionalGids") or ()),
        lookup=_lookup(user, config),
        drop=_numbers_not_in(bounding),
        effective=caps.get("effective", 0),
        permitted=caps.get("permitted", 0),
        inheritable=caps.get("inheritable", 0),
        ambient=caps.get("ambient", 0),
        no_new_privileges=bool(process.get("noNewPrivileges")),
        rlimits=_rlimits(process.get("rlimits") or ()),
        oom_score_adj=process.get("oomScoreAdj"),
        umask=user.get("umask", 0o022),
        terminal=bool(process.get("terminal")),
        size=(size["height"], size["width"]) if size else None,
        apparmor=_apparmor(process.get("apparmorProfile") or ""),
        seccomp=program,
        seccomp_told=told,
        seccomp_flags=seccomp_flags,
        ignored=_ignored_signals(),
    )


@functools.lru_cache(maxsize=64)
def _mask(names: tuple[str, ...]) -> int:
    """Most containers have the same few."""
    return security.capability_mask(names)


@functools.lru_cache(maxsize=64)
def _numbers_not_in(mask: int) -> tuple[int, ...]:
    return tuple(number for number in range(len(security.CAPABILITIES)) if not mask >> number & 1)


def with_arguments(plan: ProcessPlan, arguments: Sequence[str]) -> ProcessPlan:
    """The same for another command. Invalid for none, and for one with a NUL character."""
    return plan._replace(arguments=_arguments(arguments))


def _arguments(arguments: Sequence[str]) -> tuple[str, ...]:
    if not arguments or not arguments[0]:
        raise Invalid("start", "process", "no command", "set process.args")
    _refuse_nul(arguments)
    return tuple(arguments)


def _refuse_nul(words: Sequence[str]) -> None:
    if any("\0" in each for each in words):
        raise Invalid("start", "process", "a NUL character in its arguments or environment", "remove it")


def _apparmor(profile: str) -> str:
    """The profile to change to at exec. Refused where the kernel has none: never unconfined by silence."""
    if not profile or profile == "unconfined":
        return ""
    try:
        with open("/sys/module/apparmor/parameters/enabled") as file:
            enabled = file.read(1) == "Y"
    except OSError:
        enabled = False
    if not enabled:
        raise Unsupported("start", f"apparmor profile {profile}", "this kernel has no AppArmor on", "")
    if not profile.isprintable():
        raise Invalid("start", f"apparmor profile {profile!r}", "not a profile's name", "see aa-status(8)")
    return profile


def _id(value: int) -> int:
    if not isinstance(value, int) or not 0 <= value < (1 << 32) - 1:
        raise Invalid("start", f"user {value}", "not a user or group number", "0 to 4294967294")
    return value


def _lookup(user: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, tuple[str, ...]] | None:
    """A user by name: `username` counts only in a config of ours, which says so by its annotation."""
    groups = (config.get("annotations") or {}).get(USER)
    if groups is None or "username" not in user:
        return None
    return user["username"], tuple(json.loads(groups))


def _rlimits(rlimits: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, int, int, str], ...]:
    return tuple(
        (
            security.rlimit_number(each["type"]), security.rlimit_value(each["soft"]),
            security.rlimit_value(each["hard"]), each["type"],
        )
        for each in rlimits
    )  # fmt: skip


MOST_PROGRAMS = 256
_programs: dict[str, tuple[bytes, bytes]] = {}
_SECCOMP_FLAGS = {
    "SECCOMP_FILTER_FLAG_LOG": syscalls.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": syscalls.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # one thread only: nothing to synchronise
}


def _seccomp(config: Mapping[str, Any], given: bytes | None) -> tuple[tuple[bytes, bytes], int]:
    """The filter to load, the one whose refusals are told, and flags. A profile without a compiled filter is
    refused."""
    profile = (config.get("linux") or {}).get("seccomp")
    flags = 0
    for name in (profile or {}).get("flags") or ():
        if name not in _SECCOMP_FLAGS:
            raise Unsupported("load seccomp", name, "this flag is not supported", "leave it out")
        flags |= _SECCOMP_FLAGS[name]
    if given is not None:
        return _split(given), flags
    path = (config.get("annotations") or {}).get(SECCOMP)
    if path:
        # Named by the hash of its content and never changed: read once.
        return _programs.get(path) or _read_program(path), flags
    if profile:
        raise Invalid("load seccomp", "profile", "it was not compiled", "give the compiled filter")
    return (b"", b""), flags


def _read_program(path: str) -> tuple[bytes, bytes]:
    try:
        with open(path, "rb") as file:
            whole = file.read(1 << 20)
    except OSError as error:
        raise Invalid("load seccomp", path, error.strerror or "", "create the container again") from error
    if not whole or len(whole) % 8:
        raise Invalid("load seccomp", path, "not a compiled filter", "create the container again")
    if len(_programs) >= MOST_PROGRAMS:  # each of somebody's own: they are read again where they are needed
        _programs.clear()
        syscalls.seccomp_forget_filters()
    found = _programs[path] = _split(whole)
    for program in found:  # what a forked child makes of it costs it seventy pages
        syscalls.seccomp_keep_filter(program)
    return found


def _split(whole: bytes) -> tuple[bytes, bytes]:
    program, _, told = whole.partition(TOLD)
    return program, told


def _ignored_signals() -> tuple[int, ...]:
    """An ignored signal stays ignored over exec(2), and Python ignores SIGPIPE and SIGXFSZ."""
    return tuple(number for number in range(1, 32) if _signal.getsignal(number) == _signal.SIG_IGN)
