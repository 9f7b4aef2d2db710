"""What a container may do: capabilities, hidden paths, sysctls, rlimits. Pure tables and functions.

Used by `bundle` (to write a config) and by the launch path (to check and apply one). Standard
library only; touches neither files nor the kernel.
"""

from __future__ import annotations

import contextlib
import functools
import re
import resource
from collections.abc import Collection, Iterable, Sequence

from runtime.errors import Invalid

# linux/capability.h: the index is the capability's number.
CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
    "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip
CAPABILITY_NUMBERS = {name: number for number, name in enumerate(CAPABILITIES)}

# Docker's fourteen: what images are written for.
DEFAULT_CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
)  # fmt: skip

# The union of what the known engines hide, and the kernel's debugging trees.
MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
    "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux", "/sys/kernel/debug",
    "/sys/kernel/security", "/sys/kernel/tracing",
)  # fmt: skip
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_KERNEL_SYSCTLS = frozenset(
    ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"]
)
_SYSCTL_KEY = re.compile(r"[a-z0-9_]+(?:[./][A-Za-z0-9_@:*-]+)+")
_RLIMIT = re.compile(r"RLIMIT_[A-Z]+")


_NOT_A_SYSTEM_PATH = re.compile(r"/(proc(/(self|thread-self|[0-9]+)(/.*)?)?|sys|dev)?", re.DOTALL)
_MAX_PATH_BYTES = 4095  # PATH_MAX


def check_system_path(path: str) -> str:
    """The path, if a container can be without it, or have it read-only. `Invalid` for one that climbs, that
    is all of a file system that it needs, or that is a process's."""
    parts = path.split("/")
    is_plain = path.startswith("/") and "\0" not in path and not {"", ".", ".."} & set(parts[1:])
    if not is_plain or len(path.encode("utf-8", "surrogatepass")) > _MAX_PATH_BYTES:
        raise Invalid("hide", path[:100], "not an absolute path, written out", "/proc/kcore, for example")
    if _NOT_A_SYSTEM_PATH.fullmatch(path):
        raise Invalid("hide", path[:100], "what a container cannot do without", "name what is in it")
    return path


def capability_mask(names: Iterable[str]) -> int:
    """The bit mask of capability names. `Invalid` for a name that no kernel has."""
    mask = 0
    for name in names:
        number = CAPABILITY_NUMBERS.get(name)
        if number is None:
            raise Invalid("set capabilities", name, "no such capability", "CAP_NET_ADMIN, for example")
        mask |= 1 << number
    return mask


def normal_capability(name: str) -> str:
    """`net_admin`, `NET_ADMIN` and `CAP_NET_ADMIN` are one; `ALL` stays. `Invalid` for others."""
    upper = name.upper()
    if upper in ("ALL", "CAP_ALL"):
        return "ALL"
    full = upper if upper.startswith("CAP_") else f"CAP_{upper}"
    if full not in CAPABILITY_NUMBERS:
        raise Invalid("set capabilities", name, "no such capability", "NET_ADMIN, for example")
    return full


def capabilities(
    add: Sequence[str], drop: Sequence[str], privileged: bool = False, host: Collection[str] = CAPABILITIES
) -> tuple[str, ...]:
    """The capability set for cap_add and cap_drop, by Docker's rules, in the kernel's order.

    host: those that this host can give (its bounding set); asking for another by name is `Invalid`.
    """
    if privileged:
        return tuple(name for name in CAPABILITIES if name in host)
    added = {normal_capability(name) for name in add}
    dropped = {normal_capability(name) for name in drop}
    missing = sorted(added - {"ALL"} - set(host))
    if missing:
        raise Invalid("set capabilities", missing[0], "this host cannot give it", "run as full root")
    base = set(DEFAULT_CAPABILITIES)
    if "ALL" in added:
        base = set(CAPABILITIES)
    if "ALL" in dropped:
        base = set()
    chosen = (base - dropped) | (added - {"ALL"} if "ALL" not in added else set())
    return tuple(name for name in CAPABILITIES if name in chosen and name in host)


def may_route(add: Sequence[str], drop: Sequence[str], privileged: bool = False) -> bool:
    """Whether a container may change the interfaces of its network. False for a set that nobody can give."""
    if not add and not privileged:
        return False
    with contextlib.suppress(Invalid):
        return "CAP_NET_ADMIN" in capabilities(add, drop, privileged)
    return False


@functools.lru_cache(maxsize=64)
def sysctl_path(key: str, *, own_network: bool, own_ipc: bool, own_uts: bool) -> str:
    """The path below /proc/sys of a sysctl that belongs to a namespace of the container.

    `Invalid` for every other one: it would change the host. Both separators are understood as
    sysctl(8) does ("net.ipv4.conf.eth0/1.forwarding" keeps its dot).
    """
    if not _SYSCTL_KEY.fullmatch(key) or ".." in key:
        raise Invalid("set sysctl", key, "not a sysctl's name", "net.ipv4.ip_forward, for example")
    dot, slash = key.find("."), key.find("/")
    path = key.translate(str.maketrans("./", "/.")) if slash < 0 or 0 <= dot < slash else key
    if path.startswith("net/"):
        _need(own_network, key, "network")
        return path
    if path.startswith("fs/mqueue/"):
        _need(own_ipc, key, "ipc")
        return path
    head, _, name = path.partition("/")
    if head == "kernel" and name in _KERNEL_SYSCTLS:
        _need(own_ipc, key, "ipc")
        return path
    if path in ("kernel/domainname", "kernel/hostname"):
        _need(own_uts, key, "uts")
        return path
    raise Invalid("set sysctl", key, "it belongs to the whole host", "only net.*, kernel.shm* and the like")


def _need(own: bool, key: str, kind: str) -> None:
    if not own:
        raise Invalid(
            "set sysctl", key, f"the container shares the host's {kind} namespace", "set it on the host"
        )


def rlimit_number(name: str) -> int:
    """RLIMIT_NOFILE -> resource.RLIMIT_NOFILE. `Invalid` for an unknown one."""
    number = getattr(resource, name, None) if _RLIMIT.fullmatch(name) else None
    if not isinstance(number, int):
        raise Invalid("set ulimit", name, "no such limit", "nofile, nproc, core, memlock, …")
    return number


def rlimit_value(value: int) -> int:
    """An OCI rlimit (unsigned 64 bit) as setrlimit takes it; the largest one is unlimited."""
    return resource.RLIM_INFINITY if value < 0 or value >= (1 << 63) else value
