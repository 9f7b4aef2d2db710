"""What Setpoint needs of a host, one small look each. Called by `setpoint doctor` alone; reads /proc and
/sys, asks the kernel for what it knows of a call, changes nothing.
"""

from __future__ import annotations

import ctypes.util
import errno
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple


class Finding(NamedTuple):
    """state: ok, warn (works, with a catch), missing (needed and not there), unknown (cannot be seen)."""

    name: str
    state: str
    found: str
    advice: str = ""


def check_host(instance: str) -> list[Finding]:
    """Every finding, in the order in which one would mend them."""
    findings: list[Finding] = []
    for check in (program, user, kernel, calls, namespaces, cgroups, overlay, seccomp, denials, lsm, landlock,
                  links, nftables, port_guard, forwarding, other_firewalls, inotify, descriptors, git,
                  init_program, checkpoints):  # fmt: skip
        findings += _guarded(check)
    findings += _guarded(lambda: confinement(instance))
    findings += _guarded(lambda: storage(Path("/var/lib") / instance))
    findings += _guarded(lambda: policy(instance))
    return findings


def _guarded(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """A look that fails is a finding too: a doctor that dies tells nothing."""
    try:
        return list(check())
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return [Finding(getattr(check, "__name__", "check"), "unknown", str(error))]


def read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def program() -> Iterator[Finding]:
    version = platform.python_version()
    good = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if good else "missing", version, "" if good else "needs 3.11 or newer")


def user() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding("root", "ok", "yes")
    else:
        yield Finding("root", "warn", "no", "the agent needs root; this look sees more as root too")


def kernel() -> Iterator[Finding]:
    release, numbers = platform.release(), _release()
    # mount_setattr(2) with idmapped mounts: 5.12; CLONE_INTO_CGROUP: 5.7; openat2(2): 5.6.
    if numbers >= (5, 12):
        yield Finding("kernel", "ok", release)
    else:
        yield Finding("kernel", "missing", release, "needs 5.12 or newer")


def _release() -> tuple[int, ...]:
    return tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])


def _free_ranges() -> int:
    from runtime import id_ranges

    taken = id_ranges.taken()
    return id_ranges.COUNT - len(taken)


def calls() -> Iterator[Finding]:
    """System calls, by asking with arguments that do nothing: ENOSYS is the only no."""
    from runtime import syscalls

    attempts: tuple[tuple[str, str, Callable[[], object]], ...] = (
        ("openat2", "5.6", lambda: os.close(syscalls.openat2(-100, "/", os.O_PATH))),
        ("pidfd_open", "5.3", lambda: os.close(syscalls.pidfd_open(os.getpid()))),
        ("open_tree", "5.2", lambda: os.close(syscalls.open_tree(-100, "/", 0))),
        # EBADF or EINVAL is a yes: it knows the call and refuses the descriptor.
        ("mount_setattr (idmapped mounts)", "5.12", lambda: syscalls.mount_setattr(-1, "", 0, 0)),
    )
    for name, since, attempt in attempts:
        try:
            attempt()
        except OSError as error:
            if error.errno == errno.ENOSYS:
                yield Finding(name, "missing", "the kernel does not have it", f"needs Linux {since}")
                continue
        yield Finding(name, "ok", "there")


def namespaces() -> Iterator[Finding]:
    needed = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
    missing = [name for name in needed if not Path(f"/proc/self/ns/{name}").exists()]
    if missing:
        yield Finding(
            "namespaces", "missing", f"without {', '.join(missing)}", "needs a kernel with CONFIG_NAMESPACES"
        )
    else:
        yield Finding("namespaces", "ok", " ".join(needed))
    count = read("/proc/sys/user/max_user_namespaces")
    if not Path("/proc/self/ns/user").exists() or count == "0":
        yield Finding(
            "user namespaces", "warn", "off", "needed for userns_mode: sysctl user.max_user_namespaces=15000"
        )
    elif _release() < (5, 19):
        yield Finding(
            "user namespaces", "warn", "no overlay of idmapped layers", "userns_mode: auto needs Linux 5.19"
        )
    else:
        yield Finding("user namespaces", "ok", f"up to {count}, {_free_ranges()} ranges of ids free")


CONTROLLERS = ("cpu", "memory", "pids")


def cgroups() -> Iterator[Finding]:
    mounts = [line.split() for line in read("/proc/mounts").splitlines()]
    v2 = [m[1] for m in mounts if m[2] == "cgroup2"]
    v1 = {option for m in mounts if m[2] == "cgroup" for option in m[3].split(",")}
    unified = set(read(f"{v2[0]}/cgroup.controllers").split()) if v2 else set()
    kind = "v2" if v2 and not v1 & set(CONTROLLERS) else "hybrid" if v2 else "v1" if v1 else "none"
    if kind == "none":
        yield Finding("cgroups", "missing", "no hierarchy is mounted", "mount -t cgroup2 none /sys/fs/cgroup")
        return
    yield Finding("cgroups", "ok", kind)
    missing = [name for name in CONTROLLERS if name not in unified | v1]
    if missing:
        advice = (
            "kernel command line: cgroup_enable=memory swapaccount=1"
            if "memory" in missing
            else "see cgroups(7)"
        )
        yield Finding("controllers", "missing", f"without {', '.join(missing)}", advice)
    else:
        extra = [name for name in ("cpuset", "io", "blkio", "devices", "freezer") if name in unified | v1]
        yield Finding("controllers", "ok", " ".join([*CONTROLLERS, *extra]))


def overlay() -> Iterator[Finding]:
    if "overlay" in read("/proc/filesystems").split():
        yield Finding("overlayfs", "ok", "there")
    elif list(Path("/lib/modules", platform.release()).rglob("overlay.ko*")):
        yield Finding("overlayfs", "ok", "as a module, loaded at first use")
    else:
        yield Finding(
            "overlayfs",
            "missing",
            "not in this kernel",
            "modprobe overlay, or a kernel with CONFIG_OVERLAY_FS",
        )


def seccomp() -> Iterator[Finding]:
    actions = read("/proc/sys/kernel/seccomp/actions_avail").split()
    library = ctypes.util.find_library("seccomp")
    if not actions:
        yield Finding("seccomp", "missing", "not in this kernel", "needs CONFIG_SECCOMP_FILTER")
    elif not library:
        yield Finding("seccomp", "missing", "libseccomp is not installed", "apt-get install libseccomp2")
    else:
        yield Finding("seccomp", "ok", f"{library}; {' '.join(actions)}")


def denials() -> Iterator[Finding]:
    """Whether events can name the system calls that containers are refused."""
    from runtime.denials import why_deaf

    if os.geteuid() != 0:
        yield Finding("seccomp denials", "unknown", "needs root to look")
    elif why := why_deaf():
        yield Finding(
            "seccomp denials", "warn", f"are not named in events: {why}", "needs CONFIG_AUDIT, audit=1"
        )
    else:
        yield Finding("seccomp denials", "ok", "are named in events")


def lsm() -> Iterator[Finding]:
    modules = read("/sys/kernel/security/lsm")
    yield Finding("security modules", "ok" if modules else "unknown", modules or "securityfs is not mounted")


def confinement(instance: str) -> Iterator[Finding]:
    """The AppArmor profile of this instance's containers."""
    from runtime import apparmor
    from runtime.layout import Layout

    if not apparmor.is_on():
        yield Finding("AppArmor", "ok", "off in this kernel; containers run without a profile")
        return
    name = Layout(instance).apparmor_profile
    loaded = apparmor.find(name)
    if loaded is not None:
        good = loaded.mode == "enforce"
        advice = "" if good else "it denies nothing like this; a running agent puts it back"
        yield Finding("AppArmor", "ok" if good else "warn", f"profile {name}, mode {loaded.mode}", advice)
    elif apparmor.parser() is None:
        found = "on, but apparmor_parser is not installed: containers run without a profile"
        yield Finding("AppArmor", "warn", found, "apt-get install apparmor, and start the agent again")
    else:
        yield Finding("AppArmor", "ok", f"on; the agent loads the profile {name}")


def landlock() -> Iterator[Finding]:
    """What git is held by (agent.source.sandbox)."""
    from runtime import landlock
    from runtime.syscalls import landlock_version

    found = landlock_version()
    if found >= landlock.LEAST:
        yield Finding("landlock", "ok", f"version {found}")
    else:
        advice = "git reaches all files: needs Linux 5.19, CONFIG_SECURITY_LANDLOCK and landlock in lsm="
        yield Finding("landlock", "warn", f"version {found}" if found else "not in this kernel", advice)


def links() -> Iterator[Finding]:
    """bridge and veth: built in, loaded, or there to be loaded."""
    builtin = read(f"/lib/modules/{platform.release()}/modules.builtin")
    for name in ("bridge", "veth"):
        if Path(f"/sys/module/{name}").exists() or f"/{name}.ko" in builtin:
            yield Finding(name, "ok", "there")
        elif list(Path("/lib/modules", platform.release()).rglob(f"{name}.ko*")):
            yield Finding(name, "ok", "as a module, loaded at first use")
        elif Path("/lib/modules", platform.release()).exists():
            yield Finding(name, "missing", "not in this kernel", f"modprobe {name}")
        else:
            yield Finding(name, "unknown", "no list of this kernel's modules")


def nftables() -> Iterator[Finding]:
    import socket

    library = ctypes.util.find_library("nftables")
    if not library:
        yield Finding("nftables", "missing", "libnftables is not installed", "apt-get install libnftables1")
        return
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12).close()  # NETLINK_NETFILTER
    except OSError as error:
        yield Finding("nftables", "missing", f"the kernel says {error.strerror}", "modprobe nf_tables")
        return
    yield Finding("nftables", "ok", library)


def port_guard() -> Iterator[Finding]:
    """Whether containers can be held to their own MAC and address within a network: nftables of bridges."""
    from runtime.errors import Unsupported
    from runtime.network import table
    from runtime.network.libnftables import Nftables

    if os.geteuid() != 0:
        yield Finding("spoofing", "unknown", "needs root to ask the kernel")
        return
    try:
        library = Nftables()
    except Unsupported:
        return  # told above
    try:
        reason = table.can_guard(library, "setpoint_doctor")
    finally:
        library.close()
    if reason:
        yield Finding(
            "spoofing", "warn", f"a container can send by a neighbour's name; the kernel says {reason}",
            "a kernel with CONFIG_NF_TABLES_BRIDGE, or cap_drop: [NET_RAW]",
        )  # fmt: skip
    else:
        yield Finding("spoofing", "ok", "ports of bridges are guarded")


def forwarding() -> Iterator[Finding]:
    for family, path in (
        ("IPv4", "/proc/sys/net/ipv4/ip_forward"),
        ("IPv6", "/proc/sys/net/ipv6/conf/all/forwarding"),
    ):
        value = read(path)
        if value == "1":
            yield Finding(f"{family} forwarding", "ok", "on")
        elif family == "IPv4":
            yield Finding(f"{family} forwarding", "ok", "off; the agent turns it on with its first network")
        elif value == "0":
            yield Finding("IPv6 forwarding", "ok", "off; the first network with enable_ipv6 turns it on")
        else:
            yield Finding("IPv6", "ok", "this kernel has none, so that no network can have enable_ipv6",
                          "boot it without ipv6.disable=1")  # fmt: skip
    if read("/proc/sys/net/bridge/bridge-nf-call-iptables") == "1":
        yield Finding("br_netfilter", "warn", "traffic inside a bridge passes the host's firewall too",
                      "sysctl net.bridge.bridge-nf-call-iptables=0, unless something needs it")  # fmt: skip


def other_firewalls() -> Iterator[Finding]:
    """A drop in anybody's forward chain drops for all: an accept of ours cannot lift it (nft(8))."""
    if os.geteuid() != 0 or not shutil.which("nft"):
        yield Finding("other firewalls", "unknown", "needs root and the nft program to look")
        return
    done = subprocess.run(["nft", "-j", "list", "chains"], capture_output=True, timeout=10, check=False)
    if done.returncode:
        yield Finding("other firewalls", "unknown", done.stderr.decode(errors="replace").strip()[:200])
        return
    dropping = [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in (item.get("chain", {}) for item in json.loads(done.stdout)["nftables"])
        if chain.get("hook") == "forward" and chain.get("policy") == "drop"
    ]
    if dropping:
        advice = "let them accept the bridges of Setpoint, or nothing gets in or out of containers"
        yield Finding("other firewalls", "warn", f"drop what is forwarded: {'; '.join(dropping)}", advice)
    else:
        yield Finding("other firewalls", "ok", "none drops forwarded traffic by policy")


def inotify() -> Iterator[Finding]:
    watches = int(read("/proc/sys/fs/inotify/max_user_watches") or 0)
    instances = int(read("/proc/sys/fs/inotify/max_user_instances") or 0)
    found = f"{watches} watches, {instances} instances"
    if watches < 8192 or instances < 64:
        yield Finding(
            "inotify",
            "warn",
            found,
            "sysctl fs.inotify.max_user_watches=65536 fs.inotify.max_user_instances=512",
        )
    else:
        yield Finding("inotify", "ok", found)


def descriptors() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A container holds about ten descriptors of the supervisor's.
    if 0 <= hard < 16384:
        yield Finding(
            "open files", "warn", f"{soft}, at most {hard}", "raise LimitNOFILE of the service to 524288"
        )
    else:
        yield Finding("open files", "ok", f"{soft}, at most {hard}")


def git() -> Iterator[Finding]:
    path = shutil.which("git")
    if not path:
        yield Finding("git", "warn", "not installed", "needed for sources in git: apt-get install git")
        return
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    yield Finding("git", "ok", done.stdout.strip().removeprefix("git version "))


def init_program() -> Iterator[Finding]:
    for name in ("tini-static", "tini", "catatonit"):
        if path := shutil.which(name):
            yield Finding("init program", "ok", path)
            return
    yield Finding("init program", "warn", "none", "needed for init: true: apt-get install tini")


def checkpoints() -> Iterator[Finding]:
    """Nothing lacks without: only `docker checkpoint` needs it."""
    from runtime.checkpoints import criu

    path = criu.find_program()
    if not path:
        yield Finding("criu", "ok", "none: docker checkpoint needs it, nothing else does")
        return
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    numbers = criu.parse_version(done.stdout)
    shown = ".".join(map(str, numbers)) or path
    if numbers and criu.is_too_old(numbers, _release()):
        yield Finding("criu", "ok", f"{shown}, for programs without internet sockets: {criu.NEEDS_NEWER}")
    else:
        yield Finding("criu", "ok", shown)


def storage(data: Path) -> Iterator[Finding]:
    """An overlay's upper directory needs a file system with xattrs and d_type that is no overlay."""
    place = data if data.exists() else data.parent
    kind = file_system(place)
    if kind in ("overlay", "nfs", "nfs4", "cifs", "9p", "vfat"):
        yield Finding(
            "data directory",
            "missing",
            f"{place} is on {kind}",
            "overlayfs cannot write there: use ext4, xfs or btrfs",
        )
    else:
        yield Finding("data directory", "ok", f"{place} on {kind}")
    space = os.statvfs(place)
    free = space.f_bavail * space.f_frsize
    state = "warn" if free < 1 << 30 else "ok"
    yield Finding(
        "disk space",
        state,
        f"{free / 1e9:.1f} GB free",
        "less than 1 GB: images will not fit" if state == "warn" else "",
    )


def policy(instance: str) -> Iterator[Finding]:
    """Who may commit is root here, unless a policy says what manifests may ask for."""
    from agent.policy.gate import Gate
    from agent.policy.read import BadPolicy
    from agent.settings import policy_path

    path = policy_path(instance)
    try:
        known = Gate(path).policy()
    except BadPolicy as error:
        advice = "nothing new is applied until it can be read: setpoint policy check"
        yield Finding("policy", "warn", error.problems[0], advice)
        return
    if known.is_open:
        found = "none: manifests on this host may ask for anything, those of a remote repository not"
        yield Finding("policy", "ok", found, "to say what they may: setpoint policy init")
    else:
        yield Finding("policy", "ok", str(path))


def file_system(place: Path) -> str:
    """The type of the mount that a path is on."""
    best, kind = "", "unknown"
    for line in read("/proc/self/mounts").splitlines():
        _, target, name, *_ = line.split()
        if (f"{place}/".startswith(f"{target.rstrip('/')}/")) and len(target) >= len(best):
            best, kind = target, name
    return kind
